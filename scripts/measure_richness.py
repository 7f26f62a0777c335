"""How rich is a text: share of distinct 8-grams of words, and size after compression. The figures of docs/world.md.

python scripts/measure_richness.py solar [MEGABYTES]     the world's own text
python scripts/measure_richness.py FILE.jsonl.gz …       real text, the first MEGABYTES of the files together (8)
"""

import gzip
import json
import re
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import zstandard

from plutao.worlds import WORLDS, world


def texts(arguments: list[str]) -> Iterator[str]:
    for name in arguments:
        if name in WORLDS:
            yield from (document.text for document in world(name).documents(100, seed=1))
        else:
            with gzip.open(Path(name), "rt", encoding="utf-8") as lines:
                yield from (json.loads(line)["text"] for line in lines)


def cut(pieces: Iterator[str], size: float) -> str:
    """The first `size` bytes, about."""
    taken, total = [], 0
    for piece in pieces:
        taken.append(piece)
        total += len(piece.encode())
        if total >= size:
            break
    return "\n\n".join(taken).encode()[: int(size)].decode(errors="ignore")


def distinct(text: str, n: int = 8) -> float:
    """Distinct n-grams of words ÷ all of them."""
    words = re.findall(r"\w+", text.lower())
    grams = [hash(tuple(words[i : i + n])) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    megabytes = float(arguments.pop()) if arguments[-1].replace(".", "").isdigit() else 8.0
    start = time.perf_counter()
    text = cut(texts(arguments), megabytes * 1e6)
    seconds = time.perf_counter() - start
    data = text.encode()
    print(f"{len(data) / 1e6:.1f} MB in {seconds:.1f} s ({len(data) / 1e6 / seconds:.1f} MB/s)")
    print(f"distinct 8-grams {distinct(text):.3f}")
    print(
        f"zlib {len(zlib.compress(data, 6)) / len(data):.3f}, zstd-19 {len(zstandard.compress(data, 19)) / len(data):.3f}"
    )
