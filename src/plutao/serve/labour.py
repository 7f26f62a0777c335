"""`python -m plutao.serve.labour RESULT COMMAND…`: the command `plutao COMMAND…`, which leaves its exit status in a file.

A server that was started anew is no parent of the trainings that an earlier one started: it reads there how they ended.
"""

import contextlib
import os
import runpy
import sys
from pathlib import Path

from plutao.files import write_json

NICENESS = 10
"""Trainings let the pages and the answers of the same machine go first."""


def main() -> None:
    result = Path(sys.argv[1])
    sys.argv = ["plutao", *sys.argv[2:]]
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICENESS)
    code = 1
    try:
        runpy.run_module("plutao", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
        raise
    except KeyboardInterrupt:  # asked to stop before the command itself listened
        code = 130
    finally:
        write_json(result, {"code": code})


if __name__ == "__main__":
    main()
