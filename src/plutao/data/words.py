"""Documents as runs of word numbers, for models of whole words: counted once, written once, read from the disk.

    words-<fingerprint>/   words.bin (int32: a word's number, −1 where a document ends), vocabulary.json

Words are numbered by how often they come. Those that come too seldom are left out, so that the words around them become
neighbours (as word2vec does).
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from torch import Tensor

from plutao.data.store import read_parts
from plutao.errors import UserError
from plutao.files import atomic_folder, fingerprint, read_json
from plutao.text.words import words_of

END = -1
"""Stands where a document ends; no neighbours reach over it."""
LONGEST = 10_000
"""Words of a document after which another begins (a window more or less does not count)."""
Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class WordBatch:
    """A run of words, and the start of what is drawn at random while it is learned."""

    tokens: Int[Tensor, " N"]
    """Numbers of words; END where a document ends."""
    seed: int


@dataclass(frozen=True)
class WordRun:
    """All documents as one run of word numbers."""

    words: list[str]
    """By their numbers, the most frequent first."""
    counts: npt.NDArray[np.int64]
    run: Numbers
    """Memory-mapped; ends with END."""

    @property
    def total(self) -> int:
        """Words in one reading."""
        return int(self.counts.sum())


def build_words(documents: Path, folder: Path, lowercase: bool = True, least: int = 5, most: int = 200_000) -> WordRun:
    """The training documents of a build as words; made where they are not there yet, and kept below `folder`.

    Args:
        least: words that come less often are left out.
        most: words at most, the most frequent ones.

    Raises:
        UserError: fewer than two words come that often.
    """
    place = folder / f"words-{fingerprint([read_json(documents / 'card.json')['fingerprint'], lowercase, least, most])}"
    if not (place / "vocabulary.json").is_file():
        counter: Counter[str] = Counter()
        for words in word_lists(documents, lowercase):
            counter.update(words)
        frequent = sorted(((-count, word) for word, count in counter.items() if count >= least))[:most]
        if len(frequent) < 2:
            raise UserError(
                f"The text has {len(frequent)} words that come {least} times or more, and vectors need two at least: "
                "add text, or lower vectors.least_count."
            )
        with atomic_folder(place) as new:
            vocabulary = [word for _, word in frequent]
            write_run(new / "words.bin", vocabulary, word_lists(documents, lowercase))
            content = json.dumps({"words": vocabulary, "counts": [-count for count, _ in frequent]}, ensure_ascii=False)
            (new / "vocabulary.json").write_text(content, encoding="utf-8")
    kept = read_json(place / "vocabulary.json")
    run = np.memmap(place / "words.bin", dtype=np.int32, mode="r")
    return WordRun(kept["words"], np.array(kept["counts"], dtype=np.int64), run)


def word_lists(documents: Path, lowercase: bool) -> Iterator[list[str]]:
    """Each document's words, long documents in pieces."""
    for name in read_json(documents / "card.json")["sources"]:
        for part in read_parts(documents / name / "train.parquet"):
            words = words_of(part.text, lowercase)
            for start in range(0, len(words), LONGEST):
                yield words[start : start + LONGEST]


def write_run(path: Path, vocabulary: list[str], lists: Iterator[list[str]]) -> None:
    with path.open("wb") as file:
        for numbers in numbered(vocabulary, lists):
            numbers.tofile(file)


def numbered(vocabulary: list[str], lists: Iterator[list[str]]) -> Iterator[Numbers]:
    """Each list of words as numbers, with END behind it; words without a number are left out."""
    number = {word: place for place, word in enumerate(vocabulary)}
    for words in lists:
        yield np.array([number[word] for word in words if word in number] + [END], dtype=np.int32)


class WordBatches(Iterator[WordBatch]):
    """Endless readings of a run in steps of `batch` numbers, each reading from its beginning.

    The order is the text's own: a pair of neighbours moves few rows a little, so that the order matters little.
    """

    def __init__(self, run: Numbers, batch: int, seed: int) -> None:
        self.run, self.batch, self.seed = run, batch, seed
        self.step = 0

    @property
    def steps(self) -> int:
        """Steps in one reading."""
        return -(-len(self.run) // self.batch)

    def __next__(self) -> WordBatch:
        start = self.step % self.steps * self.batch
        piece = np.array(self.run[start : start + self.batch])
        self.step += 1
        return WordBatch(torch.from_numpy(piece), (self.seed << 32) + self.step)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
