"""Texts of chance with some grammar, and their n-grams counted plainly, to compare with."""

from collections import Counter
from pathlib import Path

import numpy as np

from plutao.train.ngram_counts import Counts, TokenStream, count

VOCABULARY, END = 40, 0


def documents(number: int, seed: int = 0) -> list[list[int]]:
    """Documents of 1 to 60 tokens; what comes next depends on the token before. Each begins with END."""
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        tokens = [END, int(chance.integers(1, VOCABULARY - 2))]
        for _ in range(int(chance.integers(0, 60))):
            tokens.append(int((tokens[-1] * 3 + chance.geometric(0.4)) % (VOCABULARY - 2)) + 1)
        found.append(tokens)
    return found


def counted(texts: list[list[int]], folder: Path, order: int, megabytes: float = 256.0) -> Counts:
    """The n-grams of documents, counted by the program."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = np.concatenate([np.array(text, np.uint16) for text in texts])
    half = len(tokens) // 2
    return count(TokenStream([tokens[:half], tokens[half:]], END), order, VOCABULARY, folder, megabytes)


def plainly(texts: list[list[int]], order: int) -> list[Counter[tuple[int, ...]]]:
    """For n = 1 … order, how often each n-gram stands in the documents, END behind each of them."""
    found = [Counter[tuple[int, ...]]() for _ in range(order)]
    for text in texts:
        whole = [*text, END]
        for n in range(1, order + 1):
            for start in range(n == 1, len(whole) - n + 1):
                found[n - 1][tuple(whole[start : start + n])] += 1
    return found


def ngrams_of(counts: Counts) -> list[list[tuple[int, ...]]]:
    """All n-grams of the tables, in their order."""
    found: list[list[tuple[int, ...]]] = [[(token,) for token in range(counts.vocabulary)]]
    for n in range(2, counts.order + 1):
        keys = counts.table(n).keys.read(0, 1 << 30).tolist()
        found.append([(*found[-1][key >> 32], key & 0xFFFF_FFFF) for key in keys])
    return found
