"""A direction of bias in word vectors: found, measured, taken out (Bolukbasi et al. 2016, the book's [70], section 2.6).

"Man is to computer programmer as woman is to homemaker": vectors learn what texts say. The direction in which `he` differs
from `she`, `man` from `woman` … is a line through the space; how far words that should stand in its middle lie to one side
is the bias. Hard debiasing moves those words onto the middle (neutralise) and sets pairs evenly about it (equalise).
It takes out what lies along the direction, no more: words that were biased alike stay near each other (Gonen & Goldberg 2019).
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import numpy as np

from plutao.errors import UserError
from plutao.models.word_vectors import Matrix, WordVectors

COMPONENTS = 10
"""Directions whose shares are told (Bolukbasi et al. 2016, figure 6)."""


@dataclass(frozen=True)
class BiasWords:
    """What a bias is measured by, in one language."""

    language: str
    pairs: tuple[tuple[str, str], ...]
    """Pairs that differ in nothing but what the direction is to mean: he and she, man and woman."""
    neutral: tuple[str, ...]
    """Words that should lie in the middle: occupations and qualities whose form tells no gender."""


@dataclass(frozen=True)
class Direction:
    """The line along which the pairs differ."""

    vector: Matrix
    """Of length 1, towards the second word of the pairs."""
    shares: list[float]
    """How much of what differs within pairs lies along each of the first directions, this one first; of 1."""
    pairs: list[tuple[str, str]]
    """Those that were known, and used."""


@dataclass(frozen=True)
class Leaning:
    """A word that should be neutral, and how far it leans."""

    word: str
    before: float
    """Cosine with the direction: below zero towards the first words of the pairs, above towards the second."""
    after: float
    """The same once the bias is taken out."""


@dataclass(frozen=True)
class Bias:
    """A bias measured, and measured again once it is taken out."""

    language: str
    pairs: list[tuple[str, str]]
    shares: list[float]
    words: list[Leaning]
    """The one that leans furthest to the first words first."""
    direct_before: float
    """Direct bias: the mean of |cosine| over the neutral words (Bolukbasi et al. 2016, section 5.2, c = 1)."""
    direct_after: float
    gap_before: float
    """Mean of |cos(word, first) − cos(word, second)| over neutral words and pairs."""
    gap_after: float


@cache
def word_lists() -> dict[str, BiasWords]:
    """The lists that ship, by language."""
    text = resources.files("plutao.evaluate").joinpath("bias.toml").read_text(encoding="utf-8")
    return {
        language: BiasWords(
            language, tuple((first, second) for first, second in found["pairs"]), tuple(found["neutral"])
        )
        for language, found in tomllib.loads(text).items()
    }


def fitting_words(vectors: WordVectors) -> BiasWords:
    """The lists of the language that the vectors know best."""

    def known(words: BiasWords) -> int:
        return sum(first in vectors and second in vectors for first, second in words.pairs)

    return max(word_lists().values(), key=known)


def direction(vectors: WordVectors, pairs: Sequence[tuple[str, str]]) -> Direction:
    """The first principal component of what differs within pairs (Bolukbasi et al. 2016, section 5.1).

    Raises:
        UserError: fewer than two pairs are known.
    """
    known = [(first, second) for first, second in pairs if first in vectors and second in vectors]
    if len(known) < 2:
        raise UserError(
            f"These vectors know {len(known)} of the {len(pairs)} pairs that the direction is found by, and two are needed: "
            "use vectors of more text."
        )
    firsts, seconds = (vectors.chosen([pair[side] for pair in known]) for side in (0, 1))
    halves = (seconds - firsts) / 2  # each word less the mean of its pair; the other half is its mirror image
    _, lengths, components = np.linalg.svd(halves, full_matrices=False)
    towards = components[0] * (1 if float((halves @ components[0]).sum()) >= 0 else -1)
    shares = (lengths**2 / (lengths**2).sum())[:COMPONENTS]
    return Direction(np.asarray(towards, dtype=np.float32), [float(share) for share in shares], known)


def debiased(
    vectors: WordVectors, line: Direction, neutral: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> WordVectors:
    """The vectors, at length 1, with the direction taken out (Bolukbasi et al. 2016, section 6).

    Neutralise: a neutral word loses its part along the direction. Equalise: the words of a pair get the same part across
    it, their mean, and lie equally far to either side. Words that are in neither list stay as they are.
    """
    table = vectors.unit.copy()
    for word in neutral:
        if word in vectors:
            row = vectors.places[vectors.written(word)]
            table[row] = unit(across(table[row], line.vector))
    for first, second in pairs:
        if first in vectors and second in vectors:
            rows = [vectors.places[vectors.written(word)] for word in (first, second)]
            table[rows] = equalised(table[rows], line.vector)
    return replace(vectors, vectors=table)


def equalised(pair: Matrix, line: Matrix) -> Matrix:
    """Two unit vectors brought to the same part across the line, and to equal distances along it."""
    middle = across(pair.mean(axis=0), line)
    height = np.sqrt(max(0.0, 1.0 - float(middle @ middle)))
    along = pair @ line
    side = 1.0 if along[1] >= along[0] else -1.0
    return np.stack([middle - side * height * line, middle + side * height * line]).astype(np.float32)


def across(vector: Matrix, line: Matrix) -> Matrix:
    """The part of a vector at right angles to the line."""
    return np.asarray(vector - float(vector @ line) * line)


def unit(vector: Matrix) -> Matrix:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


def measure(vectors: WordVectors, words: BiasWords) -> Bias:
    """The bias along the direction of the pairs, before and after hard debiasing.

    Raises:
        UserError: too few of the words are known.
    """
    line = direction(vectors, words.pairs)
    neutral = [word for word in words.neutral if word in vectors]
    if not neutral:
        raise UserError("These vectors know none of the words that should be neutral: use vectors of more text.")
    mended = debiased(vectors, line, neutral, line.pairs)
    before, after = (table.chosen(neutral) @ line.vector for table in (vectors, mended))
    leaning = [Leaning(word, float(b), float(a)) for word, b, a in zip(neutral, before, after, strict=True)]
    return Bias(
        words.language,
        line.pairs,
        line.shares,
        sorted(leaning, key=lambda one: one.before),
        float(np.abs(before).mean()),
        float(np.abs(after).mean()),
        gap(vectors, neutral, line.pairs),
        gap(mended, neutral, line.pairs),
    )


def gap(vectors: WordVectors, neutral: Sequence[str], pairs: Sequence[tuple[str, str]]) -> float:
    """How unevenly neutral words lie between the words of pairs, in mean."""
    firsts, seconds = (vectors.chosen([pair[side] for pair in pairs]) for side in (0, 1))
    table = vectors.chosen(neutral)
    return float(np.abs(table @ firsts.T - table @ seconds.T).mean())
