"""How good word vectors are: whether they find alike what people find alike, and solve analogies (the book, section 2.6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plutao.errors import UserError
from plutao.evaluate.correlation import spearman
from plutao.evaluate.intervals import Share, bootstrap, wilson
from plutao.models.word_vectors import WordVectors, combined

TOGETHER = 256  # analogies solved in one product


@dataclass(frozen=True)
class Pair:
    """Two words and the mark that people gave their likeness."""

    first: str
    second: str
    mark: float


@dataclass(frozen=True)
class Question:
    """a is to b as c is to d."""

    section: str
    a: str
    b: str
    c: str
    d: str


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of cosines and people's marks, with the interval that holds it 95 times in 100."""

    value: float
    low: float
    high: float
    n: int
    """Pairs whose words are both known."""
    unknown: int
    """Pairs left out."""

    def as_json(self) -> dict[str, float | int]:
        return dict(vars(self))


@dataclass(frozen=True)
class Analogies:
    """The share of analogies solved, over all and by section; those with an unknown word are left out."""

    overall: Share | None
    sections: dict[str, Share]
    unknown: int

    def as_json(self) -> dict[str, Any]:
        return {
            "overall": None if self.overall is None else self.overall.as_json(),
            "by_section": {name: share.as_json() for name, share in self.sections.items()},
            "unknown": self.unknown,
        }


# ---------------------------------------------------------------------------------------------------------------------
# Tests as they are published


def read_pairs(path: Path) -> list[Pair]:
    """Reads "word, word, mark" a line, apart by tabs, commas or blanks, as WordSim353 is (Finkelstein et al. 2002).

    Lines that begin with # are comments; a first line without a number is a heading.

    Raises:
        UserError: no such file, or a line of another form.
    """
    pairs = []
    for number, line in enumerate(lines_of(path), start=1):
        parts = [part.strip() for part in line.replace("\t", ",").replace(";", ",").split(",")]
        parts = parts if len(parts) >= 3 else line.split()
        try:
            pairs.append(Pair(*marked(parts)))
        except ValueError as error:
            if number > 1:
                raise UserError(
                    f'{path}, line {number} is not of the form "word, word, mark" (as "tiger, cat, 7.35"): {line[:60]!r}.'
                ) from error
    return pairs


def marked(parts: Sequence[str]) -> tuple[str, str, float]:
    """Two words and the first number after them; a mark of kind may stand before the words."""
    for place in range(2, len(parts)):
        if is_number(parts[place]):
            return parts[place - 2], parts[place - 1], float(parts[place])
    raise ValueError


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_questions(path: Path) -> list[Question]:
    """Reads four words a line under headings ": section", as word2vec's questions-words.txt (Mikolov et al. 2013a).

    Raises:
        UserError: no such file, or a line of another form.
    """
    questions, section = [], "all"
    for number, line in enumerate(lines_of(path), start=1):
        if line.startswith(":"):
            section = line[1:].strip()
            continue
        parts = line.split()
        if len(parts) != 4:
            raise UserError(f'{path}, line {number} is not four words (as "homem rei mulher rainha"): {line[:60]!r}.')
        questions.append(Question(section, *parts))
    return questions


def lines_of(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8.") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


# ---------------------------------------------------------------------------------------------------------------------
# Measures


def similarity(vectors: WordVectors, pairs: Sequence[Pair]) -> Correlation | None:
    """Spearman's correlation of cosines with people's marks; its interval by the bootstrap over pairs (Efron 1979).

    None where fewer than three pairs are known.
    """
    known = [pair for pair in pairs if pair.first in vectors and pair.second in vectors]
    if len(known) < 3:
        return None
    cosines = np.array([vectors.cosine(pair.first, pair.second) for pair in known])
    marks = np.array([pair.mark for pair in known])
    interval = bootstrap(lambda rows: spearman(cosines[rows], marks[rows]), len(known))
    assert interval is not None
    return Correlation(spearman(cosines, marks), *interval, len(known), len(pairs) - len(known))


def analogies(vectors: WordVectors, questions: Sequence[Question], method: str = "add") -> Analogies:
    """How many analogies a : b = c : ? are solved at the first attempt (`WordVectors.analogy` says by which methods)."""
    known = [one for one in questions if all(word in vectors for word in (one.a, one.b, one.c, one.d))]
    right: dict[str, list[bool]] = {}
    for start in range(0, len(known), TOGETHER):
        some = known[start : start + TOGETHER]
        for one, answer in zip(some, solved(vectors, some, method), strict=True):
            right.setdefault(one.section, []).append(vectors.words[answer] == vectors.written(one.d))
    sections = {name: wilson(sum(found), len(found)) for name, found in right.items()}
    overall = wilson(sum(sum(found) for found in right.values()), len(known)) if known else None
    return Analogies(overall, sections, len(questions) - len(known))


def solved(vectors: WordVectors, questions: Sequence[Question], method: str) -> list[int]:
    """The row of the best answer to each question; the words asked with are no answers."""
    asked = np.array([[vectors.places[vectors.written(word)] for word in (one.a, one.b, one.c)] for one in questions])
    of_a, of_b, of_c = (vectors.unit[asked[:, place]] @ vectors.unit.T for place in range(3))
    scores = combined(of_a, of_b, of_c, method)
    np.put_along_axis(scores, asked, -np.inf, axis=1)
    return [int(row) for row in scores.argmax(axis=1)]
