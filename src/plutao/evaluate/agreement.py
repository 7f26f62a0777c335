"""How far people agree who put the same answers in order: Kendall's tau, and the share of pairs ordered alike.

Labellers of InstructGPT agreed on 73% of pairs (Ouyang et al. 2022, section 3.4): nobody's order is the truth, and a reward
model can't be asked to agree with people more than they agree with one another.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from typing import Any

from plutao.data.rankings import Ranking, by_prompt
from plutao.evaluate.intervals import Share, wilson


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b of two orders of the same things, ties allowed (Kendall 1945): 1 the same order, −1 the reverse.

    None where one of them puts nothing before anything else.
    """
    assert len(first) == len(second)
    pairs = [(sign(first[i] - first[j]), sign(second[i] - second[j])) for i, j in combinations(range(len(first)), 2)]
    in_first = sum(a != 0 for a, _ in pairs)
    in_second = sum(b != 0 for _, b in pairs)
    if not in_first or not in_second:
        return None
    return sum(a * b for a, b in pairs) / sqrt(in_first * in_second)


def sign(number: float) -> int:
    return (number > 0) - (number < 0)


@dataclass(frozen=True)
class Agreement:
    """Two labellers, on the prompts both have ranked; or one with themselves."""

    labellers: tuple[str, str]
    tau: float | None
    """Kendall's tau-b, the mean over prompts on which both prefer anything."""
    prompts: int
    """Prompts that tau is the mean of."""
    pairs: Share | None
    """Of the pairs of answers that both order, the share ordered alike."""

    def as_json(self) -> dict[str, Any]:
        return {
            "labellers": list(self.labellers),
            "tau": self.tau,
            "prompts": self.prompts,
            "pairs": self.pairs.as_json() if self.pairs else None,
        }


def agreement(labellers: tuple[str, str], orders: Iterable[tuple[Sequence[int], Sequence[int]]]) -> Agreement:
    """The agreement of two labellers from their ranks of the same answers, prompt by prompt."""
    taus, alike, compared = [], 0, 0
    for first, second in orders:
        tau = kendall_tau(first, second)
        taus += [] if tau is None else [tau]
        for i, j in combinations(range(len(first)), 2):
            signs = sign(first[i] - first[j]) * sign(second[i] - second[j])
            compared += signs != 0
            alike += signs > 0
    mean = sum(taus) / len(taus) if taus else None
    return Agreement(labellers, mean, len(taus), wilson(alike, compared) if compared else None)


def agreements(rankings: Iterable[Ranking]) -> list[Agreement]:
    """The agreement of every two labellers who ranked the same answers, those with the most prompts in common first."""
    common: dict[tuple[str, str], list[tuple[Sequence[int], Sequence[int]]]] = {}
    for labelled in by_prompt(rankings):
        ranks = {name or "": order for name, order in zip(labelled.labellers, labelled.labels, strict=True)}
        for first, second in combinations(sorted(ranks), 2):
            common.setdefault((first, second), []).append((ranks[first], ranks[second]))
    found = [agreement(names, orders) for names, orders in common.items()]
    return sorted(found, key=lambda one: -one.prompts)
