"""Rows that people write, kept as soon as they are given: a terminal that is closed loses nothing."""

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plutao.errors import UserError
from plutao.files import explain


def append(path: Path, row: dict[str, Any]) -> None:
    """Adds one line of JSON to a file; when this returns, it is on the disk.

    Raises:
        UserError: the disk is full, or the folder can't be written.
    """
    line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mend(path)
        with path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise explain(error, path) from error


def mend(path: Path) -> None:
    """Ends a last line that a power cut or an editor left without its end; half a row is no row and goes."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        whole = file.read()
        if not whole or whole.endswith(b"\n"):
            return
        start = whole.rfind(b"\n") + 1
        try:
            json.loads(whole[start:])
        except ValueError:
            file.truncate(start)
        else:
            file.write(b"\n")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, in order; none where there is no file; what is no row is passed over."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def file_of(folder: Path, person: str) -> Path:
    """The file of a person's rows.

    Raises:
        UserError: a name that can't be a file's.
    """
    if not re.fullmatch(r"\w[\w.-]{0,63}", person):
        raise UserError(f"A person can't be called {person!r} here: use letters, digits, '.', '_' and '-'.")
    return folder / f"{person}.jsonl"


def now() -> str:
    """The time in UTC, as rows carry it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
