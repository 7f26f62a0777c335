"""Every text of the pages stands in the catalogue, in both languages, and is used."""

import ast
import re
import string
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from plutao.web import words

WEB = Path(str(resources.files("plutao.web")))
SOURCES = [
    path
    for kind in ("*.py", "templates/**/*.html", "static/*.js")
    for path in WEB.rglob(kind)
    if "plotly" not in path.name
]
PAGES = sorted({key.partition(".")[0] for key in words.catalogue()})


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", sorted(words.catalogue()))
def test_a_text_is_there_in_both_languages_with_the_same_blanks(key: str) -> None:
    texts = words.catalogue()[key]
    assert set(texts) == set(words.LANGUAGES)
    assert all(text.strip() for text in texts.values())
    assert names(texts["en"]) == names(texts["pt"])


def test_no_page_uses_a_text_that_is_not_there_and_every_text_is_used() -> None:
    told = {path: path.read_text(encoding="utf-8") for path in SOURCES}
    pages = "|".join(PAGES)
    literal = re.compile(rf"""["'`]((?:{pages})\.[a-z0-9_]+)""")
    asked = re.compile(rf"""\bt\(\s*["'`]((?:{pages})\.[a-z0-9_]+)["'`]\s*[,)]""")
    used = {found for text in told.values() for found in literal.findall(text)}
    keys = set(words.catalogue())
    assert {one for text in told.values() for one in asked.findall(text)} - keys == set()
    beginnings = tuple(one for one in used if one not in keys and one.endswith("_")) or ("-",)
    assert {key for key in keys if key not in used and not key.startswith(beginnings)} == set()


def test_every_refusal_that_has_a_code_is_said_in_both_languages() -> None:
    sources = [path.read_text(encoding="utf-8") for place in ("plutao.serve", "plutao.web") for path in walked(place)]
    codes = {
        node.args[1].value
        for text in sources
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "Refusal"
        and isinstance(node.args[1], ast.Constant)
    }
    assert len(codes) > 10
    assert {code for code in codes if f"base.error_{code}" not in words.catalogue()} == set()


def walked(package: str) -> Iterator[Path]:
    return Path(str(resources.files(package))).rglob("*.py")


@pytest.mark.parametrize("path", [one for one in SOURCES if one.suffix == ".html"], ids=lambda path: path.name)
def test_templates_hold_no_words_of_their_own_and_nothing_that_the_policy_refuses(path: Path) -> None:
    text = re.sub(
        r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<code>.*?</code>|<kbd>.*?</kbd>",
        "",
        path.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|javascript:", text)
    scripts = re.findall(r"<script[^>]*>", text)
    assert all("src=" in one or "application/json" in one for one in scripts)
    shown = re.sub(r"<[^>]*>", " ", re.sub(r"<(svg|button)[^>]*lang=.*?</\1>", "", text, flags=re.DOTALL))
    told = set(re.findall(r"[A-Za-zÀ-ÿ]{3,}", shown)) - {
        "Plutão",
        "Markdown",
        "JSON",
        "Português",
        "English",
        "doctype",
        "html",
    }
    assert told == set()


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [
        (None, "pt-BR,pt;q=0.9,en;q=0.8", "pt"),
        (None, "en-US,en;q=0.9,pt;q=0.8", "en"),
        (None, "de, pt;q=0.3, en;q=0.2", "pt"),
        (None, "xx", "en"),
        ("pt", "en", "pt"),
        ('"><script>', "en", "en"),
    ],
)
def test_the_language_is_the_chosen_one_or_the_browsers(cookie: str | None, accepted: str, language: str) -> None:
    assert words.choose_language(cookie, accepted) == language
