"""Kneser–Ney: from counts of n-grams to probabilities that leave room for what was never seen.

Each n-gram gives up a discount D of its count; what a context gives up in all, γ, goes to the next shorter context
(interpolation), down to the uniform distribution over the vocabulary:

    p(w | h) = (a(h w) − D) / Σ a(h ·) + γ(h) · p(w | h′)          h′: h without its first token

a is the count for the highest order. Below it, it is the number of different tokens in front (Kneser & Ney 1995): "Francisco"
may be frequent, yet it follows "San" alone, so where the context is not known it is not likely. The modified form (Chen &
Goodman 1999) has three discounts an order, for counts of 1, 2, and 3 or more. Probabilities computed this way are looked up
by back-off: an n-gram that was seen has its own; another has γ(h) times that of the shorter one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from plutao.train.columns import Array, Column, gather, runs_of
from plutao.train.ngram_counts import Counts, Table, contexts_of

Smoothing = Literal["modified", "plain"]
Discounts = tuple[float, float, float]
"""Taken off counts of 1, of 2, and of 3 or more."""
FALLBACK: dict[Smoothing, Discounts] = {"modified": (0.5, 1.0, 1.5), "plain": (0.5, 0.5, 0.5)}
"""Where a text is too small or too odd to say: then some n-grams of low counts are missing."""


@dataclass(frozen=True)
class Level:
    """What was estimated of one order: a probability for each n-gram, and the share that each of their contexts gives on."""

    probabilities: Column
    """p of each n-gram of this order (float32)."""
    shares: Column
    """γ of each n-gram of the order below, as a context of this order's; 1 where nothing follows it (float32)."""
    discounts: Discounts


def discounts(adjusted: Column, smoothing: Smoothing, piece: int) -> Discounts:
    """Estimated from how many n-grams have adjusted counts of 1, 2, 3 and 4 (Chen & Goodman 1999, section 3.4; the plain
    form: Ney, Essen & Kneser 1994).
    """
    n = np.zeros(5)
    for _, values in adjusted.pieces(piece):
        n += np.bincount(np.minimum(values, 5), minlength=6)[:5]
    if n[1] == 0 or n[2] == 0:
        return FALLBACK[smoothing]
    y = n[1] / (n[1] + 2 * n[2])
    if smoothing == "plain":
        return (y, y, y)
    if n[3] == 0:
        return FALLBACK[smoothing]
    found = tuple(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
    right = all(0 < amount <= k for k, amount in enumerate(found, start=1))
    return (found[0], found[1], found[2]) if right else FALLBACK[smoothing]


def estimate(
    counts: Counts,
    folder: Path,
    smoothing: Smoothing = "modified",
    discount: float | None = None,
    kept: Sequence[Column] = (),
) -> list[Level]:
    """Probabilities of all orders, as columns in `folder`.

    Args:
        discount: one discount for all orders, in place of estimated ones.
        kept: for each order, 1 for the n-grams that the model will hold and 0 for those it will not, whose counts go to
            the shorter contexts; all are held where it is left out.
    """
    levels: list[Level] = []
    for n in range(1, counts.order + 1):
        mask = kept[n - 1] if kept else None
        lower = levels[-1].probabilities if levels else None
        levels.append(estimate_order(counts, n, counts.table(n).adjusted, lower, folder, smoothing, discount, mask))
    return levels


def estimate_order(
    counts: Counts,
    n: int,
    adjusted: Column,
    lower: Column | None,
    folder: Path,
    smoothing: Smoothing,
    discount: float | None = None,
    kept: Column | None = None,
) -> Level:
    """One order, from its counts and the probabilities of the order below (None below order 1: uniform).

    Args:
        adjusted: what counts: the table's adjusted counts; its counts make `n` the highest order of a model.
    """
    table = counts.table(n)
    some = (discount,) * 3 if discount is not None else discounts(adjusted, smoothing, counts.piece)
    amounts = np.array([0.0, *some])
    raw = "" if adjusted is table.adjusted else "top."
    probabilities = Column.empty(folder / f"{raw}probabilities.{n}", "<f4")
    shares = Column.empty(folder / f"{raw}shares.{n}", "<f4")
    for start, keys in whole_contexts(table, counts.piece):
        values = adjusted.read(start, start + len(keys))
        held = kept.read(start, start + len(keys)).astype(bool) if kept is not None else np.ones(len(keys), bool)
        contexts = contexts_of(keys)
        starts = runs_of(contexts)
        given = np.where(held, amounts[np.minimum(values, 3)], values)
        totals = np.add.reduceat(values.astype(np.float64), starts)
        share = divided(np.add.reduceat(given, starts), totals, otherwise=1.0)
        sizes = np.diff(np.append(starts, len(keys)))
        if lower is None:
            below: Array = np.full(len(keys), 1.0 / counts.vocabulary)
        else:
            below = gather(lower, table.suffixes.read(start, start + len(keys)), counts.piece).astype(np.float64)
        own = divided(values - given, np.repeat(totals, sizes), otherwise=0.0)
        probabilities.append(own + np.repeat(share, sizes) * below)
        put(shares, contexts[starts], share)
    contexts_below = 1 if n == 1 else len(counts.table(n - 1))
    put(shares, np.array([contexts_below]), np.ones(1))  # fills up to the last context
    shares.length = contexts_below
    return Level(probabilities, shares, (float(some[0]), float(some[1]), float(some[2])))


def divided(a: Array, b: Array, otherwise: float) -> npt.NDArray[np.float64]:
    """a ÷ b where b is not 0."""
    found: npt.NDArray[np.float64] = np.divide(a, b, out=np.full(len(a), otherwise), where=b > 0)
    return found


def put(column: Column, places: Array, values: Array) -> None:
    """Appends `values` at increasing `places`, with 1 in every place that is passed over."""
    first, last = len(column), int(places[-1]) + 1
    for start in range(first, int(places[0]), 1 << 20):
        column.append(np.ones(min(1 << 20, int(places[0]) - start)))
    first = len(column)
    filled = np.ones(last - first)
    filled[places.astype(np.int64) - first] = values
    column.append(filled)


def whole_contexts(table: Table, piece: int) -> Iterator[tuple[int, Array]]:
    """(where it starts, the keys) of pieces that end where a context's n-grams end."""
    start = 0
    while start < len(table):
        keys = table.keys.read(start, start + piece)
        if start + len(keys) < len(table):
            keys = keys[: np.searchsorted(keys, keys[-1] >> np.uint64(32) << np.uint64(32))]
        yield start, keys
        start += len(keys)
