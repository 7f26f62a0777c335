"""Columns of numbers on disk, read and written by ranges: tables larger than memory, sorted and joined a piece at a time.

Everything that counts n-grams goes through these few operations, so that memory is bounded by the size of a piece and
never by the size of the text: sort a piece, write it as a run, merge the runs; join sorted numbers with a sorted column.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Keys = npt.NDArray[np.uint64]


class Column:
    """`length` numbers of one kind in a file."""

    def __init__(self, path: Path, dtype: str, length: int) -> None:
        self.path, self.dtype, self.length = path, np.dtype(dtype), length

    @classmethod
    def filled(cls, path: Path, dtype: str, length: int, value: float = 0) -> "Column":
        """A new column that holds `value` everywhere."""
        column = cls(path, dtype, 0)
        path.write_bytes(b"")
        while column.length < length:
            column.append(np.full(min(length - column.length, 1 << 20), value, column.dtype))
        return column

    @classmethod
    def empty(cls, path: Path, dtype: str) -> "Column":
        """A new column to append to."""
        return cls.filled(path, dtype, 0)

    def __len__(self) -> int:
        return self.length

    def append(self, values: Array) -> None:
        with self.path.open("ab") as file:
            values.astype(self.dtype, copy=False).tofile(file)
        self.length += len(values)

    def read(self, start: int, stop: int) -> Array:
        """The numbers from `start` up to `stop`."""
        start, stop = max(start, 0), min(stop, self.length)
        return np.fromfile(self.path, self.dtype, max(stop - start, 0), offset=start * self.dtype.itemsize)

    def write(self, start: int, values: Array) -> None:
        """Puts `values` in the place of the numbers from `start` on."""
        with self.path.open("r+b") as file:
            file.seek(start * self.dtype.itemsize)
            values.astype(self.dtype, copy=False).tofile(file)

    def pieces(self, size: int) -> Iterator[tuple[int, Array]]:
        """(where it starts, the numbers) of one piece after another."""
        for start in range(0, self.length, size):
            yield start, self.read(start, start + size)

    def mapped(self) -> Array:
        """The column as an array whose pages are read when they are looked at."""
        return np.memmap(self.path, self.dtype, "r", shape=(self.length,)) if self.length else np.empty(0, self.dtype)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def runs_of(values: Array) -> npt.NDArray[np.int64]:
    """Where each run of equal numbers begins, in sorted `values`."""
    if not len(values):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))


def gather(column: Column, places: Array, size: int) -> Array:
    """column[places], holding one piece of the column at a time; `places` in any order."""
    if len(column) <= size:
        whole: Array = column.read(0, len(column))[places]
        return whole
    order = np.argsort(places)
    wanted = places[order]
    found = np.empty(len(places), column.dtype)
    for start, low, high in spans(wanted, size):
        piece = column.read(start, start + size)
        found[order[low:high]] = piece[wanted[low:high].astype(np.int64) - start]
    return found


def spans(wanted: Array, size: int) -> Iterator[tuple[int, int, int]]:
    """Cuts sorted places by the piece of a column that they fall into: (start of the piece, first, last + 1)."""
    low = 0
    while low < len(wanted):
        start = int(wanted[low]) // size * size
        high = int(np.searchsorted(wanted, start + size))
        yield start, low, high
        low = high


def add_at(column: Column, places: Array, amounts: Array, size: int) -> None:
    """column[places] += amounts, for sorted places that are all different."""
    for _, low, high in spans(places, size):
        inside = places[low:high].astype(np.int64)
        first, last = int(inside[0]), int(inside[-1]) + 1
        piece = column.read(first, last)
        piece[inside - first] += amounts[low:high].astype(column.dtype)
        column.write(first, piece)


def mark(column: Column, places: Array, size: int) -> None:
    """column[places] = 1, for places in any order."""
    wanted = np.sort(places)
    wanted = wanted[runs_of(wanted)]
    for _, low, high in spans(wanted, size):
        inside = wanted[low:high].astype(np.int64)
        first, last = int(inside[0]), int(inside[-1]) + 1
        piece = column.read(first, last)
        piece[inside - first] = 1
        column.write(first, piece)


def ranks(table: Column, keys: Keys, size: int) -> npt.NDArray[np.int64]:
    """Where each of the sorted `keys` stands in the sorted table; every one of them must be there."""
    found = np.empty(len(keys), np.int64)
    low, at = 0, int(np.searchsorted(table.mapped(), keys[0])) if len(keys) else 0
    while low < len(keys):
        piece = table.read(at, at + size)
        high = int(np.searchsorted(keys, piece[-1], side="right"))
        found[low:high] = at + np.searchsorted(piece, keys[low:high])
        low, at = high, at + size
    return found


def merge(runs: Sequence[tuple[Column, Column]], keys: Column, counts: Column, size: int) -> None:
    """Merges runs of (sorted different keys, their counts) into one, about `size` keys in memory at a time.

    The range of the keys is cut where samples of the runs say that a piece is full, so that a piece of each run can be
    read, put together, sorted and added up.
    """
    tables = [run.mapped() for run, _ in runs]
    stride = max(1, size // (4 * len(runs)))
    samples = np.sort(np.concatenate([table[::stride] for table in tables]))
    pivots = samples[:: 2 * len(runs)][1:]
    edges = np.stack([np.concatenate(([0], np.searchsorted(table, pivots), [len(table)])) for table in tables])
    for low, high in zip(edges[:, :-1].T, edges[:, 1:].T, strict=True):
        pairs = list(zip(runs, low.tolist(), high.tolist(), strict=True))
        some = np.concatenate([run.read(start, stop) for (run, _), start, stop in pairs])
        if not len(some):
            continue
        amounts = np.concatenate([count.read(start, stop) for (_, count), start, stop in pairs])
        order = np.argsort(some)
        some = some[order]
        starts = runs_of(some)
        keys.append(some[starts])
        counts.append(np.add.reduceat(amounts[order].astype(np.int64), starts))
