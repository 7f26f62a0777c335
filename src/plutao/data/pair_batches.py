"""From sentence pairs to rows: pairs of like length share a batch, so that little of it is padding."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from plutao.data.pack import NOT_LEARNED, Batch

Ids = Sequence[int]
POOL = 100  # batches' worth of pairs that are sorted by length together


@dataclass(frozen=True)
class PairBatch(Batch):
    """Rows of source sentences and their translations: `source` ends with <eos>; the decoder reads `tokens`, which begin
    with <sos>, and learns `targets`, the same one place later; `NOT_LEARNED` where there is padding.
    """

    source: Int[Tensor, "B S"]


@dataclass(frozen=True)
class Marks:
    """The tokens that rows are built with."""

    start: int
    end: int
    pad: int


def rows_of(pairs: Sequence[tuple[Ids, Ids]], marks: Marks) -> PairBatch:
    """Encoded pairs, without marks, as one batch."""
    longest_source, longest_target = (max(len(pair[side]) for pair in pairs) + 1 for side in (0, 1))
    source = np.full((len(pairs), longest_source), marks.pad, dtype=np.int64)
    tokens = np.full((len(pairs), longest_target), marks.pad, dtype=np.int64)
    targets = np.full((len(pairs), longest_target), NOT_LEARNED, dtype=np.int64)
    for row, (read, written) in enumerate(pairs):
        source[row, : len(read) + 1] = [*read, marks.end]
        tokens[row, : len(written) + 1] = [marks.start, *written]
        targets[row, : len(written) + 1] = [*written, marks.end]
    return PairBatch(*(torch.from_numpy(table) for table in (tokens, targets, source)))


def by_length(pairs: Sequence[tuple[Ids, Ids]], order: Sequence[int], most: int, least: int = 1) -> list[list[int]]:
    """Groups of pairs, taken in `order` sorted by length: at most `most` tokens of both sides with padding, and at least
    `least` pairs each.
    """
    groups: list[list[int]] = []
    group: list[int] = []
    widest = (0, 0)
    for place in sorted(order, key=lambda place: (len(pairs[place][0]), len(pairs[place][1]))):
        read, written = len(pairs[place][0]) + 1, len(pairs[place][1]) + 1
        wider = (max(widest[0], read), max(widest[1], written))
        if len(group) >= least and (len(group) + 1) * sum(wider) > most:
            groups.append(group)
            group, wider = [], (read, written)
        group.append(place)
        widest = wider
    if len(group) >= least or not groups:
        groups.append(group)
    else:  # too few for all processes
        groups[-1] += group
    return groups


class PairBatches(Iterator[PairBatch]):
    """Endless batches of pairs; each epoch shows every pair once, in a new order.

    Which pairs share the batch of a step depends only on the seed and on the step, so a training that was stopped goes on
    exactly where it was, and several processes take their share of the same batch.
    """

    def __init__(
        self, pairs: Sequence[tuple[Ids, Ids]], marks: Marks, most: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        """Args:
        pairs: encoded, without marks.
        most: tokens a step, of both sides with padding, over all processes.
        rank: this process among `world` processes.
        """
        assert len(pairs) >= world, "fewer pairs than processes"
        self.pairs, self.marks, self.most, self.seed, self.rank, self.world = pairs, marks, most, seed, rank, world
        self.epoch = self.place = 0
        self.groups = self.arrange(0)

    def arrange(self, epoch: int) -> list[list[int]]:
        """The epoch's groups, in order: pairs are shuffled, sorted by length within pools, and the groups shuffled again."""
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self.pairs))
        mean = sum(len(read) + len(written) + 2 for read, written in self.pairs) / len(self.pairs)
        pool = max(self.world, round(POOL * self.most / mean))
        pools = np.array_split(order, max(1, len(order) // pool))
        groups = [group for some in pools for group in by_length(self.pairs, some.tolist(), self.most, self.world)]
        return [groups[place] for place in random.permutation(len(groups)).tolist()]

    def __next__(self) -> PairBatch:
        if self.place == len(self.groups):
            self.epoch, self.place = self.epoch + 1, 0
            self.groups = self.arrange(self.epoch)
        group = self.groups[self.place]
        self.place += 1
        mine = group[self.rank * len(group) // self.world : (self.rank + 1) * len(group) // self.world]
        return rows_of([self.pairs[place] for place in mine], self.marks)

    @property
    def steps_per_epoch(self) -> int:
        return len(self.groups)

    @property
    def epochs(self) -> float:
        """How often the pairs have been read so far."""
        return self.epoch + self.place / len(self.groups)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "place": self.place}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["epoch"] != self.epoch:
            self.groups = self.arrange(state["epoch"])
        self.epoch, self.place = state["epoch"], state["place"]
