"""How long n-grams of real text take to count, and how much memory: one core, all texts of PLUTAO_DATA's pretrain folder.

    PLUTAO_DATA=FOLDER python benchmarks/ngrams.py [--megabytes 256] [--order 5] [--vocabulary 8192]

Tokens are made first and not counted in; then counting, estimation and writing are timed, on the wall and on the processor (on
a busy machine the first says little). Peak memory is that of the whole process, the interpreter and its libraries included.
"""

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from plutao.models.ngram import WEIGHTS, load
from plutao.text.tokenizer import Tokenizer, train
from plutao.train.ngram_counts import TokenStream, count
from plutao.train.ngram_model import Kneser

PIECE = 500_000  # characters encoded at once
SAMPLE_EVERY, SAMPLE = 160_000, 8_000


def texts(folder: Path) -> Iterator[str]:
    for path in sorted((folder / "pretrain").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["text"]


def tokens_of(folder: Path, vocabulary: int) -> tuple[np.ndarray, Tokenizer, int]:
    """All texts as one row of tokens, their tokenizer, their bytes."""
    samples = (text[start : start + SAMPLE] for text in texts(folder) for start in range(0, len(text), SAMPLE_EVERY))
    tokenizer, size, found = train("bpe", samples, vocabulary), 0, []
    for text in texts(folder):
        size += len(text.encode())
        found.append(np.array([tokenizer.end_of_text], np.uint16))
        for start in range(0, len(text), PIECE):
            found.append(np.array(tokenizer.encode(text[start : start + PIECE]), np.uint16))
    return np.concatenate(found), tokenizer, size


def most_memory() -> int:
    """The most memory this process has taken (MB)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1000 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=256)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument(
        "--tokens", type=Path, help="where the tokens rest, or are put to rest for the next time (.npy)"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.tokens is None or not arguments.tokens.is_file():
        tokens, tokenizer, size = tokens_of(Path(os.environ["PLUTAO_DATA"]), arguments.vocabulary)
        place = arguments.tokens or Path(tempfile.mkdtemp()) / "tokens.npy"
        np.save(place, tokens)
        np.save(place.with_suffix(".facts.npy"), np.array([size, tokenizer.end_of_text]))
        # Counted in a process of its own, whose memory is that of counting alone.
        os.execv(sys.executable, [sys.executable, *sys.argv, "--tokens", str(place)])
    size, end = np.load(arguments.tokens.with_suffix(".facts.npy")).tolist()
    tokens, before = np.load(arguments.tokens, mmap_mode="r"), most_memory()
    wall, processor = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=arguments.tokens.parent) as folder:
        counts = count(
            TokenStream([tokens], end), arguments.order, arguments.vocabulary, Path(folder), arguments.megabytes
        )
        counted = time.process_time() - processor
        out = Path(folder) / "model"
        sizes = Kneser(counts, Path(folder)).write(out)
        on_disk = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        found = {
            "text_megabytes": round(size / 1e6, 1),
            "tokens": counts.tokens,
            "ngrams": sizes,
            "processor_seconds": round(time.process_time() - processor, 1),
            "of_these_counting": round(counted, 1),
            "wall_seconds": round(time.perf_counter() - wall, 1),
            "working_memory_set": arguments.megabytes,
            "memory_before": before,
            "memory_at_most": most_memory(),
            "working_files_megabytes": on_disk // 1_000_000,
            "model_megabytes": (out / WEIGHTS).stat().st_size // 1_000_000,
        }
        model = load(out)
        rows = torch.from_numpy(np.array(tokens[: 1 << 19], np.int64).reshape(-1, 1024))
        started = time.process_time()
        model.target_log_probabilities(rows[:, :-1], rows[:, 1:])
        found["looked_up_per_second"] = round(rows.numel() / (time.process_time() - started))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
