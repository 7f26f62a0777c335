"""What batches have in common: their rows are cut into pieces that fit, moved, and read again and again in new orders."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from plutao.errors import UserError


@dataclass(frozen=True)
class RowBatch:
    """Tensors whose first dimension is the rows (B) of the batch."""

    @property
    def rows(self) -> int:
        first: Tensor = next(iter(vars(self).values()))
        return len(first)

    @property
    def weight(self) -> int:
        """What this batch counts for when gradients of several are added up: its rows."""
        return self.rows

    def split(self, rows: int) -> list[Self]:
        """Pieces of at most `rows` rows."""
        parts = (torch.split(part, rows) for part in vars(self).values())
        return [type(self)(*piece) for piece in zip(*parts, strict=True)]

    def to(self, device: torch.device) -> Self:
        return type(self)(*(part.to(device, non_blocking=True) for part in vars(self).values()))


class Readings:
    """Endless readings of `count` things, `batch` a step; each reading has all of them once, in an order of its own.

    What comes when depends on the seed and the step alone, so a training that was stopped goes on exactly where it was,
    and each of several processes takes its share of one and the same step.
    """

    def __init__(self, count: int, batch: int, seed: int, rank: int = 0, world: int = 1) -> None:
        """Raises UserError where the batch can't be shared evenly."""
        if batch % world:
            raise UserError(f"A batch of {batch} can't be shared by {world} processes: make it a multiple.")
        self.count, self.batch, self.seed, self.rank, self.world, self.step = count, batch, seed, rank, world, 0
        self._reading, self._order = -1, [0]

    def draw(self) -> list[int]:
        """The places of the next step's things that fall to this process."""
        share = self.batch // self.world
        first = self.step * self.batch + self.rank * share
        self.step += 1
        return [self._place(number) for number in range(first, first + share)]

    def _place(self, number: int) -> int:
        """Which thing is drawn after `number` others."""
        reading, within = divmod(number, self.count)
        if reading != self._reading:
            generator = torch.Generator().manual_seed((self.seed << 16) + reading)
            self._order, self._reading = torch.randperm(self.count, generator=generator).tolist(), reading
        return self._order[within]

    def epochs(self) -> float:
        """How often each thing has been read so far."""
        return self.step * self.batch / self.count

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step = int(state["step"])
