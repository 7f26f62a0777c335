"""`make bench`: every speed we speak of, measured beside what a user would pick instead; kept in docs/bench.json.

Each row runs in a process of its own, so that none inherits the other's memory, threads or compiled code.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from plutao.train.device import describe

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "bench.json"


def main() -> None:
    rows: dict[str, Any] = {}
    for name, arguments in {
        "training 7M": ["training.py", "--preset", "plutao-7m"],
        "training 30M": ["training.py", "--preset", "plutao-30m", "--rounds", "4"],
        "generation 7M": ["generation.py"],
    }.items():
        print(f"{name} …", flush=True)
        rows[name] = run(arguments)
        print(json.dumps(rows[name], indent=2))
    rows["plutao --help"] = {"seconds": start_up()}
    print(f"plutao --help: {rows['plutao --help']['seconds']} s")
    RESULT.write_text(
        json.dumps({"date": time.strftime("%Y-%m-%d"), "machine": describe(), "rows": rows}, indent=2) + "\n"
    )
    print(f"Written: {RESULT}")


def run(arguments: list[str]) -> Any:
    command = [sys.executable, str(ROOT / "benchmarks" / arguments[0]), *arguments[1:], "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def start_up(rounds: int = 5) -> float:
    """The best of a few starts of the command line, in seconds."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "plutao", "--help"], stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - started)
    return round(min(seconds), 3)


if __name__ == "__main__":
    main()
