"""Intervals say how sure a figure is: they agree with published values and hold the truth as often as they claim."""

import numpy as np
import pytest

from plutao.evaluate.intervals import bootstrap_ratio, paired_difference, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, Table I, method 3 (score without continuity correction).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    share = wilson(successes, n)
    assert share.value == successes / n
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)


def test_wilson_stays_between_nothing_and_everything() -> None:
    assert wilson(0, 5).low == 0.0
    assert wilson(5, 5).high == 1.0
    assert wilson(5, 5).low < 0.6, "five of five is not certainty"
    assert wilson(3, 5).as_json() == {"value": 0.6, "low": wilson(3, 5).low, "high": wilson(3, 5).high, "n": 5}


def test_the_bootstrap_of_a_ratio_holds_the_truth_about_95_times_in_100() -> None:
    random = np.random.default_rng(1)
    held = 0
    for trial in range(200):
        sizes = random.integers(100, 1000, size=60).astype(float)
        bits = sizes * random.normal(2.0, 0.3, size=60)
        interval = bootstrap_ratio(bits, sizes, samples=400, seed=trial)
        assert interval is not None
        held += interval[0] <= 2.0 <= interval[1]
    assert 0.88 <= held / 200 <= 0.99


def test_pairing_finds_a_difference_that_two_separate_intervals_hide() -> None:
    random = np.random.default_rng(2)
    sizes = np.full(100, 500.0)
    hardness = random.normal(2.0, 0.5, size=100)  # some texts are hard for everyone
    first = sizes * hardness
    second = sizes * (hardness - 0.03 + random.normal(0, 0.02, size=100))
    alone = [bootstrap_ratio(bits, sizes) for bits in (first, second)]
    assert alone[0] is not None and alone[1] is not None and alone[0][0] < alone[1][1]
    difference = paired_difference(first, second, sizes)
    assert difference is not None and difference.decided
    assert difference.low < -0.03 + 0.01 and difference.high < 0
    same = paired_difference(first, first + random.normal(0, 10, size=100), sizes)
    assert same is not None and not same.decided


def test_a_single_unit_has_no_interval() -> None:
    assert bootstrap_ratio([10.0], [5.0]) is None
    assert paired_difference([10.0], [9.0], [5.0]) is None


def test_the_same_question_gets_the_same_interval() -> None:
    bits, sizes = [3.0, 5.0, 9.0, 4.0], [2.0, 2.0, 4.0, 3.0]
    assert bootstrap_ratio(bits, sizes) == bootstrap_ratio(bits, sizes)
