"""Readers: from one file to its documents, as a stream, holding one part of one document at a time.

One text file is one document. Line ends are kept as they are in the file (so are Windows' carriage returns): a model
learns the text it was given, and the parts of a long file, one after the other, are the file. JSONL and Parquet hold a
document per row.
"""

import io
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from plutao.data.settings import Source
from plutao.data.sources.compressed import open_file
from plutao.data.sources.find import Found
from plutao.data.store import PART_CHARACTERS, Part
from plutao.errors import UserError

EXAMPLES = 5
"""Skipped rows that the data card quotes, of each source."""


class BadRows:
    """What happens to a row or file that can't be read: the build stops and names it, or counts it and goes on."""

    def __init__(self, policy: Literal["refuse", "skip"]) -> None:
        self.policy = policy
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []

    def found(self, kind: str, message: str) -> None:
        """Raises UserError with `message` where bad rows are refused; else counts one more of `kind`."""
        if self.policy == "refuse":
            raise UserError(f'{message} Mend it, or set data.bad_rows = "skip" to count such rows and go on.')
        self.counts[kind] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(message)

    def empty(self) -> None:
        """A document without text is nobody's mistake: it is only counted."""
        self.counts["no text"] += 1


def read_file(file: Found, encoding: str, source: Source, bad: BadRows) -> Iterator[tuple[Part, int]]:
    """The parts of a file's documents, each with how many bytes of the file have been read so far."""
    if file.kind == ".parquet":
        yield from read_parquet(file, source, bad)
        return
    with open_file(file.path) as opened:
        reader = read_jsonl(file, opened.stream, encoding, source, bad) if file.kind == ".jsonl" else None
        for part in reader or read_text(file, opened.stream, encoding, bad):
            yield part, opened.position


def read_text(file: Found, stream: IO[bytes], encoding: str, bad: BadRows) -> Iterator[Part]:
    """A text file as one document, in parts cut at line ends."""
    parts = split_parts(io.TextIOWrapper(stream, encoding=encoding, newline=""))
    first = next(parts, "")
    if not first.strip():
        bad.empty()
        return
    for number, text in enumerate(chain([first], parts)):
        yield Part(id=printable(file.name), text=text, part=number)


def split_parts(reader: io.TextIOBase) -> Iterator[str]:
    """A text in parts of at most `PART_CHARACTERS` that, one after the other, are the text."""
    rest = ""
    while True:
        text = rest + reader.read(PART_CHARACTERS - len(rest))
        if len(text) < PART_CHARACTERS:
            if text:
                yield text
            return
        cut = cut_point(text)
        yield text[:cut]
        rest = text[cut:]


def cut_point(text: str) -> int:
    """Where to cut a text near its end: before a line that does not start with a blank, else at a space, else nowhere."""
    place = len(text)
    while (place := text.rfind("\n", len(text) // 2, place)) >= 0:
        if place + 1 < len(text) and not text[place + 1].isspace():
            return place + 1
    space = text.rfind(" ", len(text) // 2)
    return space if space > 0 else len(text)


def read_jsonl(file: Found, stream: IO[bytes], encoding: str, source: Source, bad: BadRows) -> Iterator[Part]:
    """One document per line: an object whose `source.text_field` holds the text."""
    for number, line in enumerate(lines(stream, encoding), start=1):
        if not line.strip():
            continue
        where = f"{file.path}, row {number}"
        try:
            row = json.loads(line.decode("utf-8" if is_wide(encoding) else encoding))
        except UnicodeDecodeError as error:
            bad.found("invalid encoding", f"{where} is not valid {encoding} (byte 0x{line[error.start]:02X}).")
            continue
        except (ValueError, RecursionError) as error:
            bad.found("not JSON", f"{where} is not valid JSON ({error}).")
            continue
        if not isinstance(row, dict):
            form = '{"text": "…"}'
            bad.found("not an object", f"{where} is not an object: JSONL has one on each line, as {form}.")
            continue
        yield from row_parts(row, f"{file.name}:{number}", where, source, bad)


def is_wide(encoding: str) -> bool:
    return encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32", "utf16", "utf32"))


def lines(stream: IO[bytes], encoding: str) -> Iterator[bytes]:
    """A file's lines as bytes; those of UTF-16 and UTF-32, where a line end is not one byte, turned into UTF-8."""
    if is_wide(encoding):
        for text in io.TextIOWrapper(stream, encoding=encoding, newline="\n"):
            yield text.encode()
    else:
        yield from stream


def read_parquet(file: Found, source: Source, bad: BadRows) -> Iterator[tuple[Part, int]]:
    """One document per row of a Parquet file's text column."""
    size = file.path.stat().st_size
    with unpacked(file) as path, open_parquet(path, file.path, source) as table:
        fields = {source.text_field, source.id_field, source.language_field, "license"}
        columns = [name for name in table.schema_arrow.names if name in fields]
        number = 0
        for batch in table.iter_batches(batch_size=64, columns=columns):
            for row in batch.to_pylist():
                number += 1
                where = f"{file.path}, row {number}"
                for part in row_parts(row, f"{file.name}:{number}", where, source, bad):
                    yield part, size * number // max(table.metadata.num_rows, 1)


def open_parquet(path: Path, shown: Path, source: Source) -> pq.ParquetFile:
    """Opens a Parquet file that has the text column.

    Raises:
        UserError: it is damaged, or has no such column; `shown` is the name given in the message.
    """
    try:
        table = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{shown} is not a whole Parquet file: put back a good copy.") from error
    names = table.schema_arrow.names
    if source.text_field not in names:
        table.close()
        known = ", ".join(names)
        raise UserError(
            f"{shown} has no column {source.text_field!r}; it has {known}. Set text_field to the one with the text."
        )
    return table


@contextmanager
def unpacked(file: Found) -> Iterator[Path]:
    """A Parquet file's path; a compressed one is unpacked to a temporary file, since Parquet is read out of order."""
    if not file.compression:
        yield file.path
        return
    with tempfile.NamedTemporaryFile(suffix=".parquet") as temporary:
        with open_file(file.path) as opened:
            shutil.copyfileobj(opened.stream, temporary, 1 << 20)
        temporary.flush()
        yield Path(temporary.name)


def row_parts(row: Mapping[str, Any], name: str, where: str, source: Source, bad: BadRows) -> Iterator[Part]:
    """A row of JSONL or Parquet as a document, in parts if it is long."""
    text = row.get(source.text_field)
    if source.text_field not in row:
        known = ", ".join(map(repr, row))
        message = (
            f"{where} has no field {source.text_field!r}; it has {known or 'none'}. Set text_field to the right one."
        )
        bad.found("no text field", message)
    elif not isinstance(text, str):
        bad.found("text not a string", f"{where}: field {source.text_field!r} holds {in_words(text)}, not text.")
    elif not text.strip():
        bad.empty()
    elif not is_whole(text):
        bad.found(
            "half a character", f"{where}: field {source.text_field!r} holds half of a character (a lone surrogate)."
        )
    else:
        identity, language, licence = (row.get(field) for field in (source.id_field, source.language_field, "license"))
        for number, piece in enumerate(
            split_parts(io.StringIO(text, newline="")) if len(text) >= PART_CHARACTERS else [text]
        ):
            yield Part(
                id=printable(str(identity)) if isinstance(identity, str | int) else printable(name),
                text=piece,
                language=language if isinstance(language, str) else "",
                license=licence if isinstance(licence, str) else "",
                part=number,
            )


def is_whole(text: str) -> bool:
    """Whether a text can be written down: JSON may hold halves of characters that no encoding has."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(name: str) -> str:
    """A name without what UTF-8 can't hold (file names may be any bytes)."""
    return name.encode(errors="replace").decode()


def in_words(value: Any) -> str:
    words = {type(None): "nothing (null)", str: "text", bool: "true or false", list: "a list", dict: "an object"}
    return words.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
