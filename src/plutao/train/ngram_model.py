"""An n-gram model from a text: counted, estimated, pruned, written; and, on the way, the models of all lower orders."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plutao.models.ngram import NgramLevel, NgramModel, Stored, save
from plutao.train.columns import Array, Column, add_at, runs_of
from plutao.train.kneser_ney import Level, Smoothing, estimate, estimate_order
from plutao.train.ngram_counts import Counts, contexts_of, words_of
from plutao.train.ngram_pruning import often, renewed, telling


@dataclass(frozen=True)
class LevelColumns:
    """A level of a model, on disk."""

    words: Column
    first: Column
    log_probabilities: Column
    backoffs: Column

    def mapped(self) -> NgramLevel:
        return NgramLevel(*(column.mapped() for column in self._columns()))

    def _columns(self) -> tuple[Column, Column, Column, Column]:
        return self.words, self.first, self.log_probabilities, self.backoffs

    def stored(self, n: int, wide: bool, piece: int) -> Iterator[Stored]:
        kinds = ("U32" if wide else "U16", "U32", "F32", "F32")
        for name, kind, column in zip(
            ("words", "first", "log_probabilities", "backoffs"), kinds, self._columns(), strict=True
        ):
            yield Stored(f"{name}.{n}", kind, len(column), (values for _, values in column.pieces(piece)))


class Kneser:
    """The estimates of one text at every order up to that of its counts, made in `folder`."""

    def __init__(self, counts: Counts, folder: Path, smoothing: Smoothing = "modified", discount: float | None = None):
        self.counts, self.folder, self.smoothing, self.discount = counts, folder, smoothing, discount
        self.levels = estimate(counts, folder, smoothing, discount)

    def model(self, order: int) -> NgramModel:
        """The model of any order, all n-grams held: below its highest order it is the same for all. Ask for each once."""
        top = self.levels[order - 1]
        if order < self.counts.order:
            lower = self.levels[order - 2].probabilities if order > 1 else None
            adjusted = self.counts.table(order).counts
            top = estimate_order(self.counts, order, adjusted, lower, self.folder, self.smoothing, self.discount)
        levels = [*self.levels[: order - 1], top]
        place = self.folder / f"order.{order}"  # each model maps files of its own
        place.mkdir()
        columns = level_columns(self.counts, levels, (), place)
        return NgramModel([level.mapped() for level in columns], self.counts.end_of_text)

    def write(self, out: Path, thresholds: Sequence[int] = (), entropy: float = 0.0) -> list[int]:
        """Writes the model of the highest order; returns how many n-grams of each order it holds.

        Args:
            thresholds: for each order, the count up to which n-grams are left out; the last goes on.
            entropy: the relative rise of perplexity up to which n-grams are left out.
        """
        levels, masks = self.levels, list[Column]()
        if any(thresholds):
            masks = often(self.counts, thresholds, self.folder)
            levels = estimate(self.counts, self.folder, self.smoothing, self.discount, masks)
        if entropy:
            masks = telling(self.counts, levels, entropy, self.folder)
            levels = renewed(self.counts, levels, masks, self.folder)
        place = self.folder / "written"
        place.mkdir(exist_ok=True)
        columns = level_columns(self.counts, levels, masks, place)
        wide = self.counts.vocabulary > 65_536
        arrays = [some for n, level in enumerate(columns, 1) for some in level.stored(n, wide, self.counts.piece)]
        sizes = [len(level.words) for level in columns]
        discounts = [list(level.discounts) for level in levels]
        facts = {"ngrams": sizes, "smoothing": self.smoothing, "discounts": discounts}
        save(out, self.counts.order, self.counts.vocabulary, self.counts.end_of_text, arrays, **facts)
        return sizes


def level_columns(counts: Counts, levels: Sequence[Level], masks: Sequence[Column], folder: Path) -> list[LevelColumns]:
    """The levels as a model holds them: only what the masks keep, probabilities as logarithms."""
    found = []
    for n, level in enumerate(levels, start=1):
        words, first = tree(counts, n, masks, folder)
        logs = logarithms(level.probabilities, folder / f"log.{n}", masks[n - 1] if masks else None, counts.piece)
        if n < len(levels):
            mask = masks[n - 1] if masks else None
            backoffs = logarithms(levels[n].shares, folder / f"backoff.{n}", mask, counts.piece)
        else:
            backoffs = Column.empty(folder / f"backoff.{n}", "<f4")
        found.append(LevelColumns(words, first, logs, backoffs))
    return found


def tree(counts: Counts, n: int, masks: Sequence[Column], folder: Path) -> tuple[Column, Column]:
    """Last tokens of the n-grams that are held, and where those of each context begin."""
    table = counts.table(n)
    below = 1 if n == 1 else len(counts.table(n - 1))
    words = Column.empty(folder / f"words.{n}", "<u4")
    sizes = Column.filled(folder / f"sizes.{n}", "<u4", below)
    for start, keys in table.keys.pieces(counts.piece):
        if masks:
            keys = keys[masks[n - 1].read(start, start + len(keys)).astype(bool)]
        contexts = contexts_of(keys)
        starts = runs_of(contexts)
        add_at(sizes, contexts[starts], np.diff(np.append(starts, len(keys))), counts.piece)
        words.append(words_of(keys))
    first = Column.empty(folder / f"first.{n}", "<u4")
    first.append(np.zeros(1))
    total = 0
    for start, some in sizes.pieces(counts.piece):
        if masks and n > 1:
            some = some[masks[n - 2].read(start, start + len(some)).astype(bool)]
        ends = total + np.cumsum(some, dtype=np.int64)
        first.append(ends)
        total = int(ends[-1]) if len(ends) else total
    return words, first


def logarithms(values: Column, path: Path, mask: Column | None, piece: int) -> Column:
    """Natural logarithms of those that the mask keeps; of nothing at all, of the smallest number there is."""
    found = Column.empty(path, "<f4")
    for start, some in values.pieces(piece):
        kept: Array = some if mask is None else some[mask.read(start, start + len(some)).astype(bool)]
        found.append(np.log(np.maximum(kept, np.finfo(np.float32).tiny)))
    return found
