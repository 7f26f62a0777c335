"""How well a model's rewards agree with people's rankings, on prompts that it never saw (the book, section 3.1).

The measure is pair accuracy: of two answers of which a labeller preferred one, how often does that one get the higher
reward? Equal rewards count half. Beside it stand what one gets for nothing (the longer answer, a coin) and how often a
second labeller agrees with the first: nobody can ask for more of a model. Intervals draw prompts again with replacement,
since the pairs of one prompt are no independent trials.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean
from typing import Any, Literal

import numpy as np

from plutao.data.rankings import Labelled, preferences
from plutao.evaluate.intervals import Share, bootstrap_ratio, wilson

BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Borders of the predicted probabilities that calibration gathers; below 1/2 a pair is looked at from its other side."""
INTERVALS = "95%, by drawing the held-out prompts again with replacement (2,000 times)"
SEED = 1
Language = Literal["en", "pt"]


@dataclass(frozen=True)
class Judged:
    """The answers to one prompt with a model's rewards, their lengths and everybody's ranks."""

    rewards: tuple[float, ...]
    lengths: tuple[int, ...]
    """In characters."""
    labels: tuple[tuple[int, ...], ...]
    """Each labeller's ranks, 1 the best."""
    labellers: tuple[str | None, ...]
    source: str = ""


@dataclass(frozen=True)
class Comparison:
    """One labeller preferred one answer of a prompt to another."""

    better: int
    worse: int
    distance: int
    """Ranks between them."""
    share: float
    """What it counts: 1 ÷ the labellers of this prompt."""


def judge(one: Labelled, kept: Sequence[int], rewards: Sequence[float]) -> Judged:
    """A ranking with the rewards of those of its answers that were read."""
    return Judged(
        tuple(rewards),
        tuple(len(one.ranking.completions[place]) for place in kept),
        tuple(tuple(ranks[place] for place in kept) for ranks in one.labels),
        one.labellers,
        one.ranking.source,
    )


def comparisons(prompt: Judged) -> list[Comparison]:
    """All that labellers said of a prompt's answers, ties left out."""
    share = 1 / len(prompt.labels)
    return [
        Comparison(better, worse, ranks[worse] - ranks[better], share)
        for ranks in prompt.labels
        for better, worse in preferences(ranks)
    ]


def accuracy(
    judged: Sequence[Judged],
    scores: Callable[[Judged], Sequence[float]] = lambda prompt: prompt.rewards,
    keep: Callable[[Comparison], bool] = lambda comparison: True,
) -> Share | None:
    """The share of comparisons whose better answer has the higher score; None where there is no comparison."""
    right, all_of_them, count = [], [], 0
    for prompt in judged:
        kept = [comparison for comparison in comparisons(prompt) if keep(comparison)]
        if kept:
            numbers = scores(prompt)
            right.append(sum(c.share * win(numbers[c.better], numbers[c.worse]) for c in kept))
            all_of_them.append(sum(c.share for c in kept))
            count += len(kept)
    return ratio(right, all_of_them, count)


def win(one: float, other: float) -> float:
    """1, 0, or 1/2 for equal scores."""
    return 0.5 if one == other else float(one > other)


def ratio(tops: Sequence[float], bottoms: Sequence[float], count: int) -> Share | None:
    if not count:
        return None
    low, high = bootstrap_ratio(tops, bottoms, seed=SEED) or (0.0, 1.0)
    return Share(sum(tops) / sum(bottoms), low, high, count)


def by_distance(judged: Sequence[Judged]) -> dict[str, Share]:
    """Accuracy by how many ranks lie between the two answers: neighbours are the hardest."""
    distances = sorted({comparison.distance for prompt in judged for comparison in comparisons(prompt)})
    found = {
        str(distance): accuracy(judged, keep=lambda comparison, distance=distance: comparison.distance == distance)  # type: ignore[misc]
        for distance in distances
    }
    return {distance: share for distance, share in found.items() if share is not None}


def by_source(judged: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """Accuracy on each source of rankings, beside that of the longer answer."""
    found: dict[str, dict[str, Any]] = {}
    for source in sorted({prompt.source for prompt in judged}):
        some = [prompt for prompt in judged if prompt.source == source]
        right, longer = accuracy(some), accuracy(some, lambda prompt: prompt.lengths)
        if right is not None and longer is not None:
            found[source] = {"pair_accuracy": right.as_json(), "longer": longer.as_json()}
    return found


def agreement(judged: Sequence[Judged]) -> Share | None:
    """How often two labellers of one prompt agree on which answer is better; None where nobody labelled twice.

    Of the pairs that the first of the two does not call a tie; where the second does, that is half an agreement. Each
    of the two is the first once.
    """
    right, all_of_them, count = [], [], 0
    for prompt in judged:
        both: list[float] = []
        for first, second in combinations(range(len(prompt.labels)), 2):
            if prompt.labellers[first] != prompt.labellers[second]:
                for one, other in ((first, second), (second, first)):
                    theirs = prompt.labels[other]
                    both += [win(-theirs[b], -theirs[w]) for b, w in preferences(prompt.labels[one])]
        if both:
            right.append(fmean(both))
            all_of_them.append(1.0)
            count += len(both)
    return ratio(right, all_of_them, count)


def calibration(judged: Sequence[Judged]) -> dict[str, Any]:
    """Where the model says that an answer wins with probability σ(difference of rewards), how often does it?

    Returns:
        "bins": for each stretch of predicted probabilities its pairs, their mean prediction and the share that won;
        "error": the mean distance of the two, weighted by pairs (Guo et al. 2017, ECE).
    """
    predicted, won = [], []
    for prompt in judged:
        for one in comparisons(prompt):
            margin = prompt.rewards[one.better] - prompt.rewards[one.worse]
            predicted.append(1 / (1 + np.exp(-abs(margin))))
            won.append(win(margin, 0.0))
    bins: list[dict[str, Any]] = []
    error = 0.0
    for low, high in pairwise(BINS):
        inside = [place for place, p in enumerate(predicted) if low <= p < high or (p == high == 1.0)]
        if inside:
            said, wins = fmean(predicted[place] for place in inside), sum(won[place] for place in inside)
            observed = wilson(round(wins), len(inside)).as_json() | {"value": wins / len(inside)}
            bins.append({"from": low, "to": high, "predicted": said, "observed": observed})
            error += len(inside) / len(won) * abs(said - wins / len(inside))
    return {"bins": bins, "error": error}


def length_bias(judged: Sequence[Judged]) -> dict[str, float]:
    """How rewards go with length within a prompt, and how the labels do: Pearson correlations of what differs from the
    prompt's mean. `excess` is what the model adds.
    """
    rewards, lengths, labels = [], [], []
    for prompt in judged:
        places = range(len(prompt.rewards))
        mean_rank = [-fmean(ranks[place] for ranks in prompt.labels) for place in places]
        rewards += centred(prompt.rewards)
        lengths += centred(prompt.lengths)
        labels += centred(mean_rank)
    of_rewards, of_labels = correlation(rewards, lengths), correlation(labels, lengths)
    return {"rewards": of_rewards, "labels": of_labels, "excess": of_rewards - of_labels}


def centred(values: Sequence[float]) -> list[float]:
    mean = fmean(values)
    return [value - mean for value in values]


def correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Pearson's; 0 where one of the two does not vary."""
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    size = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / size) if size > 0 else 0.0


def is_constant(judged: Sequence[Judged]) -> bool:
    """Whether the model tells no answer of a prompt from another."""
    return all(max(prompt.rewards) - min(prompt.rewards) < 1e-6 for prompt in judged)


def measure(judged: Sequence[Judged], language: Language = "en") -> dict[str, Any]:
    """All of it as JSON, with the verdict in words.

    Raises:
        AssertionError: there is no comparison at all.
    """
    overall, longer = accuracy(judged), accuracy(judged, lambda prompt: prompt.lengths)
    assert overall is not None and longer is not None, "held-out prompts hold comparisons"
    agreed = agreement(judged)
    results: dict[str, Any] = {
        "prompts": len(judged),
        "intervals": INTERVALS,
        "pair_accuracy": overall.as_json(),
        "by_distance": {distance: share.as_json() for distance, share in by_distance(judged).items()},
        "by_source": by_source(judged),
        "baselines": {
            "longer": longer.as_json(),
            "random": {"value": 0.5, "low": 0.5, "high": 0.5, "n": overall.n},
        },
        "labellers": {"agreement": None, "of_agreement": None}
        if agreed is None
        else {"agreement": agreed.as_json(), "of_agreement": overall.value / agreed.value if agreed.value else None},
        "calibration": calibration(judged),
        "length_bias": length_bias(judged),
    }
    return results | {"verdict": verdict(judged, overall, longer, agreed, language)}


# ---------------------------------------------------------------------------------------------------------------------
# The verdict

ENOUGH_PAIRS = 100
OF_AGREEMENT = 0.9
"""Share of the labellers' own agreement that a reward model should reach."""
LEAST = 0.6
"""Accuracy asked for where nobody labelled twice."""
MOST_EXCESS = 0.3
"""Correlation with length, beyond the labels' own, from which on RL would learn to write at length."""

WORDS: dict[str, dict[Language, str]] = {
    "constant": {
        "en": "it gives every answer of a prompt the same reward, so there is nothing to follow: train longer, or look at the rankings",
        "pt": "dá a mesma recompensa a todas as respostas de um prompt, então não há o que seguir: treine mais, ou veja os rankings",
    },
    "chance": {
        "en": "it is right in {accuracy:.0%} of {n} held-out pairs, which is not surely better than a coin",
        "pt": "acerta {accuracy:.0%} de {n} pares reservados, o que não é com certeza melhor que uma moeda",
    },
    "longer": {
        "en": "preferring the longer answer does as well ({longer:.0%} against {accuracy:.0%})",
        "pt": "preferir a resposta mais longa acerta tanto quanto ({longer:.0%} contra {accuracy:.0%})",
    },
    "labellers": {
        "en": "it reaches {share:.0%} of the labellers' own agreement ({agreement:.0%}); 90% is asked for",
        "pt": "alcança {share:.0%} da concordância dos próprios rotuladores ({agreement:.0%}); pedem-se 90%",
    },
    "least": {
        "en": "it is right in {accuracy:.0%} of the held-out pairs; 60% is asked for where labellers' agreement is not known",
        "pt": "acerta {accuracy:.0%} dos pares reservados; pedem-se 60% onde não se conhece a concordância dos rotuladores",
    },
    "length": {
        "en": "its rewards go with length more than the labels do (correlation {excess:+.2f}): RL would learn to write at length",
        "pt": "suas recompensas seguem o comprimento mais que os rótulos (correlação {excess:+.2f}): o RL aprenderia a escrever longo",
    },
    "few": {
        "en": "only {n} held-out pairs measure it: more rankings would tell",
        "pt": "só {n} pares reservados o medem: mais rankings diriam",
    },
    "good": {
        "en": "it is right in {accuracy:.0%} ({low:.0%}–{high:.0%}) of {n} held-out pairs, the longer answer in {longer:.0%}",
        "pt": "acerta {accuracy:.0%} ({low:.0%}–{high:.0%}) de {n} pares reservados, a resposta mais longa {longer:.0%}",
    },
    "agree": {
        "en": "; its labellers agree with each other in {agreement:.0%}",
        "pt": "; seus rotuladores concordam entre si em {agreement:.0%}",
    },
}
VERDICT: dict[bool, dict[Language, str]] = {
    True: {"en": "Good enough for RL: {why}.", "pt": "Bom o bastante para o RL: {why}."},
    False: {"en": "Not good enough for RL: {why}.", "pt": "Não é bom o bastante para o RL: {why}."},
}


def verdict(
    judged: Sequence[Judged], overall: Share, longer: Share, agreed: Share | None, language: Language
) -> dict[str, Any]:
    """Whether the reward model is good enough to be followed by RL, with the reasons by name and in words."""
    excess = length_bias(judged)["excess"]
    share = overall.value / agreed.value if agreed is not None and agreed.value else None
    faults = {
        "constant": is_constant(judged),
        "chance": overall.low <= 0.5,
        "longer": overall.value <= longer.value,
        "labellers": share is not None and share < OF_AGREEMENT,
        "least": share is None and overall.value < LEAST,
        "length": excess > MOST_EXCESS,
        "few": overall.n < ENOUGH_PAIRS,
    }
    reasons = [name for name, found in faults.items() if found]
    reasons = ["constant"] if "constant" in reasons else reasons
    numbers = {
        "accuracy": overall.value,
        "low": overall.low,
        "high": overall.high,
        "n": overall.n,
        "longer": longer.value,
        "share": share or 0.0,
        "agreement": agreed.value if agreed is not None else 0.0,
        "excess": excess,
    }
    shown = reasons or ["good"]
    why = "; ".join(WORDS[name][language].format(**numbers) for name in shown)
    if not reasons and agreed is not None:
        why += WORDS["agree"][language].format(**numbers)
    return {"good_enough": not reasons, "why": VERDICT[not reasons][language].format(why=why), "reasons": reasons}
