"""An n-gram model: the next token from the last n − 1, by what was counted (the book's sections 2.2 to 2.4 and BOX 2).

All n-grams it holds stand in a tree: level 1 is the vocabulary, and below each n-gram stand, sorted, the tokens that follow
it on the next level. A probability is looked up by back-off: the longest context of which the token was seen has the
answer; every longer one that was seen itself gives its share, the back-off weight, on the way. The tables are memory-mapped,
so a model opens at once and takes memory only where it is looked at.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from plutao.errors import UserError
from plutao.files import atomic_path, read_json, write_json

WEIGHTS, CONFIG = "model.safetensors", "config.json"
MODEL_TYPE = "plutao-ngram"
Nodes = npt.NDArray[np.int64]
"""Places in a level; −1 where there is none."""
DTYPES = {"U16": "<u2", "U32": "<u4", "F32": "<f4"}


@dataclass(frozen=True)
class NgramLevel:
    """All n-grams of one order n, M of them, in the order of their contexts on the level below, then of their last tokens."""

    words: npt.NDArray[Any]
    """Last tokens (M)."""
    first: npt.NDArray[Any]
    """Where the n-grams of each context of the level below begin, and where the last ones end."""
    log_probabilities: npt.NDArray[np.float32]
    """ln p(last token | the tokens before it) (M)."""
    backoffs: npt.NDArray[np.float32]
    """ln of the share that each n-gram, as a context, gives to what never followed it (M); empty for the highest order."""

    def __len__(self) -> int:
        return len(self.words)


class NgramModel:
    """A language model of order N over V tokens; implements `LanguageModel`."""

    def __init__(self, levels: Sequence[NgramLevel], end_of_text: int) -> None:
        self.levels, self.end_of_text = tuple(levels), end_of_text

    @property
    def order(self) -> int:
        """N: a token is foretold from the N − 1 before it."""
        return len(self.levels)

    @property
    def vocabulary(self) -> int:
        return len(self.levels[0])

    @property
    def reach(self) -> int | None:
        return self.order - 1

    def count_parameters(self) -> int:
        """Probabilities and back-off weights."""
        return sum(len(level.log_probabilities) + len(level.backoffs) for level in self.levels)

    # -----------------------------------------------------------------------------------------------------------------
    # Looking up

    def children(self, n: int, contexts: Nodes, words: Nodes) -> Nodes:
        """The nodes of level n + 1 that follow `contexts` of level n by `words`; −1 where a context is or there is none.

        A binary search among each context's children, all at once.
        """
        level = self.levels[n]
        known = contexts >= 0
        safe = np.where(known, contexts, 0)
        low, high = level.first[safe].astype(np.int64), level.first[safe + 1].astype(np.int64)
        end = high.copy()
        low[~known] = high[~known] = end[~known] = 0
        while (open_ := low < high).any():
            middle = (low + high) // 2
            smaller = open_ & (level.words[np.minimum(middle, len(level) - 1)] < words)
            low = np.where(smaller, middle + 1, low)
            high = np.where(open_ & ~smaller, middle, high)
        found = (low < end) & (level.words[np.minimum(low, len(level) - 1)] == words) if len(level) else low < end
        return np.where(found, low, -1)

    def contexts(self, tokens: Int[np.ndarray, "B T"]) -> list[Nodes]:
        """For every length 1 … N − 1, the node of the context of that length that ends at each place.

        A context begins within its row and goes back to the last `<|endoftext|>` at most.
        """
        found = [tokens.astype(np.int64)]
        begins = tokens == self.end_of_text
        for n in range(1, self.order - 1):
            before = np.pad(found[-1], ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
            longer = self.children(n, before, found[0])
            found.append(np.where(begins, -1, longer))
        return found[: self.order - 1]

    def known(self, tokens: Int[np.ndarray, "B T"]) -> list[npt.NDArray[np.bool_]]:
        """For every order 2 … N, whether the n-gram that ends at each place is one the model holds."""
        contexts = self.contexts(tokens)
        found = []
        for n, nodes in enumerate(contexts, start=1):
            before = np.pad(nodes, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
            found.append(self.children(n, before, tokens.astype(np.int64)) >= 0)
        return found

    def target_log_probabilities(self, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """ln p(target | the tokens of its row up to its place)."""
        wanted = targets.numpy().astype(np.int64)
        found = self.levels[0].log_probabilities[wanted].astype(np.float64)
        for n, nodes in enumerate(self.contexts(tokens.numpy()), start=1):
            if not len(self.levels[n]):  # pruned away
                break
            backed_off = found + np.where(nodes >= 0, self.levels[n - 1].backoffs[np.maximum(nodes, 0)], 0.0)
            seen = self.children(n, nodes, wanted)
            own = self.levels[n].log_probabilities[np.maximum(seen, 0)]
            found = np.where(seen >= 0, own, backed_off)
        return torch.from_numpy(found).float()

    def log_probabilities(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        rows = tokens.numpy()
        contexts = self.contexts(rows)
        result = np.empty((*rows.shape, self.vocabulary), np.float32)
        for place in np.ndindex(rows.shape):
            result[place] = self.distribution([int(nodes[place]) for nodes in contexts])
        return torch.from_numpy(result)

    def distribution(self, contexts: Sequence[int]) -> Float[np.ndarray, " V"]:
        """ln p of every token after contexts of length 1, 2 … (their nodes, −1 for none)."""
        found: npt.NDArray[np.float32] = np.array(self.levels[0].log_probabilities)
        for n, node in enumerate(contexts, start=1):
            if node < 0:
                continue
            level = self.levels[n]
            found += self.levels[n - 1].backoffs[node]
            low, high = int(level.first[node]), int(level.first[node + 1])
            found[level.words[low:high]] = level.log_probabilities[low:high]
        return found

    # -----------------------------------------------------------------------------------------------------------------
    # Writing token by token: the state is the last N − 1 tokens

    def start(self, rows: int) -> Int[Tensor, "B K"]:
        return torch.zeros(rows, 0, dtype=torch.long)

    def advance(
        self, tokens: Int[Tensor, " B"], state: Int[Tensor, "B K"]
    ) -> tuple[Float[Tensor, "B V"], Int[Tensor, "B K"]]:
        read = torch.cat((state, tokens.unsqueeze(1)), 1)[:, -max(self.order - 1, 1) :]
        contexts = [nodes[:, -1] for nodes in self.contexts(read.numpy())]
        rows = [self.distribution([int(nodes[row]) for nodes in contexts]) for row in range(len(read))]
        return torch.from_numpy(np.stack(rows)), read


# ---------------------------------------------------------------------------------------------------------------------
# Files


def load(folder: Path) -> NgramModel:
    """The n-gram model in a folder, memory-mapped.

    Raises:
        UserError: its files are missing or damaged.
    """
    config, tensors = read_json(folder / CONFIG), map_tensors(folder / WEIGHTS)
    names = ("words", "first", "log_probabilities", "backoffs")
    try:
        levels = [NgramLevel(*(tensors[f"{name}.{n}"] for name in names)) for n in range(1, config["order"] + 1)]
    except KeyError as error:
        raise UserError(f"{folder / WEIGHTS} lacks {error}: it is not the model that {CONFIG} tells of.") from error
    return NgramModel(levels, config["end_of_text"])


def map_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a safetensors file, of which nothing is read until it is looked at.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        return {
            name: map_array(path, DTYPES[facts["dtype"]], facts["shape"], 8 + size + facts["data_offsets"][0])
            for name, facts in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError, MemoryError) as error:
        raise UserError(f"{path} is missing or damaged: train the model again.") from error


def map_array(path: Path, dtype: str, shape: Sequence[int], offset: int) -> npt.NDArray[Any]:
    if 0 in shape:
        return np.empty(tuple(shape), dtype)
    return np.memmap(path, dtype, "r", offset, tuple(shape))


@dataclass(frozen=True)
class Stored:
    """One array on its way into a file, in pieces."""

    name: str
    dtype: str
    """"U16", "U32" or "F32"."""
    length: int
    pieces: Iterable[npt.NDArray[Any]]


def save(folder: Path, order: int, vocabulary: int, end_of_text: int, arrays: Sequence[Stored], **facts: Any) -> None:
    """Writes config.json and model.safetensors, holding a piece at a time.

    Args:
        facts: more that config.json tells.
    """
    header, offset = {}, 0
    arrays = sorted(arrays, key=lambda array: array.dtype == "U16")  # whoever maps the file finds each array aligned
    for array in arrays:
        end = offset + array.length * np.dtype(DTYPES[array.dtype]).itemsize
        header[array.name] = {"dtype": array.dtype, "shape": [array.length], "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the arrays begin at a multiple of eight bytes
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / WEIGHTS) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays:
            written = 0
            for piece in array.pieces:
                piece.astype(DTYPES[array.dtype], copy=False).tofile(file)
                written += len(piece)
            assert written == array.length, f"{array.name} has {written} numbers where {array.length} belong"
    shape = {"model_type": MODEL_TYPE, "order": order, "vocabulary": vocabulary, "end_of_text": end_of_text}
    write_json(folder / CONFIG, {**shape, **facts})


def save_model(model: NgramModel, folder: Path, **facts: Any) -> None:
    """Writes a model that is in memory; `facts` as in `save`."""
    words = "U32" if model.vocabulary > 65_536 else "U16"
    arrays = []
    for n, level in enumerate(model.levels, start=1):
        arrays.append(Stored(f"words.{n}", words, len(level.words), [level.words]))
        arrays.append(Stored(f"first.{n}", "U32", len(level.first), [level.first]))
        arrays.append(Stored(f"log_probabilities.{n}", "F32", len(level), [level.log_probabilities]))
        arrays.append(Stored(f"backoffs.{n}", "F32", len(level.backoffs), [level.backoffs]))
    save(folder, model.order, model.vocabulary, model.end_of_text, arrays, **facts)
