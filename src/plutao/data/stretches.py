"""Long rows of text, read window by window: what truncated backpropagation through time trains on (Williams & Peng 1990).

A row of the mix (`pack.PretrainBatches`) is `windows` times as long as a window. Step by step all rows move on by one window;
after the last one, new rows are drawn. So a recurrent model may carry its state from window to window, although its
gradient never flows back further than the window's beginning.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from plutao.data.pack import Batch, MixtureRow, PretrainBatches
from plutao.data.shards import TokenShards


@dataclass(frozen=True)
class Stretch(Batch):
    """A window of each row."""

    begins: bool
    """Whether the rows begin here; else they go on where the last step's ended."""
    first: int = 0
    """The place of these rows among those of the step: 0 but for pieces."""

    def split(self, rows: int) -> list["Stretch"]:
        """Pieces of at most `rows` rows."""
        pieces = zip(torch.split(self.tokens, rows), torch.split(self.targets, rows), strict=True)
        return [Stretch(*piece, self.begins, self.first + place * rows) for place, piece in enumerate(pieces)]

    def to(self, device: torch.device) -> "Stretch":
        tokens, targets = (part.to(device, non_blocking=True) for part in (self.tokens, self.targets))
        return Stretch(tokens, targets, self.begins, self.first)


class Stretches(Iterator[Stretch]):
    """Endless windows of `window` tokens; `windows` of them follow one another in the same rows."""

    def __init__(
        self,
        shards: Mapping[str, TokenShards],
        weights: Mapping[str, float | None],
        batch: int,
        window: int,
        windows: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Otherwise as `PretrainBatches`. A text that has no room for so many windows is read in rows of fewer."""
        room = min((len(tokens) - 1) // window for tokens in shards.values())
        self.window, self.windows = window, max(1, min(windows, room))
        self.rows = PretrainBatches(shards, weights, batch, window * self.windows, seed, "stream", rank, world)
        self.place = 0
        self.before = self.rows.state_dict()
        self.drawn: Batch | None = None

    def __next__(self) -> Stretch:
        if self.drawn is None or self.place == self.windows:
            self.before, self.place = self.rows.state_dict(), 0
            self.drawn = next(self.rows)
        part = slice(self.place * self.window, (self.place + 1) * self.window)
        begins, self.place = self.place == 0, self.place + 1
        return Stretch(self.drawn.tokens[:, part].contiguous(), self.drawn.targets[:, part].contiguous(), begins)

    def epochs(self) -> dict[str, float]:
        """How often each source has been read so far."""
        return self.rows.epochs()

    def mixture(self) -> list[MixtureRow]:
        """The book's Figure 72 for what was drawn so far."""
        return self.rows.mixture()

    def state_dict(self) -> dict[str, Any]:
        """Where the reader stands: what had been drawn before these rows, and how many of their windows were read."""
        return {"rows": self.before, "place": self.place if self.drawn is not None else 0}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises UserError where the state is of other sources."""
        self.rows.load_state_dict(state["rows"])
        self.before, self.place, self.drawn = state["rows"], state["place"], None
        if self.place:
            self.drawn = next(self.rows)
