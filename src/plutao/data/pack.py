"""From token shards to the (B, T) matrices a Transformer trains on (the book, section 3.1, Figures 72, 75 and 76).

Two layouts:

- `stream`: rows are windows of T + 1 tokens of a source's whole stream of documents. An epoch visits every window
  once, in a new random order and with the windows' borders in a new random place, so that no two epochs show the same
  rows.
- `document`: every row starts at a document's beginning, goes on with the documents that follow and is cropped at T + 1
  tokens (Figure 75). What a crop cuts off is not seen: for long documents prefer `stream`.

Which row comes when depends only on the seed and on how many rows were drawn before, so a loader that was stopped goes
on exactly where it was, and several processes can each take their share of one and the same batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from zlib import crc32

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from torch import Tensor

from plutao.data.batch import RowBatch
from plutao.data.shards import TokenShards
from plutao.errors import UserError

NOT_LEARNED = -100
"""Target of a position whose prediction does not count (PyTorch's `ignore_index`)."""
Layout = Literal["stream", "document"]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch(RowBatch):
    """`targets[b, t]` is the token that follows `tokens[b, t]`; `NOT_LEARNED` where nothing is to be learned."""

    tokens: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]

    @property
    def weight(self) -> int:
        """How many targets are learned: what this batch counts for when gradients of several are added up."""
        return int((self.targets != NOT_LEARNED).sum())


@dataclass(frozen=True)
class PackedBatch(Batch):
    """Rows that hold several texts, one after the other: `segments[b, t]` numbers the text (from 1; 0 is padding) that
    a token belongs to; tokens see only their own text. `targets` as in `Batch`: none reaches over a text's end.
    """

    segments: Int[Tensor, "B T"]


@dataclass(frozen=True)
class MixtureRow:
    """One line of the book's Figure 72."""

    source: str
    tokens: int
    weight: float
    epochs: float


class PretrainBatches(Iterator[Batch]):
    """Endless batches of text, its sources mixed by weight.

    Each row comes from one source: the one that is furthest behind its share, so that the mix is right to within one
    row at every moment.
    """

    def __init__(
        self,
        shards: Mapping[str, TokenShards],
        weights: Mapping[str, float | None],
        batch: int,
        context: int,
        seed: int,
        layout: Layout = "stream",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Args:
            weights: each source's share, relative to the others; None for all: by tokens (all are read equally often).
            batch: rows (B) per step, over all processes.
            context: tokens (T) per row.
            rank: this process among `world` processes; it gets rows rank·B/world up to (rank + 1)·B/world of each step.

        Raises:
            UserError: a source's text is shorter than one row, or the batch can't be shared evenly.
        """
        if batch % world:
            raise UserError(
                f"A batch of {batch} rows can't be shared by {world} processes: make base.batch a multiple of {world}."
            )
        self.batch, self.context, self.rank, self.world = batch, context, rank, world
        self.step = 0
        rows: dict[Layout, type[Rows]] = {"stream": StreamRows, "document": DocumentRows}
        self._sources = {name: rows[layout](name, tokens, context, seed) for name, tokens in shards.items()}
        self._tokens = {name: len(tokens) for name, tokens in shards.items()}
        self._weights = np.array(list(mix_weights(self._tokens, weights).values()))
        self._drawn = np.zeros(len(self._sources), dtype=np.int64)

    def __next__(self) -> Batch:
        """The next step's rows of this process: tokens and targets (B / world, T)."""
        chosen, draws = self._choose()
        mine = slice(self.rank * self.batch // self.world, (self.rank + 1) * self.batch // self.world)
        names = list(self._sources)
        table = np.empty((len(chosen[mine]), self.context + 1), dtype=np.int64)
        for row, (source, draw) in enumerate(zip(chosen[mine], draws[mine], strict=True)):
            table[row] = self._sources[names[source]].read(int(draw))
        self.step += 1
        rows = torch.from_numpy(table)
        return Batch(tokens=rows[:, :-1].contiguous(), targets=rows[:, 1:].contiguous())

    def _choose(self) -> tuple[Indices, Indices]:
        """(B,) which source each row comes from, and how many rows that source had given before it."""
        chosen = np.empty(self.batch, dtype=np.int64)
        draws = np.empty(self.batch, dtype=np.int64)
        total = int(self._drawn.sum())
        for row in range(self.batch):
            source = int(np.argmax(self._weights * (total + row + 1) - self._drawn))
            chosen[row], draws[row] = source, self._drawn[source]
            self._drawn[source] += 1
        return chosen, draws

    def epochs(self) -> dict[str, float]:
        """How often each source has been read so far: its tokens drawn ÷ its tokens."""
        drawn = dict(zip(self._sources, self._drawn.tolist(), strict=True))
        return {name: drawn[name] * self.context / tokens for name, tokens in self._tokens.items()}

    def mixture(self) -> list[MixtureRow]:
        """The book's Figure 72 for what was drawn so far."""
        epochs, weights = self.epochs(), self._weights.tolist()
        return [
            MixtureRow(name, tokens, weight, epochs[name])
            for (name, tokens), weight in zip(self._tokens.items(), weights, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands: enough to go on exactly from here, on any number of processes."""
        return {"step": self.step, "drawn": dict(zip(self._sources, self._drawn.tolist(), strict=True))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises UserError where the state is of other sources."""
        if set(state["drawn"]) != set(self._sources):
            was, now = ", ".join(state["drawn"]), ", ".join(self._sources)
            raise UserError(
                f"The checkpoint was reading {was}; the recipe names {now}: start a new run, or restore the sources."
            )
        self.step = state["step"]
        self._drawn = np.array([state["drawn"][name] for name in self._sources], dtype=np.int64)


def mix_weights(tokens: Mapping[str, int], weights: Mapping[str, float | None]) -> dict[str, float]:
    """Shares of the mix that add up to 1, from the recipe's weights: given for all, or for none (then by tokens)."""
    given = {name: weights.get(name) for name in tokens}
    assert all(w is None for w in given.values()) or all(w is not None for w in given.values()), given
    amounts = {name: float(tokens[name] if weight is None else weight) for name, weight in given.items()}
    total = sum(amounts.values())
    return {name: amount / total for name, amount in amounts.items()}


def mixture(tokens: Mapping[str, int], weights: Mapping[str, float | None], total: int) -> list[MixtureRow]:
    """The book's Figure 72 for a training of `total` tokens: a source's epochs are weight · `total` ÷ its tokens."""
    shares = mix_weights(tokens, weights)
    return [MixtureRow(name, size, shares[name], shares[name] * total / size) for name, size in tokens.items()]


class Rows(ABC):
    """The rows of one source, numbered as they are drawn, without end; every `count` draws are an epoch."""

    count: int

    def __init__(self, name: str, shards: TokenShards, context: int, seed: int) -> None:
        if len(shards) < context + 1:
            raise UserError(
                f"The text of source {name!r} has {len(shards):,} tokens, less than one row of {context} + 1: "
                f"lower model.context to {max(len(shards) - 1, 1)} or less, or add text."
            )
        self.shards, self.context = shards, context
        self._seed = (seed, crc32(name.encode()))
        self._epoch = -1

    def read(self, draw: int) -> npt.NDArray[Any]:
        """(T + 1,) token ids of the row that is drawn after `draw` others."""
        epoch, place = divmod(draw, self.count)
        if epoch != self._epoch:
            *self._keys, self._phase = (
                np.random.SeedSequence([*self._seed, epoch]).generate_state(5, np.uint64).tolist()
            )
            self._epoch = epoch
        start = self.start(shuffled(place, self.count, self._keys), self._phase)
        return read_ring(self.shards.tokens, start, self.context + 1)

    @abstractmethod
    def start(self, row: int, phase: int) -> int:
        """Where a row begins in the stream; `phase` is a random number of the epoch."""


class StreamRows(Rows):
    """Windows of the stream, which is read as a ring: behind its last document comes its first."""

    def __init__(self, name: str, shards: TokenShards, context: int, seed: int) -> None:
        super().__init__(name, shards, context, seed)
        self.count = len(shards) // context

    def start(self, row: int, phase: int) -> int:
        return phase % len(self.shards) + row * self.context


class DocumentRows(Rows):
    """Rows that start at documents; the next one starts at the first document behind this one's last token."""

    def __init__(self, name: str, shards: TokenShards, context: int, seed: int) -> None:
        super().__init__(name, shards, context, seed)
        self.starts = row_starts(np.asarray(shards.starts, dtype=np.int64), context)
        self.count = len(self.starts)

    def start(self, row: int, phase: int) -> int:
        return int(self.starts[row])


def row_starts(starts: Indices, context: int) -> Indices:
    """Which documents open a row when rows of `context` tokens are filled one after the other (Figure 75)."""
    following = np.searchsorted(starts, starts + context).tolist()
    chosen, document = [], 0
    while document < len(starts):
        chosen.append(document)
        document = following[document]
    return starts[chosen]


def read_ring(tokens: npt.NDArray[Any], start: int, length: int) -> npt.NDArray[Any]:
    """`length` tokens from `start` on, going round at the end."""
    start %= len(tokens)
    if start + length <= len(tokens):
        return np.asarray(tokens[start : start + length])
    return np.concatenate([tokens[start:], tokens[: start + length - len(tokens)]])


def shuffled(index: int, count: int, keys: Sequence[int]) -> int:
    """Where the random shuffle of 0 … count − 1 that `keys` (64 bits each) stand for puts `index`, without keeping it
    in memory.

    A Feistel network with a round for each key permutes the numbers of an even number of bits; a result beyond `count`
    is sent through again (Black and Rogaway, *Ciphers with Arbitrary Finite Domains*, 2002).
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for key in keys:
            left, right = right, left ^ (mix(right ^ key) & mask)
        index = left << half | right
        if index < count:
            return index


def mix(number: int) -> int:
    """A 64-bit hash: every output bit depends on every input bit (SplitMix64's last step; Steele et al. 2014)."""
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return number ^ number >> 31
