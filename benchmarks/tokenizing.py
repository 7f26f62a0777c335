"""Learning a vocabulary and cutting text with it, in MB of UTF-8 per second: ours beside `tokenizers` used plainly, and
beside tiktoken with the same vocabulary where it is installed (`pip install tiktoken`). The text is the Solar System's.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from plutao.text.tokenizer import Tokenizer, train
from plutao.text.training import QWEN2_SPLIT
from plutao.worlds import world

VOCABULARY = 4096
Action = Callable[[], object]


def measure(megabytes: float, rounds: int) -> dict[str, Any]:
    texts = [document.text for document in world("solar").documents(megabytes, seed=1)]
    size = sum(len(text.encode()) for text in texts) / 1e6
    learning = {"plutao": lambda: train("bpe", texts, VOCABULARY), "tokenizers": lambda: train_plainly(texts)}
    tokenizer, plain = train("bpe", texts, VOCABULARY), train_plainly(texts)
    cutting: dict[str, Action] = {
        "plutao": lambda: tokenizer.encode_batch(texts),
        "tokenizers": lambda: plain.encode_batch(texts),
    }
    if other := tiktoken_of(tokenizer):
        assert other.encode_ordinary(texts[0]) == tokenizer.encode(texts[0]), "tiktoken must cut alike"
        cutting["tiktoken"] = lambda: other.encode_ordinary_batch(texts, num_threads=2)
    return {
        "megabytes": round(size, 2),
        "vocabulary": VOCABULARY,
        "training": compare("training", learning, size, rounds),
        "encoding": compare("encoding", cutting, size, rounds),
    }


def train_plainly(texts: list[str]) -> Any:
    """As its documentation shows a byte-level BPE."""
    from tokenizers import ByteLevelBPETokenizer

    plain = ByteLevelBPETokenizer()
    plain.train_from_iterator(texts, vocab_size=VOCABULARY, show_progress=False)
    return plain


def tiktoken_of(tokenizer: Tokenizer) -> Any | None:
    """Our vocabulary in tiktoken's form, the bytes of each token with its rank."""
    try:
        import tiktoken
    except ImportError:
        return None
    specials = 16
    ranks = {tokenizer.token_bytes(token): token for token in range(specials, tokenizer.vocabulary_size)}
    return tiktoken.Encoding("plutao", pat_str=QWEN2_SPLIT, mergeable_ranks=ranks, special_tokens={})


def compare(what: str, sides: dict[str, Action], size: float, rounds: int) -> dict[str, Any]:
    """MB per second, the sides in turn; ratios to ours."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, action in sides.items():
            started = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - started)
    speeds = {name: round(size / statistics.median(times), 2) for name, times in seconds.items()}
    print(f"  {what}, MB/s: {speeds}", file=sys.stderr, flush=True)
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    result = measure(arguments.megabytes, arguments.rounds)
    if arguments.json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
