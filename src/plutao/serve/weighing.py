"""`python -m plutao.serve.weighing ROOT BEFORE AFTER`: measures a new run against the one before it, in a process of its own.

runs/AFTER/against.json      what came of it
runs/AFTER/weighing.json     the process that is at it, or the sentence that says why it could not be done
"""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from plutao.errors import UserError
from plutao.evaluate.progress import FILE, weigh
from plutao.files import write_json
from plutao.project import whatever_is_in
from plutao.serve.jobs import environment
from plutao.serve.labour import NICENESS
from plutao.serve.processes import began

MARK = "weighing.json"


def start(root: Path, before: str, after: str) -> None:
    """Begins measuring, unless that is under way."""
    if at_work(root, after):
        return
    folder = root / "runs" / after
    with (folder / "weighing.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "plutao.serve.weighing", str(root.resolve()), before, after],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,
        )
    write_json(folder / MARK, {"process": process.pid, "began": began(process.pid)})
    threading.Thread(target=process.wait, daemon=True).start()


def at_work(root: Path, after: str) -> bool:
    mark = whatever_is_in(root / "runs" / after / MARK)
    return bool(mark.get("began")) and began(int(mark["process"])) == mark["began"]


def problem(root: Path, after: str) -> str:
    """Why measuring failed, in a sentence; nothing where it did not, or has not ended."""
    folder = root / "runs" / after
    mark = whatever_is_in(folder / MARK)
    if not mark or (folder / FILE).is_file() or at_work(root, after):
        return ""
    return str(mark.get("problem") or "The measurement ended without a word.")


def main() -> None:
    root, before, after = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICENESS)
    try:
        weigh(root, before, after)
    except UserError as error:
        write_json(root / "runs" / after / MARK, {"problem": str(error)})
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
