"""Phrases: a small language of choices and slots, read once into trees and filled with one random draw per choice.

`[a|b]` takes one of its parts, `[a|]` may take nothing, `{x}` is a slot; they nest.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

# A tree is a tuple of nodes: text (str), a slot (Slot) or a choice (list of trees).
Tree = tuple[Any, ...]
Draw = Callable[[], float]
SPECIAL = re.compile(r"[\[\]|]|\{\w+\}")


class Slot(str):
    """The name of a place to fill."""

    __slots__ = ()


@cache
def bank(name: str, language: str) -> Mapping[str, Mapping[str, tuple[Tree, ...]]]:
    """The phrases of NAME_LANGUAGE.toml: section → key → trees."""
    text = (resources.files("plutao.worlds.solar") / f"{name}_{language}.toml").read_text("utf-8")
    return {
        section: {key: tuple(parse(phrase) for phrase in phrases) for key, phrases in keys.items()}
        for section, keys in tomllib.loads(text).items()
    }


def parse(phrase: str) -> Tree:
    """One phrase as a tree. Phrases are the package's own, so an unbalanced one is our mistake."""
    tokens = split(phrase)
    tree, end = parse_sequence(tokens, phrase)
    assert end == "", f"unbalanced {end!r} in {phrase!r}"
    return tree


def split(phrase: str) -> Iterator[str]:
    place = 0
    for found in SPECIAL.finditer(phrase):
        if found.start() > place:
            yield phrase[place : found.start()]
        yield found[0]
        place = found.end()
    if place < len(phrase):
        yield phrase[place:]


def parse_sequence(tokens: Iterator[str], phrase: str) -> tuple[Tree, str]:
    """Nodes up to the `|` or `]` that ends them, and what ended them ("" at the end of the phrase)."""
    nodes: list[Any] = []
    for token in tokens:
        if token in ("|", "]"):
            return tuple(nodes), token
        if token == "[":
            options, end = [], "|"
            while end == "|":
                option, end = parse_sequence(tokens, phrase)
                options.append(option)
            assert end == "]", f"a [ is never closed in {phrase!r}"
            nodes.append(options)
        else:
            nodes.append(Slot(token[1:-1]) if token[0] == "{" else token)
    return tuple(nodes), ""


def fill(tree: Tree, slots: Mapping[str, str], draw: Draw) -> str:
    """The tree as text: choices drawn, slots filled."""
    parts = []
    for node in tree:
        kind = type(node)
        if kind is str:
            parts.append(node)
        elif kind is Slot:
            parts.append(slots[node])
        else:
            parts.append(fill(node[int(draw() * len(node))], slots, draw))
    return "".join(parts)
