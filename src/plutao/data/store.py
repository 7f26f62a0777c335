"""Documents at rest: one Parquet file (zstd) per source and split, in row groups small enough that a reader never
holds much.

A document longer than `PART_CHARACTERS` rests as several rows with the same id and `part` = 0, 1, 2 …; their texts,
one after another, are the document.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from plutao.errors import UserError

PART_CHARACTERS = 1_000_000
"""The longest text one row holds, in characters."""
ROW_GROUP_BYTES = 8_000_000
"""Text in one row group: what a reader holds in memory at once."""
ROW_GROUP_ROWS = 50_000

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("language", pa.string()),
        ("license", pa.string()),
        ("source", pa.string()),
        ("part", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class Part:
    """A document, or one part of a long one."""

    id: str
    text: str
    language: str = ""
    license: str = ""
    part: int = 0


class DocumentWriter:
    """Writes parts to one Parquet file, a row group at a time, and counts them. Use it as a context manager."""

    def __init__(self, path: Path, source: str, compression: str = "zstd") -> None:
        self.source = source
        self.documents = self.bytes = self.characters = 0
        self._writer = pq.ParquetWriter(path, SCHEMA, compression=compression)
        self._parts: list[Part] = []
        self._waiting = 0

    def __enter__(self) -> "DocumentWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self._flush()
        self._writer.close()

    def write(self, part: Part, size: int) -> None:
        """Adds a part whose text is `size` UTF-8 bytes long."""
        self._parts.append(part)
        self._waiting += size
        self.documents += part.part == 0
        self.bytes += size
        self.characters += len(part.text)
        if self._waiting >= ROW_GROUP_BYTES or len(self._parts) >= ROW_GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._parts:
            return
        columns: dict[str, list[Any]] = {
            name: [getattr(part, name) for part in self._parts] for name in SCHEMA.names if name != "source"
        }
        columns["source"] = [self.source] * len(self._parts)
        self._writer.write_table(pa.table(columns, schema=SCHEMA))
        self._parts.clear()
        self._waiting = 0


def open_documents(path: Path) -> pq.ParquetFile:
    """Raises UserError where the file is missing or damaged."""
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"{path} is missing or damaged: delete its folder and run `plutao data build` again."
        ) from error


def read_group(file: pq.ParquetFile, group: int) -> list[Part]:
    """The parts of one row group."""
    names = ["id", "text", "language", "license", "part"]
    columns = file.read_row_group(group, columns=names).to_pydict()
    return [Part(*values) for values in zip(*(columns[name] for name in names), strict=True)]


def read_parts(path: Path) -> Iterator[Part]:
    """All parts of a file in order, holding one row group at a time."""
    with open_documents(path) as file:
        for group in range(file.num_row_groups):
            yield from read_group(file, group)
