"""How well a text is understood: classes, similarity and marked answers, each measure with its interval of 95%."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from plutao.evaluate.correlation import fisher, pearson, spearman
from plutao.evaluate.intervals import bootstrap, bootstrap_ratio, wilson

ARTICLES = {"o", "a", "os", "as", "um", "uma", "uns", "umas", "an", "the"}


def measured(value: float, interval: tuple[float, float] | None, n: int) -> dict[str, Any]:
    low, high = interval if interval is not None else (math.nan, math.nan)
    return {"value": value, "low": low, "high": high, "n": n}


def classified(said: Sequence[int], right: Sequence[int], classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy (Wilson's interval) and macro-F1 (bootstrap), beside what always saying the commonest class would give."""
    given, gold = np.asarray(said), np.asarray(right)
    interval = bootstrap(lambda rows: macro_f1(given[rows], gold[rows]), len(gold))
    commonest = int((gold == np.bincount(gold).argmax()).sum())
    return {
        "accuracy": wilson(int((given == gold).sum()), len(gold)).as_json(),
        "f1": measured(macro_f1(given, gold), interval, len(gold)),
        "baseline": {"accuracy": wilson(commonest, len(gold)).as_json(), "says": "the commonest class"},
        "classes": list(classes),
    }


def macro_f1(said: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """The mean over the classes of the harmonic mean of precision and recall."""
    scores = []
    for one in np.unique(right):
        hits = int(((said == one) & (right == one)).sum())
        scores.append(2 * hits / (int((said == one).sum()) + int((right == one).sum())))
    return float(np.mean(scores))


def alike(said: Sequence[float], right: Sequence[float], words: Sequence[float]) -> dict[str, Any]:
    """Pearson's correlation (Fisher's interval), Spearman's (bootstrap) and the mean squared error, beside the correlation of
    the share of `words` that both texts have.
    """
    given, gold, shared = (np.asarray(some, np.float64) for some in (said, right, words))
    value = pearson(given, gold)
    of_ranks = bootstrap(lambda rows: spearman(given[rows], gold[rows]), len(gold))
    return {
        "pearson": measured(value, fisher(value, len(gold)), len(gold)),
        "spearman": measured(spearman(given, gold), of_ranks, len(gold)),
        "squared_error": float(np.mean((given - gold) ** 2)),
        "baseline": {
            "pearson": measured(pearson(shared, gold), fisher(pearson(shared, gold), len(gold)), len(gold)),
            "says": "the share of words in common",
        },
    }


def words_in_common(first: str, second: str) -> float:
    """Words that both texts have ÷ words that either has (Jaccard 1901)."""
    one, other = set(words(first)), set(words(second))
    return len(one & other) / max(len(one | other), 1)


def words(text: str) -> list[str]:
    """What SQuAD compares: lower case, no punctuation, no articles (Rajpurkar et al. 2016), Portuguese ones too."""
    plain = unicodedata.normalize("NFC", text.lower())
    return [word for word in re.sub(r"[^\w\s]", " ", plain).replace("_", " ").split() if word not in ARTICLES]


def exact(said: str, right: Sequence[str]) -> bool:
    """Whether an answer is one of the right ones, word for word; "" is right where there is none."""
    return any(words(said) == words(one) for one in right or [""])


def overlap(said: str, right: Sequence[str]) -> float:
    """F1 of the words of an answer and the right one that it is closest to."""
    return max((overlap_with(words(said), words(one)) for one in right or [""]), default=0.0)


def overlap_with(said: list[str], right: list[str]) -> float:
    if not said or not right:
        return float(said == right)
    common = sum((Counter(said) & Counter(right)).values())
    return 2 * common / (len(said) + len(right))


def answered(said: Sequence[str], right: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Share of exact answers (Wilson's interval) and mean F1 of the words (bootstrap over questions)."""
    hits = [exact(one, gold) for one, gold in zip(said, right, strict=True)]
    f1 = [overlap(one, gold) for one, gold in zip(said, right, strict=True)]
    return {
        "exact": wilson(sum(hits), len(hits)).as_json(),
        "f1": measured(float(np.mean(f1)), bootstrap_ratio(f1, [1.0] * len(f1)), len(f1)),
    }
