"""Sentence pairs: a sentence and its translation, from tables, from two files whose lines go together, or from a world."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from plutao.data.sources.compressed import BROKEN, open_file
from plutao.data.sources.examples import Row, read_rows
from plutao.data.sources.find import Found, find_files
from plutao.data.sources.inspect import Unreadable, find_encoding
from plutao.data.sources.rows import BadRows, printable
from plutao.errors import UserError


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence and its translation."""

    source: str
    target: str
    origin: str
    """The name of the source of data that it is from."""


@dataclass(frozen=True)
class Columns:
    """Where in a row the two sentences stand: names, or numbers counted from 1."""

    source: str
    target: str


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_pairs(path: Path, name: str, columns: Columns, bad: BadRows) -> Iterator[Pair]:
    """The pairs of a file, of all files of a folder, or of those a pattern means.

    Raises:
        UserError: nothing is there, a file that can't be read, or (where bad rows are refused) a row without both sentences.
    """
    files = find_files(str(path), Path())
    tables = [file for file in files if file.kind in (".tsv", ".txt")]
    for file in tables:
        yield from pairs_of_rows(tab_rows(file, columns, bad), name, columns, bad)
    if len(tables) < len(files):
        yield from pairs_of_rows(not_tabs(path, bool(tables), bad), name, columns, bad)


def not_tabs(path: Path, some_are: bool, bad: BadRows) -> Iterator[Row]:
    """The rows of the files that are no tables of tabs."""
    if not some_are:
        yield from read_rows(path, bad)
        return
    for file in find_files(str(path), Path()):
        if file.kind not in (".tsv", ".txt"):
            yield from read_rows(file.path, bad)


def tab_rows(file: Found, columns: Columns, bad: BadRows) -> Iterator[Row]:
    """A table whose fields stand between tabs, as Tatoeba's: its first line names the fields, or is a row already."""
    names: list[str] = []
    for number, line in text_lines(file, bad):
        fields = next(csv.reader([line], delimiter="\t", quoting=csv.QUOTE_NONE), [])
        if number == 1 and {columns.source, columns.target} <= set(fields):
            names = fields
            continue
        keys = names or [str(place) for place in range(1, len(fields) + 1)]
        where = f"{file.path}, row {number}"
        yield Row(dict(zip(keys, fields, strict=False)), where, printable(f"{file.name}:{number}"))


def text_lines(file: Found, bad: BadRows) -> Iterator[tuple[int, str]]:
    """A file's lines, counted from 1, without their ends."""
    try:
        with open_file(file.path) as opened:
            encoding = find_encoding(file, opened.stream, None)
        with open_file(file.path) as opened:
            for number, line in enumerate(io.TextIOWrapper(opened.stream, encoding=encoding, newline="\n"), start=1):
                yield number, line.rstrip("\r\n")
    except Unreadable as error:
        bad.found(error.args[0], error.args[1])
    except BROKEN as error:
        bad.found("damaged archive", f"{file.path} is damaged: {error}.")


def pairs_of_rows(rows: Iterable[Row], name: str, columns: Columns, bad: BadRows) -> Iterator[Pair]:
    for row in rows:
        source, target = row.text(columns.source), row.text(columns.target)
        if source is None or target is None:
            lacking = columns.source if source is None else columns.target
            there = ", ".join(map(str, list(row.fields)[:8])) or "nothing"
            bad.found(
                "no pair",
                f"{row.where} has no text in {lacking!r} (it has: {there}): name the columns with source_field and "
                "target_field.",
            )
            continue
        yield Pair(tidy(source), tidy(target), name)


def read_parallel(path: Path, target_path: Path, name: str, bad: BadRows) -> Iterator[Pair]:
    """Two text files whose lines go together, one in each language; pairs with an empty line are counted and left out.

    Raises:
        UserError: a file is not there or can't be read, or one has more lines than the other.
    """
    [one], [other] = find_files(str(path), Path()), find_files(str(target_path), Path())
    ours, theirs = text_lines(one, bad), text_lines(other, bad)
    number = 0
    while True:
        left, right = next(ours, None), next(theirs, None)
        if left is None and right is None:
            return
        if left is None or right is None:
            longer, shorter = (other, one) if left is None else (one, other)
            raise UserError(
                f"{longer.path} has more lines than {shorter.path} ({number:,}): line by line they must be translations of "
                "each other."
            )
        number += 1
        if left[1].strip() and right[1].strip():
            yield Pair(tidy(left[1]), tidy(right[1]), name)
        else:
            bad.empty()


def tidy(text: str) -> str:
    """A sentence on one line: runs of blanks, of whatever kind, are one blank."""
    return " ".join(text.split())


# ---------------------------------------------------------------------------------------------------------------------
# What is kept aside


@dataclass(frozen=True)
class Split:
    """Pairs to learn from, to measure the loss with, and to translate at the end."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]
    twins: int
    """Pairs that neither side has, for a sentence of theirs is kept aside: learning them would be learning the answers."""


def split(pairs: Sequence[Pair], validation: int, test: int, seed: int) -> Split:
    """Keeps about `validation` and `test` pairs aside, at most a twentieth and a tenth of all.

    Collections of translations hold a sentence many times, with several translations: no sentence that is kept aside, in
    either language, is left among those that are learned from, whatever its capitals and full stops.

    Raises:
        UserError: there are too few pairs to keep any aside.
    """
    once = list(dict.fromkeys(pairs))
    validation, test = min(validation, len(once) // 20), min(test, len(once) // 10)
    if not validation or not test:
        raise UserError(
            f"There are {len(once)} different sentence pairs, too few to keep some aside: there must be 20 at least."
        )
    order = sorted(range(len(once)), key=lambda place: lot(once[place], seed))
    aside: list[Pair] = []
    taken: set[str] = set()
    for place in order:
        if len(aside) == validation + test:
            break
        pair = once[place]
        if not taken & {key(pair.source), key(pair.target)}:  # no sentence is measured twice
            taken |= {key(pair.source), key(pair.target)}
            aside.append(pair)
    train = [pair for pair in once if not taken & {key(pair.source), key(pair.target)}]
    if not train or len(aside) < 2:
        raise UserError("The sentence pairs repeat the same few sentences: add different ones.")
    share = max(1, round(len(aside) * validation / (validation + test)))
    return Split(train, aside[:share], aside[share:], len(once) - len(train) - len(aside))


def key(sentence: str) -> str:
    """What two writings of a sentence have in common: its letters and digits."""
    return re.sub(r"[\W_]+", " ", sentence.casefold()).strip() or sentence


def lot(pair: Pair, seed: int) -> int:
    """A number drawn for a pair, the same wherever it stands."""
    return crc32(f"{seed}\t{pair.source}\t{pair.target}".encode())
