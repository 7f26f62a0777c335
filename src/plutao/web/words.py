"""The pages' words in both languages: one file a page under words/, each key with `en` and `pt`.

    [send]
    en = "Send"
    pt = "Enviar"

In words/chat.toml that is `chat.send`; `{name}` in a text is filled in where it is used.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Literal

Language = Literal["en", "pt"]
LANGUAGES: tuple[Language, ...] = ("en", "pt")
LOCALES: dict[str, str] = {"en": "en", "pt": "pt-BR"}
"""For `<html lang>` and for numbers and dates."""


@cache
def catalogue() -> dict[str, dict[str, str]]:
    """Every key with its texts by language."""
    found: dict[str, dict[str, str]] = {}
    for file in sorted(resources.files("plutao.web").joinpath("words").iterdir(), key=lambda one: one.name):
        if file.name.endswith(".toml"):
            page = file.name.removesuffix(".toml")
            for key, texts in tomllib.loads(file.read_text(encoding="utf-8")).items():
                found[f"{page}.{key}"] = texts
    return found


def say(language: str, key: str, **values: object) -> str:
    """A text; what stands in braces is filled in.

    Raises:
        KeyError: there is no such key, or a value is missing.
    """
    text = catalogue()[key][language]
    return text.format(**values) if values else text


def of_page(language: str, *pages: str) -> Mapping[str, str]:
    """All texts of some pages' files, for their scripts."""
    return {key: texts[language] for key, texts in catalogue().items() if key.partition(".")[0] in pages}


def choose_language(cookie: str | None, accepted: str) -> Language:
    """The language that was chosen, else the one of ours that the browser likes best, else English."""
    for language in LANGUAGES:
        if cookie == language:
            return language
    liked: list[tuple[float, int, Language]] = []
    for place, part in enumerate(accepted.split(",")[:20]):
        match = re.match(r"\s*(en|pt)\b[^;]*(?:;\s*q=([01](?:\.\d{1,3})?))?", part, re.IGNORECASE)
        if match:
            liked.append((-float(match[2] or 1), place, "pt" if match[1].lower() == "pt" else "en"))
    return min(liked)[2] if liked else "en"
