"""Which n-grams a model holds: all, those counted often enough, or those whose absence would be noticed.

Whatever is held, its context and its suffix are held too: then every look-up finds its way, here and in other programs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from plutao.train.columns import Array, Column, gather, mark, runs_of
from plutao.train.kneser_ney import Level, divided, put, whole_contexts
from plutao.train.ngram_counts import Counts, contexts_of


def all_masks(counts: Counts, folder: Path) -> list[Column]:
    """For each order a column that says nothing is held, but the whole vocabulary."""
    return [
        Column.filled(folder / f"kept.{table.order}", "u1", len(table), table.order == 1) for table in counts.tables
    ]


def often(counts: Counts, thresholds: Sequence[int], folder: Path) -> list[Column]:
    """Masks of the n-grams whose adjusted count is above their order's threshold; the last threshold goes on for the orders
    that follow. Of order 1 all are held.
    """
    masks = all_masks(counts, folder)
    for n in range(counts.order, 1, -1):
        threshold = thresholds[min(n, len(thresholds)) - 1]
        table = counts.table(n)
        for start, adjusted in table.adjusted.pieces(counts.piece):
            keep(counts, masks, n, start, adjusted > threshold)
    return masks


def keep(counts: Counts, masks: Sequence[Column], n: int, start: int, wanted: npt.NDArray[np.bool_]) -> None:
    """Holds the wanted n-grams of a piece that begins at `start`, and, for these and those that were held already, the
    context and the suffix.
    """
    stop = start + len(wanted)
    held = wanted | masks[n - 1].read(start, stop).astype(bool)
    masks[n - 1].write(start, held)
    if n > 1 and held.any():
        table = counts.table(n)
        mark(masks[n - 2], contexts_of(table.keys.read(start, stop))[held], counts.piece)
        mark(masks[n - 2], table.suffixes.read(start, stop)[held], counts.piece)


# ---------------------------------------------------------------------------------------------------------------------
# By entropy (Stolcke 1998)


@dataclass(frozen=True)
class Pieces:
    """One piece of an order, its n-grams' probabilities beside those of the order below."""

    start: int
    contexts: Array
    starts: Array
    """Where each context begins."""
    own: npt.NDArray[np.float64]
    below: npt.NDArray[np.float64]

    def sums(self, values: Array) -> npt.NDArray[np.float64]:
        """Of each context."""
        found: npt.NDArray[np.float64] = np.add.reduceat(values, self.starts)
        return found

    def spread(self, values: Array) -> Array:
        """A number of each context, for each of its n-grams."""
        return np.repeat(values, np.diff(np.append(self.starts, len(self.contexts))))


def pieces_of(counts: Counts, levels: Sequence[Level], n: int) -> Iterator[Pieces]:
    table = counts.table(n)
    for start, keys in whole_contexts(table, counts.piece):
        stop = start + len(keys)
        contexts = contexts_of(keys)
        below = gather(levels[n - 2].probabilities, table.suffixes.read(start, stop), counts.piece)
        own = levels[n - 1].probabilities.read(start, stop).astype(np.float64)
        yield Pieces(start, contexts, runs_of(contexts), own, below.astype(np.float64))


def telling(counts: Counts, levels: Sequence[Level], threshold: float, folder: Path) -> list[Column]:
    """Masks of the n-grams without which the model's perplexity would rise by more than a share of `threshold` each
    (Stolcke 1998, section 3), the longest looked at first.
    """
    joint = joint_probabilities(counts, levels, folder)
    masks = all_masks(counts, folder)
    for n in range(counts.order, 1, -1):
        for piece in pieces_of(counts, levels, n):
            of_context = gather(joint[n - 2], piece.contexts[piece.starts], counts.piece).astype(np.float64)
            keep(counts, masks, n, piece.start, rise(piece, of_context) > threshold)
    return masks


def rise(piece: Pieces, of_context: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The relative change of perplexity if an n-gram backed off: exp(D) − 1, where D is the divergence it would cause."""
    left, left_below = 1 - piece.sums(piece.own), 1 - piece.sums(piece.below)
    tiny = 1e-12
    share = np.maximum(left, tiny) / np.maximum(left_below, tiny)
    without = (np.maximum(piece.spread(left), tiny) + piece.own) / (
        np.maximum(piece.spread(left_below), tiny) + piece.below
    )
    change = np.log(without) - piece.spread(np.log(share))
    moved = piece.own * (np.log(piece.below) + np.log(without) - np.log(piece.own))
    divergence = -piece.spread(of_context) * (moved + piece.spread(np.maximum(left, tiny)) * change)
    found: npt.NDArray[np.float64] = np.expm1(divergence)
    return found


def joint_probabilities(counts: Counts, levels: Sequence[Level], folder: Path) -> list[Column]:
    """p(w₁ … wₙ) of the n-grams of all orders below the highest."""
    joint = [levels[0].probabilities]
    for n in range(2, counts.order):
        column = Column.empty(folder / f"joint.{n}", "<f8")
        for start, keys in counts.table(n).keys.pieces(counts.piece):
            before = gather(joint[-1], contexts_of(keys), counts.piece)
            column.append(before * levels[n - 1].probabilities.read(start, start + len(keys)))
        joint.append(column)
    return joint


def renewed(counts: Counts, levels: Sequence[Level], masks: Sequence[Column], folder: Path) -> list[Level]:
    """The levels with shares that fit what is held: the probabilities stay, what the others had goes to back-off."""
    found = [levels[0]]
    for n in range(2, counts.order + 1):
        shares = Column.empty(folder / f"renewed.{n}", "<f4")
        for piece in pieces_of(counts, levels, n):
            held = masks[n - 1].read(piece.start, piece.start + len(piece.contexts)).astype(bool)
            left, below = (1 - piece.sums(np.where(held, values, 0.0)) for values in (piece.own, piece.below))
            put(shares, piece.contexts[piece.starts], divided(np.maximum(left, 0.0), below, otherwise=1.0))
        contexts = len(counts.table(n - 1))
        put(shares, np.array([contexts]), np.ones(1))
        shares.length = contexts
        found.append(replace(levels[n - 1], shares=shares))
    return found
