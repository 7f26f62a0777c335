"""Measures of a reward model against cases whose result is known, and the verdict's reasons."""

import math
import random
from dataclasses import replace

import pytest

from plutao.evaluate.preference import (
    Judged,
    accuracy,
    agreement,
    by_distance,
    by_source,
    calibration,
    comparisons,
    length_bias,
    measure,
)


def judged(rewards: list[float], *labels: tuple[int, ...], lengths: list[int] | None = None) -> Judged:
    names = tuple(f"labeller {number}" for number in range(len(labels)))
    return Judged(tuple(rewards), tuple(lengths or [10] * len(rewards)), labels, names)


def people(
    count: int = 200, skill: float = 3.0, agree: float = 0.9, second: bool = True, wordy: float = 0.0
) -> list[Judged]:
    """Prompts with four answers; a second labeller swaps two neighbours now and then; rewards follow the first's ranks."""
    chance = random.Random(1)
    found = []
    for _ in range(count):
        ranks = chance.sample(range(1, 5), 4)
        other = [rank if chance.random() < agree else chance.randint(1, 4) for rank in ranks]
        lengths = [chance.randint(5, 50) for _ in ranks]
        rewards = [
            -skill * rank + chance.gauss(0, 2) + wordy * length for rank, length in zip(ranks, lengths, strict=True)
        ]
        labels = (tuple(ranks), tuple(other)) if second else (tuple(ranks),)
        found.append(judged(rewards, *labels, lengths=lengths))
    return found


def test_accuracy_counts_pairs_and_equal_rewards_half() -> None:
    prompts = [judged([3, 2, 1], (1, 2, 3)), judged([1, 1], (1, 2)), judged([0, 5], (1, 2)), judged([1, 2], (1, 1))]
    share = accuracy(prompts)
    assert share is not None
    assert share.n == 5 and share.value == pytest.approx((3 + 0.5 + 0) / 5)
    assert share.low < share.value < share.high
    assert accuracy([judged([1, 2], (1, 1))]) is None


def test_labellers_who_disagree_share_a_pair() -> None:
    share = accuracy([judged([2, 1], (1, 2), (2, 1)), judged([2, 1], (1, 2))])
    assert share is not None and share.value == pytest.approx((0.5 + 1) / 2)


def test_neighbours_are_told_apart_from_far_ranks() -> None:
    found = by_distance([judged([2, 3, 1], (1, 2, 3)), judged([2, 3, 1], (1, 2, 3))])
    assert {distance: share.value for distance, share in found.items()} == {"1": 0.5, "2": 1.0}
    assert [c.distance for c in comparisons(judged([1, 2, 3], (1, 1, 4)))] == [3, 3]


def test_sources_are_told_apart() -> None:
    good = replace(judged([2, 1], (1, 2), lengths=[3, 9]), source="debates")
    bad = replace(judged([1, 2], (1, 2), lengths=[9, 3]), source="essays")
    found = by_source([good, good, bad])
    assert [found[name]["pair_accuracy"]["value"] for name in ("debates", "essays")] == [1.0, 0.0]
    assert [found[name]["longer"]["value"] for name in ("debates", "essays")] == [0.0, 1.0]


def test_agreement_needs_two_labellers_and_counts_ties_half() -> None:
    assert agreement([judged([1, 2], (1, 2))]) is None
    same = Judged((1, 2), (1, 1), ((1, 2), (1, 2)), ("ana", "ana"))
    assert agreement([same]) is None
    share = agreement([judged([1, 2], (1, 2), (1, 2)), judged([1, 2], (1, 2), (2, 1)), judged([1, 2], (1, 2), (1, 1))])
    assert share is not None and share.value == pytest.approx((1 + 0 + 0.5) / 3)


def test_rewards_that_tell_true_probabilities_are_calibrated() -> None:
    chance = random.Random(2)
    prompts = []
    for _ in range(4000):
        margin = chance.uniform(-3, 3)
        first_wins = chance.random() < 1 / (1 + math.exp(-margin))
        prompts.append(judged([margin, 0.0], (1, 2) if first_wins else (2, 1)))
    true = calibration(prompts)
    assert true["error"] < 0.03 and [b["from"] for b in true["bins"]] == [0.5, 0.6, 0.7, 0.8, 0.9]
    boastful = calibration([judged([10 * p.rewards[0], 0.0], *p.labels) for p in prompts])
    assert boastful["error"] > 0.15


def test_length_bias_is_what_the_labels_do_not_ask_for() -> None:
    fair = [judged([3, 2, 1], (1, 2, 3), lengths=[30, 20, 10])] * 2
    assert length_bias(fair) == {"rewards": pytest.approx(1), "labels": pytest.approx(1), "excess": pytest.approx(0)}
    biased = [judged([3, 2, 1], (3, 2, 1), lengths=[30, 20, 10])] * 2
    assert length_bias(biased)["excess"] == pytest.approx(2)
    assert length_bias([judged([1, 1], (1, 2))])["rewards"] == 0


def test_a_good_model_is_told_good_with_its_numbers() -> None:
    results = measure(people())
    assert results["verdict"]["good_enough"] and "agree with each other" in results["verdict"]["why"]
    assert results["pair_accuracy"]["value"] > 0.85 > results["baselines"]["longer"]["value"]
    assert results["labellers"]["of_agreement"] > 0.9
    assert measure(people(), "pt")["verdict"]["why"].startswith("Bom o bastante")
    assert set(results) >= {"by_distance", "calibration", "length_bias", "intervals", "prompts"}


@pytest.mark.parametrize(
    ("prompts", "reason"),
    [
        ([judged([1, 1, 1], (1, 2, 3))] * 50, "constant"),
        (people(skill=0.0), "chance"),
        (people(skill=0.25), "labellers"),
        (people(skill=0.1, second=False, count=600), "least"),
        (people(count=5), "few"),
        ([judged([1.0, 2.0], (2, 1), lengths=[9, 12])] * 120, "longer"),
        (people(wordy=0.2), "length"),
    ],
)
def test_a_model_that_is_not_good_is_told_why(prompts: list[Judged], reason: str) -> None:
    verdict = measure(prompts)["verdict"]
    assert not verdict["good_enough"] and reason in verdict["reasons"]
    assert verdict["why"].startswith("Not good enough for RL: ") and verdict["why"].endswith(".")
