"""Vectors of words: who lies near whom, and what a difference of two words says (the book, section 2.6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from safetensors.torch import load_file

from plutao.errors import UserError
from plutao.files import atomic_folder, read_json, write_json, write_tensors
from plutao.models.subwords import buckets_of

MODEL_TYPE = "plutao-word-vectors"
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Subwords:
    """Vectors of the parts of words, for words that have none of their own."""

    vectors: Float[Matrix, "buckets D"]
    shortest: int
    longest: int

    def vector(self, word: str) -> Float[Matrix, " D"] | None:
        """The mean of the word's parts; None for a word too short to have any."""
        rows = buckets_of(word, self.shortest, self.longest, len(self.vectors))
        return self.vectors[rows].mean(axis=0) if rows else None


@dataclass(frozen=True)
class Near:
    """A word and how near it lies."""

    word: str
    score: float
    """Cosine, from −1 to 1; for analogies what the method maximises."""


@dataclass(frozen=True)
class WordVectors:
    """A table of words, one row each."""

    words: list[str]
    """The most frequent first, where that is known."""
    vectors: Float[Matrix, "V D"]
    counts: npt.NDArray[np.int64] | None = None
    """How often each word came in the text."""
    lowercase: bool = False
    """Whether capital letters were read as small ones."""
    subwords: Subwords | None = None

    @cached_property
    def places(self) -> dict[str, int]:
        """Word → row."""
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def unit(self) -> Float[Matrix, "V D"]:
        """The vectors, each brought to length 1, so that a dot product is a cosine."""
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        return np.asarray(self.vectors / np.maximum(lengths, 1e-12), dtype=np.float32)

    @property
    def width(self) -> int:
        return int(self.vectors.shape[1])

    def written(self, word: str) -> str:
        """The word as this table writes it."""
        return word.lower() if self.lowercase else word

    def __contains__(self, word: str) -> bool:
        return self.written(word) in self.places

    def vector(self, word: str) -> Float[Matrix, " D"]:
        """A word's vector, put together from its parts where it has none of its own.

        Raises:
            UserError: the word is unknown, with known ones that look like it.
        """
        row = self.places.get(self.written(word))
        if row is not None:
            return np.asarray(self.vectors[row])
        found = self.subwords.vector(self.written(word)) if self.subwords else None
        if found is None:
            raise UserError(self._unknown(word))
        return found

    def _unknown(self, word: str) -> str:
        from difflib import get_close_matches

        close = get_close_matches(self.written(word), self.words[:50_000], n=3, cutoff=0.75)
        meant = f" It has: {', '.join(close)}." if close else ""
        return f"The text these {len(self.words):,} vectors come from has no word {word!r}, or too seldom.{meant}"

    def direction(self, word: str) -> Float[Matrix, " D"]:
        """A word's vector at length 1."""
        vector = self.vector(word)
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float32)

    def cosine(self, first: str, second: str) -> float:
        """How alike two words are: the cosine of the angle between their vectors."""
        return float(self.direction(first) @ self.direction(second))

    def neighbours(self, word: str, count: int = 10) -> list[Near]:
        """The words nearest to one, by cosine."""
        return self.nearest(self.unit @ self.direction(word), count, {self.written(word)})

    def analogy(self, a: str, b: str, c: str, count: int = 10, method: str = "add") -> list[Near]:
        """Words d such that a is to b as c is to d: homem is to rei as mulher is to rainha.

        Args:
            method: `add` looks for the largest cos(d, b) − cos(d, a) + cos(d, c) (Mikolov et al. 2013c); `multiply` for
                cos(d, b) · cos(d, c) ÷ (cos(d, a) + 0.001) with cosines moved to 0 … 1 (Levy & Goldberg 2014).
                The three words themselves are never an answer.

        Raises:
            UserError: an unknown word or method.
        """
        of_a, of_b, of_c = (self.unit @ self.direction(word) for word in (a, b, c))
        scores = combined(of_a, of_b, of_c, method)
        return self.nearest(scores, count, {self.written(word) for word in (a, b, c)})

    def nearest(self, scores: Float[Matrix, " V"], count: int, without: set[str]) -> list[Near]:
        """The words with the highest scores, the highest first."""
        most = min(count + len(without), len(scores))
        rows = np.argpartition(-scores, most - 1)[:most]
        ranked = rows[np.argsort(-scores[rows], kind="stable")]
        found = [Near(self.words[row], float(scores[row])) for row in ranked if self.words[row] not in without]
        return found[:count]

    def chosen(self, words: Sequence[str]) -> Float[Matrix, "N D"]:
        """The vectors of some words at length 1."""
        return np.stack([self.direction(word) for word in words])


def combined(of_a: Matrix, of_b: Matrix, of_c: Matrix, method: str) -> Matrix:
    """Scores of all words for the analogy a : b = c : ?, from their cosines with a, b and c."""
    if method == "add":
        return np.asarray(of_b - of_a + of_c)
    if method == "multiply":
        moved = [(1 + cosines) / 2 for cosines in (of_a, of_b, of_c)]
        return np.asarray(moved[1] * moved[2] / (moved[0] + 1e-3))
    raise UserError(f"Analogies are solved by 'add' or 'multiply', not by {method!r}.")


# ---------------------------------------------------------------------------------------------------------------------
# On disk


def save_vectors(vectors: WordVectors, folder: Path, config: dict[str, Any]) -> None:
    """Writes config.json, words.json and model.safetensors into `folder`, beside what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder / "new") as new:
        tensors = {"vectors": torch.from_numpy(np.ascontiguousarray(vectors.vectors))}
        parts = {}
        if vectors.subwords is not None:
            tensors["subwords"] = torch.from_numpy(np.ascontiguousarray(vectors.subwords.vectors))
            parts = {"shortest": vectors.subwords.shortest, "longest": vectors.subwords.longest}
        write_tensors(new / "model.safetensors", tensors)
        counts = None if vectors.counts is None else vectors.counts.tolist()
        write_json(new / "words.json", {"words": vectors.words, "counts": counts})
        shape = {"width": vectors.width, "vocabulary": len(vectors.words), "lowercase": vectors.lowercase}
        write_json(new / "config.json", {"model_type": MODEL_TYPE, **config, **shape, "subwords": parts or None})
    for file in sorted((folder / "new").iterdir(), key=lambda path: path.name == "config.json"):
        file.replace(folder / file.name)
    (folder / "new").rmdir()


def load_vectors(folder: Path) -> WordVectors:
    """Word vectors from a folder of ours, or from a file in one of word2vec's formats.

    Raises:
        UserError: there are none, or their files are damaged.
    """
    if folder.is_file():
        from plutao.models.interop.word2vec import read

        return read(folder)
    config = read_json(folder / "config.json")
    if config.get("model_type") != MODEL_TYPE:
        raise UserError(f"{folder} holds a {config.get('model_type')} model, no word vectors: name a [vectors] stage.")
    kept = read_json(folder / "words.json")
    tensors = {name: tensor.numpy() for name, tensor in load_file(folder / "model.safetensors").items()}
    if len(kept["words"]) != len(tensors["vectors"]):
        raise UserError(f"{folder}: words.json and model.safetensors are not of one model. Put back a good copy.")
    counts = None if kept["counts"] is None else np.array(kept["counts"], dtype=np.int64)
    parts = config.get("subwords")
    subwords = Subwords(tensors["subwords"], **parts) if parts else None
    return WordVectors(kept["words"], tensors["vectors"], counts, bool(config.get("lowercase")), subwords)
