"""Rows of examples (conversations, rankings) from files: JSONL, JSON, CSV, Parquet; each row with the place it stands at."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from plutao.data.sources.compressed import BROKEN, open_file
from plutao.data.sources.find import Found, find_files
from plutao.data.sources.inspect import Unreadable, check_unpacks, find_encoding
from plutao.data.sources.rows import BadRows, in_words, is_whole, is_wide, lines, printable, unpacked
from plutao.errors import UserError

KINDS = (".jsonl", ".json", ".csv", ".parquet")
DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Row:
    """One row: its fields, those that are null left out, and where it stands."""

    fields: Mapping[str, Any]
    where: str
    """For messages: "FILE, row 12"."""
    name: str
    """Names the row where it has no id of its own: "file.jsonl:12"."""

    def text(self, *names: str) -> str | None:
        """The first of these fields that holds text that is more than blanks."""
        values = (self.fields.get(name) for name in names)
        return next((value for value in values if isinstance(value, str) and value.strip()), None)

    @property
    def id(self) -> str:
        """The row's own name, if it has one."""
        own = next((self.fields[key] for key in ("id", "conversation_id", "prompt_id") if key in self.fields), None)
        return printable(str(own)) if isinstance(own, str | int) else self.name

    @property
    def language(self) -> str | None:
        return self.text("language", "lang")

    @property
    def license(self) -> str | None:
        return self.text("license", "licence")


def read_rows(path: Path, bad: BadRows) -> Iterator[Row]:
    """The rows of a file, of all files of a folder, or of those a pattern means, in the order of their names.

    Raises:
        UserError: nothing is there, a file that can't be read, or (where bad rows are refused) a row that can't.
    """
    for file in find_files(str(path), Path()):
        if file.kind not in KINDS:
            kind = file.kind or "without an ending"
            bad.found("no file of rows", f"{file.path} ({kind}) is none of {' '.join(KINDS)} (also .gz and .zst).")
            continue
        try:
            yield from read_file(file, bad)
        except Unreadable as error:
            bad.found(error.args[0], error.args[1])
        except BROKEN as error:
            bad.found("damaged archive", f"{file.path} is damaged: {error}.")


def read_file(file: Found, bad: BadRows) -> Iterator[Row]:
    """The rows of one file."""
    if file.kind == ".parquet":
        check_unpacks(file)
        yield from parquet_rows(file)
        return
    with open_file(file.path) as opened:
        encoding = find_encoding(file, opened.stream, None)
    with open_file(file.path) as opened:
        read = {".json": json_rows, ".jsonl": jsonl_rows, ".csv": csv_rows}[file.kind]
        yield from read(file, opened.stream, encoding, bad)


def jsonl_rows(file: Found, stream: IO[bytes], encoding: str, bad: BadRows) -> Iterator[Row]:
    """An object on each line; empty lines are passed over."""
    for number, line in enumerate(lines(stream, encoding), start=1):
        if not line.strip():
            continue
        where = f"{file.path}, row {number}"
        try:
            value = json.loads(line.decode("utf-8" if is_wide(encoding) else encoding))
        except UnicodeDecodeError as error:
            bad.found("invalid encoding", f"{where} is not valid {encoding} (byte 0x{line[error.start]:02X}).")
        except (ValueError, RecursionError) as error:
            bad.found("not JSON", f"{where} is not valid JSON ({error}).")
        else:
            yield from checked(value, where, f"{file.name}:{number}", bad)


def json_rows(file: Found, stream: IO[bytes], encoding: str, bad: BadRows) -> Iterator[Row]:
    """A list of objects, held in memory whole."""
    try:
        values = json.loads(stream.read().decode(encoding))
    except (ValueError, RecursionError) as error:
        bad.found("not JSON", f"{file.path} is not valid JSON ({error}).")
        return
    if not isinstance(values, list):
        bad.found("not a list", f"{file.path} holds {in_words(values)}, not a list of rows.")
        return
    for number, value in enumerate(values, start=1):
        yield from checked(value, f"{file.path}, row {number}", f"{file.name}:{number}", bad)


def csv_rows(file: Found, stream: IO[bytes], encoding: str, bad: BadRows) -> Iterator[Row]:
    """A table whose first line names the fields; the mark between them is the one that this line has most of."""
    text = io.TextIOWrapper(stream, encoding=encoding, newline="")
    head = text.readline()
    delimiter = max(DELIMITERS, key=head.count)
    names = next(csv.reader([head], delimiter=delimiter), [])
    csv.field_size_limit(1 << 30)
    for number, values in enumerate(csv.reader(text, delimiter=delimiter), start=2):
        where = f"{file.path}, row {number}"
        if not values:
            continue
        if len(values) != len(names):
            problem = f"{where} has {len(values)} fields, and the first line names {len(names)}."
            bad.found("fields missing", f"{problem} Put texts with a {delimiter!r} in quotation marks.")
            continue
        yield Row(dict(zip(names, values, strict=True)), where, printable(f"{file.name}:{number}"))


def parquet_rows(file: Found) -> Iterator[Row]:
    number = 0
    with unpacked(file) as path:
        try:
            table = pq.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"{file.path} is not a whole Parquet file: put back a good copy.") from error
        with table:
            for batch in table.iter_batches(batch_size=256):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(without_nulls(value), f"{file.path}, row {number}", f"{file.name}:{number}")


def checked(value: Any, where: str, name: str, bad: BadRows) -> Iterator[Row]:
    """A row that is an object and can be written down."""
    if not isinstance(value, dict):
        bad.found("not an object", f'{where} holds {in_words(value)}, not an object, as {{"messages": […]}}.')
    elif not is_whole(json.dumps(value, ensure_ascii=False)):
        bad.found("half a character", f"{where} holds half of a character (a lone surrogate).")
    else:
        yield Row(without_nulls(value), where, printable(name))


def without_nulls(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}
