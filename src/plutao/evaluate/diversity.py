"""How varied a model's answers are: base models vary more than those that learned from preferences, which is a loss where
variety is the task (the book, section 3.2, Figure 91; Kirk et al. 2024).

Measured on several answers to the same prompt, so that different questions do not pass for variety:

    entropy          bits per token, estimated without bias by the surprise of the tokens that were drawn at temperature 1
    distinct_1..3    different n-grams of words among all n-grams of a prompt's answers (Li et al. 2016)
    self_similarity  how much two answers to a prompt share: Dice's coefficient of their word bigrams, 1 where they are equal
    different        share of a prompt's answers that no earlier one equals
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from plutao.evaluate.exam import words
from plutao.evaluate.intervals import bootstrap_ratio
from plutao.evaluate.responders import Said, Speaker
from plutao.text.chat import Messages


@dataclass(frozen=True)
class Mean:
    """A mean over prompts with its interval."""

    value: float
    low: float
    high: float
    n: int

    def as_json(self) -> dict[str, float | int]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


@dataclass(frozen=True)
class Diversity:
    """How varied the answers are; each a mean over prompts."""

    entropy: Mean | None
    distinct: dict[int, Mean]
    self_similarity: Mean
    different: Mean
    draws: int
    """Answers to each prompt."""

    def as_json(self) -> dict[str, Any]:
        """entropy, distinct_1, distinct_2, distinct_3, self_similarity, different; n is prompts."""
        found: dict[str, Any] = {} if self.entropy is None else {"entropy": self.entropy.as_json()}
        found |= {f"distinct_{n}": mean.as_json() for n, mean in self.distinct.items()}
        return found | {
            "self_similarity": self.self_similarity.as_json(),
            "different": self.different.as_json(),
            "draws": self.draws,
        }


def diversity(
    speaker: Speaker, conversations: Sequence[Messages], *, draws: int = 4, temperature: float = 1.0, seed: int = 1
) -> Diversity:
    """Draws several answers to each prompt and measures how they vary."""
    assert draws >= 2
    by_prompt = speaker.say(conversations, seed, temperature, draws)
    bits = [surprise(some) for some in by_prompt] if temperature == 1 else []
    return measured([[said.text for said in some] for some in by_prompt], bits)


def surprise(answers: Sequence[Said]) -> tuple[float, int]:
    """(Σ −log2 p of the tokens that were drawn, tokens): its mean is the entropy where they were drawn as probable as they are."""
    logs = [log for said in answers for log in said.logprobs]
    return -sum(logs) / math.log(2), len(logs)


def measured(answers: Sequence[Sequence[str]], bits: Sequence[tuple[float, int]] = ()) -> Diversity:
    """From the answers to each prompt, and the (bits, tokens) that their next tokens had."""
    said = [[words(text) for text in some] for some in answers]
    return Diversity(
        entropy=ratio(bits) if sum(tokens for _, tokens in bits) else None,
        distinct={n: mean([distinct(some, n) for some in said]) for n in (1, 2, 3)},
        self_similarity=mean([self_similarity(some) for some in said]),
        different=mean([len({tuple(each) for each in some}) / len(some) for some in said]),
        draws=len(answers[0]),
    )


def distinct(answers: Sequence[Sequence[str]], n: int) -> float:
    """Different n-grams ÷ all n-grams of some answers; 0 where none is so long."""
    grams = [gram for answer in answers for gram in ngrams(answer, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def self_similarity(answers: Sequence[Sequence[str]]) -> float:
    """The mean over all pairs of answers."""
    return fmean(dice(a, b) for a, b in combinations(answers, 2))


def dice(a: Sequence[str], b: Sequence[str]) -> float:
    """Twice the bigrams in common ÷ the bigrams of both, the ends of the answers counted as words."""
    first, second = (Counter(ngrams(["<", *answer, ">"], 2)) for answer in (a, b))
    return 2 * (first & second).total() / (first.total() + second.total())


def ngrams(sequence: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(sequence[start : start + n]) for start in range(len(sequence) - n + 1)]


def mean(values: Sequence[float]) -> Mean:
    return ratio([(value, 1) for value in values])


def ratio(pairs: Sequence[tuple[float, int]]) -> Mean:
    """Σ first ÷ Σ second over prompts, with the bootstrap's interval (no wider than a point for a single prompt)."""
    tops, bottoms = [top for top, _ in pairs], [float(bottom) for _, bottom in pairs]
    value = sum(tops) / sum(bottoms)
    kept = [place for place, bottom in enumerate(bottoms) if bottom]
    interval = bootstrap_ratio([tops[place] for place in kept], [bottoms[place] for place in kept], samples=1000)
    low, high = interval or (value, value)
    return Mean(value, low, high, len(pairs))
