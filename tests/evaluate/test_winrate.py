"""Who wins does not depend on who is named first, ties are half, and the intervals hold what they promise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from plutao.evaluate.intervals import wilson
from plutao.evaluate.winrate import Game, games_from_rankings, play, share_of, win_rate, win_rates


@dataclass(frozen=True)
class Prompt:
    id: str
    messages: str = ""


def longer(prompts: Sequence[Any], answers: Sequence[str]) -> list[float]:
    return [float(len(answer)) for answer in answers]


PROMPTS = [Prompt("1", "one?"), Prompt("2", "two?"), Prompt("3", "three?"), Prompt("4", "four?")]
ANSWERS = {"base": ["a", "aaaa", "aa", "a"], "sft": ["aa", "aaa", "aa", "aaa"], "rl": ["aaaaa"] * 4}


def test_ties_are_half_and_the_order_of_the_two_changes_nothing() -> None:
    games = play(PROMPTS, ANSWERS, longer)
    one, other = win_rate(games, "sft", "base"), win_rate(games, "base", "sft")
    assert one is not None and other is not None
    assert (one.wins, one.ties, one.losses) == (2, 1, 1) and one.share.value == 2.5 / 4
    assert (other.wins, other.ties, other.losses) == (1, 1, 2)
    assert other.share.value == 1 - one.share.value
    assert other.share.low == pytest.approx(1 - one.share.high) and other.share.high == pytest.approx(1 - one.share.low)
    swapped = play(PROMPTS, dict(reversed(ANSWERS.items())), longer)
    assert win_rate(swapped, "sft", "base") == one


def test_the_judge_is_not_told_whose_answer_it_reads() -> None:
    seen: list[tuple[Any, ...]] = []

    def judge(*given: Any) -> list[float]:
        seen.append(given)
        return [0.0] * len(given[1])

    play(PROMPTS, ANSWERS, judge)
    assert not any(model in repr(given) for given in seen for model in ANSWERS)


def test_the_same_answer_always_ties() -> None:
    games = play(PROMPTS, {"a": ["x"] * 4, "b": ["x"] * 4}, longer)
    rate = win_rate(games, "a", "b")
    assert rate is not None and rate.ties == 4 and rate.share.value == 0.5
    assert rate.share.low < 0.5 < rate.share.high, "four ties prove nothing"


def test_without_ties_the_interval_is_wilsons() -> None:
    for wins, n in ((27, 40), (150, 300), (1, 12)):
        expected = wilson(wins, n)
        found = share_of([1.0] * wins + [0.0] * (n - wins))
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=2e-3)
        assert found.n == n
    assert share_of([1.0] * 20) == wilson(20, 20)


@pytest.mark.parametrize("n", [40, 300])
@pytest.mark.parametrize(
    ("win", "tie"), [(0.5, 0.0), (0.9, 0.0), (0.3, 0.5), (0.45, 0.4), (0.1, 0.85), (0.75, 0.2), (0.02, 0.96)]
)
def test_the_interval_holds_the_true_win_rate_95_times_in_100(win: float, tie: float, n: int) -> None:
    random = np.random.default_rng(7)
    truth, trials = win + tie / 2, 1500
    held, width = 0, 0.0
    for counts in random.multinomial(n, [win, tie, 1 - win - tie], size=trials):
        outcomes = [1.0] * counts[0] + [0.5] * counts[1] + [0.0] * counts[2]
        share = share_of(outcomes)
        held += share.low <= truth <= share.high
        width += share.high - share.low
    assert held / trials >= 0.93
    plain = wilson(round(truth * n), n)
    assert width / trials <= 1.03 * (plain.high - plain.low), "never wider than if ties were coins"
    if n == 300 and 0.3 < tie < 0.9:
        assert width / trials < 0.9 * (plain.high - plain.low), "ties make it surer"


def test_several_comparisons_of_one_prompt_are_not_several_prompts() -> None:
    once = [Game(str(i), "a", "b", float(i % 3 > 0)) for i in range(60)]
    rate, thrice = win_rate(once, "a", "b"), win_rate(once * 3, "a", "b")
    assert rate is not None and thrice is not None
    assert thrice.share == rate.share and thrice.wins == 3 * rate.wins


@dataclass(frozen=True)
class Ranked:
    messages: str
    completions: tuple[str, ...]
    ranks: tuple[int, ...]


def test_people_rank_texts_and_models_win() -> None:
    rankings = [
        Ranked("one?", ("aa", "a", "written by nobody"), (1, 3, 2)),
        Ranked("two?", ("aaaa", "aaa"), (1, 1)),
        Ranked("three?", ("aa", "aaaaa"), (2, 1)),  # base and sft said the same
        Ranked("another?", ("a", "aa"), (1, 2)),
    ]
    games = games_from_rankings(rankings, PROMPTS, ANSWERS)
    rate = win_rate(games, "sft", "base")
    assert rate is not None and (rate.wins, rate.ties, rate.losses) == (1, 2, 0)
    best = win_rate(games, "rl", "sft")
    assert best is not None and (best.wins, best.losses) == (1, 0)


def test_models_that_never_met_have_no_win_rate() -> None:
    games = [Game("1", "a", "b", 1.0)]
    assert win_rate(games, "a", "c") is None
    assert list(win_rates(games, [("b", "a"), ("a", "c")])) == ["b_over_a"]
    assert win_rates(games, [("b", "a")])["b_over_a"]["value"] == 0.0
