"""`make bench`: every speed we speak of, measured beside what a user would pick instead; kept in docs/bench.json.

    python benchmarks/run.py                              the rows that take minutes
    python benchmarks/run.py --only livros --minutes 1    one row; the others stay as they were kept
    python benchmarks/run.py --all                        the rows that train for ten minutes a side too

Each row runs in a process of its own, so that none inherits the other's memory, threads or compiled code, and is kept
with its date as soon as it is there. A row that can't be measured here says why and leaves what was kept.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from plutao.train.device import describe

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "bench.json"
QUICK: dict[str, list[str]] = {
    "training 7M": ["training.py", "--preset", "plutao-7m"],
    "training 30M": ["training.py", "--preset", "plutao-30m", "--rounds", "4"],
    "generation 7M": ["generation.py"],
    "optimizer 7M": ["optimizer.py"],
    "memory 7M": ["memory.py"],
    "tokenizer": ["tokenizing.py"],
    "plutao --help": [],
}
LONG: dict[str, list[str]] = {
    "preference losses": ["preference.py"],
    "GRPO on the demo's model": ["grpo.py", str(ROOT / "demo")],
    "word vectors, Portuguese": ["vectors.py", "--recipe", "vetores-pt"],
    "word vectors, English": ["vectors.py", "--recipe", "vetores-en"],
    "shakespeare, 1 minute": ["quality.py", "--row", "shakespeare", "--minutes", "1"],
    "shakespeare, 10 minutes": ["quality.py", "--row", "shakespeare", "--minutes", "10"],
    "livros, 10 minutes": ["quality.py", "--row", "livros", "--minutes", "10"],
    "translation fr-en, 30 minutes": ["translation.py", "--pair", "fr-en", "--minutes", "30"],
    "translation pt-en, 30 minutes": ["translation.py", "--pair", "pt-en", "--minutes", "30"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="rows whose names begin so; may be given several times")
    parser.add_argument("--all", action="store_true", help="the long rows too")
    parser.add_argument(
        "--minutes", type=float, help="for the rows that train for a given time (kept under its own name)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of our recipe, in those rows")
    parser.add_argument("--out", type=Path, default=RESULT, help="where the result is kept")
    arguments = parser.parse_args()
    failed = [name for name, command in chosen(arguments).items() if not measure(name, command, arguments.out)]
    if failed:
        sys.exit(f"Not measured: {', '.join(failed)}.")


def chosen(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The rows asked for, each with its command."""
    rows = QUICK | LONG if arguments.all or arguments.only else QUICK
    if arguments.only:
        rows = {name: rows[name] for name in rows if any(name.startswith(start) for start in arguments.only)}
    if not rows:
        sys.exit(f"No such row. The rows are: {', '.join([*QUICK, *LONG])}.")
    timed: dict[str, list[str]] = {}
    for name, command in rows.items():
        if name in LONG and arguments.minutes:
            command = [*command[:-1], f"{arguments.minutes:g}"]
            name = f"{name.split(',')[0]}, {arguments.minutes:g} minute{'s' if arguments.minutes != 1 else ''}"
        if name.split(",")[0] in ("shakespeare", "livros"):
            command = [*command, *(part for key in arguments.set for part in ("--set", key))]
        timed[name] = command
    return timed


def measure(name: str, command: list[str], result: Path) -> bool:
    """One row, printed and kept; whether it could be measured."""
    print(f"{name} …", flush=True)
    if command:
        script = [sys.executable, str(ROOT / "benchmarks" / command[0]), *command[1:], "--json"]
        done = subprocess.run(script, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            return False
        row = json.loads(done.stdout)
    else:
        row = {"seconds": start_up()}
    print(json.dumps(row, indent=2), flush=True)
    keep(name, row, result)
    return True


def keep(name: str, row: dict[str, Any], result: Path) -> None:
    """Puts a row into the kept result, with its date, and its machine where that is not the machine of the last row."""
    kept = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {"rows": {}}
    machine, today = describe(), time.strftime("%Y-%m-%d")
    rows = {
        key: {
            **value,
            "date": value.get("date", kept.get("date")),
            "machine": value.get("machine", kept.get("machine")),
        }
        for key, value in kept["rows"].items()
    }
    rows[name] = {**row, "date": today, "machine": machine}
    order = [*QUICK, *LONG]
    rows = {key: rows[key] for key in sorted(rows, key=lambda key: order.index(key) if key in order else len(order))}
    for value in rows.values():
        if value["machine"] == machine:
            del value["machine"]
    text = json.dumps({"date": today, "machine": machine, "rows": rows}, indent=2, ensure_ascii=False)
    result.write_text(text + "\n", encoding="utf-8")


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
