"""N-grams of a text counted: every different run of 1, 2 … N tokens, and how often it stands there.

An n-gram is named by two numbers in one: the rank of its first n − 1 tokens among all (n − 1)-grams, and its last token.
Sorted by that name the n-grams of an order stand in the order of a dictionary, those with the same context side by side.
Counting is sorting: a piece of the text at a time, then the pieces are merged (train/columns.py), so that memory is bounded
by the piece. A text of documents d₁ d₂ … reads `E d₁ E d₂ … E`, where E is `<|endoftext|>`: it stands in front of a document
as what is known, and behind it as what is to be predicted; no n-gram goes on past it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from plutao.errors import UserError
from plutao.train.columns import Array, Column, Keys, add_at, gather, merge, ranks, runs_of

NOTHING = 0xFFFF_FFFF
"""Stands for an n-gram that is not there: the text is not long enough before this place."""
BYTES_A_PLACE = 128
"""Working memory for each number of a piece: keys, their order, what is looked up for them."""
Told = Callable[[int, int], None]
"""Called with (an order, how many different n-grams of it there are) when they have been counted."""


class TokenStream:
    """Arrays of tokens (memory-mapped shards) read one after another; at most `limit` tokens, then E."""

    def __init__(self, arrays: Sequence[Array], end_of_text: int, limit: int | None = None) -> None:
        self.arrays, self.end_of_text = arrays, end_of_text
        self.ends = np.cumsum([len(array) for array in arrays])
        self.tokens = min(int(self.ends[-1]) if len(arrays) else 0, limit or NOTHING)
        if self.tokens >= NOTHING - 1:
            raise UserError(f"N-grams are counted of at most {NOTHING:,} tokens: set ngram.tokens to less.")

    def __len__(self) -> int:
        return self.tokens + 1

    def read(self, start: int, stop: int) -> npt.NDArray[np.uint32]:
        """The tokens from `start` up to `stop`."""
        pieces = []
        for array, end in zip(self.arrays, self.ends.tolist(), strict=True):
            begin = end - len(array)
            low, high = max(start, begin), min(stop, end, self.tokens)
            if low < high:
                pieces.append(np.asarray(array[low - begin : high - begin]).astype(np.uint32))
        if start <= self.tokens < stop:
            pieces.append(np.array([self.end_of_text], np.uint32))
        return np.concatenate(pieces) if pieces else np.empty(0, np.uint32)


@dataclass(frozen=True)
class Table:
    """All n-grams of one order, in order."""

    order: int
    keys: Column
    """Rank of the context << 32 | last token (uint64, increasing)."""
    counts: Column
    """How often each stands in the text (uint32)."""
    adjusted: Column
    """How many different tokens stand in front of it (Kneser & Ney 1995); those that begin with E, and those of the highest
    order, keep their counts.
    """
    suffixes: Column
    """The rank of each without its first token (uint32)."""

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class Counts:
    """The n-grams of orders 1 to N; those of order 1 are the whole vocabulary, seen or not."""

    tables: tuple[Table, ...]
    vocabulary: int
    end_of_text: int
    tokens: int
    piece: int
    """Numbers held in memory at once, about."""

    @property
    def order(self) -> int:
        return len(self.tables)

    def table(self, order: int) -> Table:
        return self.tables[order - 1]


def words_of(keys: Keys) -> npt.NDArray[np.uint32]:
    """The last tokens of n-grams."""
    return (keys & np.uint64(NOTHING)).astype(np.uint32)


def contexts_of(keys: Keys) -> npt.NDArray[np.uint32]:
    """The ranks of the n-grams' contexts."""
    return (keys >> np.uint64(32)).astype(np.uint32)


def joined(contexts: Array, words: Array) -> Keys:
    """Names of n-grams."""
    keys: Keys = contexts.astype(np.uint64) << np.uint64(32) | words.astype(np.uint64)
    return keys


def count(
    stream: TokenStream,
    order: int,
    vocabulary: int,
    folder: Path,
    megabytes: float = 256.0,
    told: Told | None = None,
) -> Counts:
    """Counts all n-grams up to `order` into columns in `folder`, which take some 30 bytes of disk for each.

    Args:
        megabytes: working memory, about.
    """
    piece = max(int(megabytes * 1e6 / BYTES_A_PLACE), 2 * vocabulary, 1024)
    work = Work(stream, folder, piece)
    tables = [count_words(work, vocabulary)]
    before: Column | None = None  # the rank of the (n − 1)-gram that ends at each place; of single tokens, the token
    for n in range(2, order + 1):
        keys, counts = count_order(work, n, before)
        if n < order:
            here = find_places(work, n, before, keys)
            if before is not None:
                before.remove()
            before = here
        tables.append(Table(n, keys, counts, counts, find_suffixes(work, keys, tables[-1])))
        if told is not None:
            told(n, len(keys))
    if before is not None:
        before.remove()
    for n in range(1, order):
        tables[n - 1] = adjust(work, tables[n - 1], tables[n])
    keep_beginnings(work, tables, stream.end_of_text)
    return Counts(tuple(tables), vocabulary, stream.end_of_text, stream.tokens, piece)


@dataclass
class Work:
    """What counting goes by."""

    stream: TokenStream
    folder: Path
    piece: int

    def column(self, name: str, dtype: str) -> Column:
        return Column.empty(self.folder / name, dtype)


def count_words(work: Work, vocabulary: int) -> Table:
    """The whole vocabulary, in the order of the tokens' numbers; the first token is not counted where it is E."""
    totals = np.zeros(vocabulary, np.int64)
    for start in range(0, len(work.stream), work.piece):
        totals += np.bincount(work.stream.read(start, start + work.piece), minlength=vocabulary)
    if work.stream.read(0, 1)[0] == work.stream.end_of_text:
        totals[work.stream.end_of_text] -= 1
    keys, counts, suffixes = work.column("keys.1", "<u8"), work.column("counts.1", "<u4"), work.column("none", "<u4")
    keys.append(np.arange(vocabulary, dtype=np.uint64))
    counts.append(totals)
    return Table(1, keys, counts, counts, suffixes)


def keys_of_piece(work: Work, n: int, before: Column | None, start: int) -> tuple[Keys, npt.NDArray[np.bool_]]:
    """The names of the n-grams that end at the places from `start` on, and at which places one does."""
    stream, stop = work.stream, start + work.piece
    words, last = stream.read(start, stop), stream.read(max(start - 1, 0), min(stop, len(stream)) - 1)
    contexts = last if before is None else before.read(max(start - 1, 0), min(stop, len(stream)) - 1)
    there = contexts != NOTHING
    if n > 2:  # E may stand in front, and then alone; what ends with it is no context
        there &= last != stream.end_of_text
    if start == 0:  # nothing stands before the first place
        contexts, there = np.insert(contexts, 0, 0), np.insert(there, 0, False)
    return joined(contexts, words), there


def count_order(work: Work, n: int, before: Column | None) -> tuple[Column, Column]:
    """The different n-grams, sorted, and their counts."""
    runs = []
    for number, start in enumerate(range(0, len(work.stream), work.piece)):
        keys, there = keys_of_piece(work, n, before, start)
        keys = np.sort(keys[there])
        starts = runs_of(keys)
        run = work.column(f"run.{number}", "<u8"), work.column(f"run.{number}.counts", "<u4")
        run[0].append(keys[starts])
        run[1].append(np.diff(np.append(starts, len(keys))))
        runs.append(run)
    if len(runs) == 1:
        return renamed(runs[0][0], f"keys.{n}"), renamed(runs[0][1], f"counts.{n}")
    merged = work.column(f"keys.{n}", "<u8"), work.column(f"counts.{n}", "<u4")
    merge(runs, *merged, work.piece)
    for run_keys, run_counts in runs:
        run_keys.remove()
        run_counts.remove()
    return merged


def renamed(column: Column, name: str) -> Column:
    column.path = column.path.rename(column.path.with_name(name))
    return column


def find_places(work: Work, n: int, before: Column | None, table: Column) -> Column:
    """The rank of the n-gram that ends at each place of the text."""
    here = work.column(f"places.{n}", "<u4")
    for start in range(0, len(work.stream), work.piece):
        keys, there = keys_of_piece(work, n, before, start)
        found = np.full(len(keys), NOTHING, np.uint32)
        order = np.argsort(keys[there])
        where = np.flatnonzero(there)[order]
        found[where] = ranks(table, keys[where], work.piece)
        here.append(found)
    return here


def find_suffixes(work: Work, keys: Column, shorter: Table) -> Column:
    """The rank of each n-gram without its first token: its context's suffix, then its last token, among the shorter ones."""
    suffixes = work.column(f"suffixes.{shorter.order + 1}", "<u4")
    for _, some in keys.pieces(work.piece):
        if shorter.order == 1:
            suffixes.append(words_of(some))
            continue
        names = joined(gather(shorter.suffixes, contexts_of(some), work.piece), words_of(some))
        order = np.argsort(names)
        found = np.empty(len(names), np.uint32)
        found[order] = ranks(shorter.keys, names[order], work.piece)
        suffixes.append(found)
    return suffixes


def adjust(work: Work, table: Table, longer: Table) -> Table:
    """Counts by what stands in front: each different (n + 1)-gram adds one to its suffix."""
    adjusted = Column.filled(work.folder / f"adjusted.{table.order}", "<u4", len(table))
    for _, suffixes in longer.suffixes.pieces(work.piece):
        suffixes = np.sort(suffixes)
        starts = runs_of(suffixes)
        add_at(adjusted, suffixes[starts], np.diff(np.append(starts, len(suffixes))), work.piece)
    return Table(table.order, table.keys, table.counts, adjusted, table.suffixes)


def keep_beginnings(work: Work, tables: Sequence[Table], end_of_text: int) -> None:
    """What begins with E has nothing in front of it: these n-grams, which stand side by side, keep their counts."""
    low, high = end_of_text, end_of_text + 1
    for table in tables[1:-1]:
        edges = np.array([low << 32, high << 32], np.uint64)
        low, high = np.searchsorted(table.keys.mapped(), edges).tolist()
        for start in range(low, high, work.piece):
            table.adjusted.write(start, table.counts.read(start, min(start + work.piece, high)))
