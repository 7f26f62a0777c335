"""Word vectors to look at: neighbours, analogies, maps (the book, section 2.6, Figure 44)."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from plutao.errors import UserError
from plutao.look.vector_words import phrases
from plutao.look.view import View, canvas, label, numbers
from plutao.models.word_vectors import Near, WordVectors

if TYPE_CHECKING:
    import plotly.graph_objects as go

ENOUGH = 12
"""Known words of our groups below which a map shows the text's frequent words instead."""
FREQUENT = slice(50, 110)
"""Ranks of those: the most frequent ones are articles and prepositions."""
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "circle-open", "square-open", "diamond-open")
"""One for each group beside its colour; all of them can be drawn in three dimensions, too."""
COLOURS = ("#A85B0C", "#4E5F73", "#1B7F6B", "#8A3B7A", "#6A665D", "#2F6DB5", "#B23A3A", "#7A6A00")


@dataclass(frozen=True)
class Neighbours:
    """A word and those that lie nearest."""

    word: str
    known: bool
    """Whether it has a vector of its own; one of subwords does without."""
    found: list[Near]


@dataclass(frozen=True)
class Analogy:
    """a is to b as c is to …, by both methods."""

    a: str
    b: str
    c: str
    add: list[Near]
    multiply: list[Near]


@dataclass(frozen=True)
class Place:
    """A word on a map."""

    word: str
    group: str
    at: list[float]
    """Its coordinates, as many as the map has dimensions."""


@dataclass(frozen=True)
class Map:
    """Words in two or three dimensions, by principal components."""

    places: list[Place]
    shares: list[float]
    """How much of the words' differences lies along each dimension; of 1."""
    width: int
    """Dimensions of the vectors themselves."""


def neighbours(vectors: WordVectors, word: str, count: int = 10) -> Neighbours:
    """Raises UserError where the word is unknown."""
    return Neighbours(word, word in vectors, vectors.neighbours(word, count))


def analogy(vectors: WordVectors, text: str, count: int = 10) -> Analogy:
    """An analogy asked as "homem rei mulher".

    Raises:
        UserError: not three words, or an unknown one.
    """
    words = text.replace(":", " ").replace(",", " ").split()
    if len(words) != 3:
        raise UserError(f'An analogy is asked with three words, as in "homem rei mulher": {text!r} has {len(words)}.')
    a, b, c = words
    return Analogy(a, b, c, *(vectors.analogy(a, b, c, count, method) for method in ("add", "multiply")))


def map_of(vectors: WordVectors, words: Sequence[str] = (), dimensions: int = 2, language: str = "en") -> Map:
    """Lays words out by principal component analysis (Pearson 1901).

    Args:
        words: left out: groups of words that the text should know, else its frequent ones.

    Raises:
        UserError: an unknown word, or too few.
    """
    groups = dict.fromkeys(words, "") or groups_known(vectors) or frequent(vectors, language)
    if len(groups) <= dimensions:
        raise UserError(
            f"A map in {dimensions} dimensions needs {dimensions + 1} words or more; there are {len(groups)}."
        )
    table = vectors.chosen(list(groups))
    table = table - table.mean(axis=0)
    _, lengths, components = np.linalg.svd(table, full_matrices=False)
    components = components[:dimensions]
    heavy = np.abs(components).argmax(
        axis=1
    )  # the sign of a component means nothing: fix it, so that maps come out alike
    components = components * np.sign(components[np.arange(len(components)), heavy])[:, None]
    shares = lengths**2 / max(float((lengths**2).sum()), 1e-12)
    at = table @ components.T
    places = [Place(word, groups[word], [float(x) for x in row]) for word, row in zip(groups, at, strict=True)]
    return Map(places, [float(share) for share in shares[:dimensions]], vectors.width)


@cache
def map_groups() -> dict[str, dict[str, list[str]]]:
    """The groups that ship: language → group → words."""
    return tomllib.loads(resources.files("plutao.look").joinpath("map_words.toml").read_text(encoding="utf-8"))


def groups_known(vectors: WordVectors) -> dict[str, str]:
    """Word → group, of the language that the vectors know most words of; nothing where they know too few."""
    known = [
        {word: group for group, words in groups.items() for word in words if word in vectors}
        for groups in map_groups().values()
    ]
    best = max(known, key=len)
    return best if len(best) >= ENOUGH else {}


def frequent(vectors: WordVectors, language: str) -> dict[str, str]:
    words = vectors.words[FREQUENT] if len(vectors.words) > FREQUENT.stop else vectors.words[: FREQUENT.stop]
    return {word: phrases(language)["frequent"] for word in words}


# ---------------------------------------------------------------------------------------------------------------------
# Views


def view_neighbours(seen: Neighbours, language: str = "en") -> View:
    """Nearest words as bars of their cosines."""
    say = phrases(language)
    note = say["neighbours_note"] if seen.known else f"{say['unseen'].format(word=seen.word)} {say['neighbours_note']}"
    title = say["neighbours"].format(word=seen.word)
    return ranked("neighbours", title, note, seen.found, say["cosine"], language)


def views_analogy(seen: Analogy, language: str = "en") -> list[View]:
    """The answers by both methods."""
    say = phrases(language)
    words = {"a": seen.a, "b": seen.b, "c": seen.c}
    return [
        ranked(
            f"analogy-{method}",
            say["analogy"].format(**words),
            f"{say[f'analogy_{method}'].format(**words)} {say['analogy_note']}",
            getattr(seen, method),
            say["score"],
            language,
        )
        for method in ("add", "multiply")
    ]


def ranked(id: str, title: str, note: str, found: Sequence[Near], measure: str, language: str) -> View:
    """Words with a score each, the best on top."""
    form = numbers(language)
    say = phrases(language)
    return View(
        id=id,
        title=title,
        note=note,
        columns=[say["word"], measure],
        rows=[[near.word, form.number(near.score, 3)] for near in found],
        draw=lambda: bars([near.word for near in found], [near.score for near in found], measure, language),
        heat=[min(max(near.score, 0.0), 1.0) for near in found],
        heated=1,
    )


def bars(names: Sequence[str], values: Sequence[float], x: str, language: str) -> "go.Figure":
    """Named bars, the first on top."""
    import plotly.graph_objects as go

    from plutao.evaluate.report.figures import SUN

    figure = canvas(x, "", language, height=90 + 26 * len(names))
    figure.add_trace(go.Bar(x=list(values), y=[label(name) for name in names], orientation="h", marker={"color": SUN}))
    figure.update_yaxes(type="category", autorange="reversed")
    return figure


def view_map(seen: Map, language: str = "en") -> View:
    """The words where they lie; the table tells their coordinates."""
    say, form = phrases(language), numbers(language)
    axes = [
        say["component"].format(number=number, share=form.percent(share)) for number, share in enumerate(seen.shares, 1)
    ]
    grouped = any(place.group for place in seen.places)
    return View(
        id=f"map-{len(seen.shares)}",
        title=say["map"].format(count=len(seen.places), dimensions=len(seen.shares)),
        note=say["map_note"].format(share=form.percent(sum(seen.shares)), width=seen.width),
        columns=[say["word"], *([say["group"]] if grouped else []), *axes],
        rows=[
            [place.word, *([place.group] if grouped else []), *(form.number(x, 3) for x in place.at)]
            for place in seen.places
        ],
        draw=lambda: picture(seen, axes, language),
        names=2 if grouped else 1,
    )


def picture(seen: Map, axes: Sequence[str], language: str) -> "go.Figure":
    """Each group in a colour and a shape of its own, each word beside its point."""
    import plotly.graph_objects as go

    solid = len(axes) == 3
    figure = canvas("" if solid else axes[0], "" if solid else axes[1], language, height=620)
    for number, group in enumerate(dict.fromkeys(place.group for place in seen.places)):
        places = [place for place in seen.places if place.group == group]
        at = dict(zip("xyz", zip(*(place.at for place in places), strict=True), strict=False))
        marker = {"size": 4 if solid else 9, "color": COLOURS[number % len(COLOURS)]}
        look = {
            "name": label(group),
            "mode": "markers+text",
            "text": [label(place.word) for place in places],
            "textposition": "top center",
            "marker": marker | {"symbol": SYMBOLS[number % len(SYMBOLS)]},
        }
        figure.add_trace(go.Scatter3d(**at, **look) if solid else go.Scatter(**at, **look))
    figure.update_layout(showlegend=any(place.group for place in seen.places))
    if solid:
        named = {f"{axis}axis": {"title": {"text": name}} for axis, name in zip("xyz", axes, strict=True)}
        figure.update_layout(scene=named | {"aspectmode": "cube"})
    return figure
