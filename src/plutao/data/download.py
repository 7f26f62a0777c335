"""Fetching one file: resumed where it broke off, tried again, and believed only if its SHA-256 is right."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from plutao import __version__
from plutao.errors import UserError
from plutao.files import explain, sha256

Progress = Callable[[int, int], None]
WAITS = (1.0, 2.0, 4.0)
"""Seconds before the second, third and fourth attempt."""
TIMEOUT = 30.0
BLOCK = 1 << 18


class TryAgain(Exception):
    """A failure that may pass: the connection, or the server for a moment."""


def download(address: str, path: Path, digest: str, size: int | None = None, progress: Progress | None = None) -> None:
    """Fetches `address` to `path`, by way of `path`.part, which a later call goes on with.

    Args:
        digest: the SHA-256 the file must have.
        size: its bytes, where known.
        progress: called with (bytes so far, bytes in all, 0 if unknown).

    Raises:
        UserError: no answer, no such file, or not the file that was expected.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for wait in (*WAITS, None):
            try:
                if size is None or not part.exists() or part.stat().st_size != size:
                    fetch(address, part, progress)
                break
            except TryAgain as error:
                if wait is None:
                    raise UserError(
                        f"{address} could not be fetched ({error}), tried {len(WAITS) + 1} times: check the connection and "
                        "run the same command again; it goes on where it broke off."
                    ) from error
                time.sleep(wait)
        check(address, part, digest, size)
        part.replace(path)
    except OSError as error:
        raise explain(error, path) from error


def fetch(address: str, part: Path, progress: Progress | None) -> None:
    """One attempt: appends to `part` what it still lacks.

    Raises:
        TryAgain: the connection failed, or ended early.
        UserError: the server says that there is no such file.
    """
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": f"plutao/{__version__}"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT) as answer:
            resumed = answer.status == 206
            have = have if resumed else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else 0
            with part.open("ab" if resumed else "wb") as file:
                while block := answer.read(BLOCK):
                    file.write(block)
                    have += len(block)
                    if progress is not None:
                        progress(have, total)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing lies beyond what we have: it is whole, or of another file
            return
        if error.code in (408, 429) or error.code >= 500:
            raise TryAgain(f"the server answered {error.code} {error.reason}") from error
        raise UserError(
            f"{address} answered {error.code} {error.reason}: the address in the catalogue is not right any more."
        ) from error
    except urllib.error.URLError as error:
        raise TryAgain(f"it does not answer: {error.reason}") from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise TryAgain(f"the connection broke: {error}") from error
    if total and have < total:
        raise TryAgain(f"the connection ended after {have:,} of {total:,} bytes")


def check(address: str, part: Path, digest: str, size: int | None) -> None:
    """Removes what is not the file that was expected, so that the next attempt starts afresh."""
    found = part.stat().st_size
    actual = sha256(part)
    if actual == digest:
        return
    part.unlink()
    if size is not None and found != size:
        raise UserError(
            f"{address} gave {found:,} bytes where {size:,} were expected: the file there is another one now, or was cut."
        )
    raise UserError(f"{address} gave another file than expected: its SHA-256 is {actual[:12]}…, not {digest[:12]}….")
