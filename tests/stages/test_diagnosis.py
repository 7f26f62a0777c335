"""What is told of a reinforcement learning, in words: when it must stop, and how it went."""

from dataclasses import replace
from typing import Any

import pytest

from plutao.errors import UserError
from plutao.recipe import RlSettings
from plutao.stages.diagnosis import DIAGNOSES, STOPS, Watch, diagnose
from plutao.stages.gains import Measured, best_of_at, check_can_learn, gain

BEFORE = Measured(
    reward=0.0, by_prompt=[0.1, -0.1] * 20, deviation=1.0, within=0.8, kl=0.0, entropy=1.0, length=20.0, ended=1.0,
    distinct=0.95, best_of_n=[{"n": 1, "reward": 0.0, "kl": 0.0}, {"n": 4, "reward": 1.0, "kl": 0.64}], answers=["a"],
)  # fmt: skip


def rounds(count: int, **changes: Any) -> list[dict[str, float]]:
    """Figures that go evenly from the first of a pair to the second; others stay."""
    usual = {"reward": (0.0, 1.0), "kl": (0.0, 3.0), "length": (20.0, 20.0), "distinct": (0.9, 0.9)} | changes
    return [
        {name: first + (last - first) * place / (count - 1) for name, (first, last) in usual.items()}
        for place in range(count)
    ]


def stops_at(watch: Watch, history: list[dict[str, float]]) -> tuple[int, str] | None:
    for count in range(1, len(history) + 1):
        if (reason := watch(history[:count])) is not None:
            return count, reason
    return None


def test_nothing_stops_a_training_that_goes_well() -> None:
    assert stops_at(Watch(kl_stop=None), rounds(40)) is None
    assert stops_at(Watch(kl_stop=5.0), rounds(40)) is None
    assert stops_at(Watch(kl_stop=None), rounds(40, length=(6.0, 14.0))) is None  # a few tokens more are no hacking


def test_too_far_from_where_it_started() -> None:
    found = stops_at(Watch(kl_stop=2.0), rounds(31))
    assert found is not None and found[0] == 22 and "2.1 nats" in found[1] and "rl.kl_stop = 2" in found[1]


def test_length_is_what_is_rewarded() -> None:
    found = stops_at(Watch(kl_stop=None), rounds(40, length=(20.0, 90.0)))
    assert found is not None and "length were what is rewarded" in found[1]
    assert stops_at(Watch(kl_stop=None), rounds(40, length=(20.0, 90.0), reward=(1.0, 0.0))) is None


def test_answers_that_repeat_themselves() -> None:
    found = stops_at(Watch(kl_stop=None, language="pt"), rounds(40, distinct=(0.9, 0.3)))
    assert found is not None and "se repetir" in found[1]


@pytest.mark.parametrize(
    ("changes", "target", "words"),
    [
        ({"reward": 1.0, "by_prompt": [1.1, 0.9] * 20}, 3.0, ["rose from 0.00 to 1.00", "target of 3 was held"]),
        ({"by_prompt": [0.5, -0.5] * 20}, None, ["chance explains", "no target was set"]),
        ({"reward": -1.0, "by_prompt": [-1.1, -0.9] * 20}, 3.0, ["fell from 0.00 to -1.00", "lower rl.optimizer.learning_rate"]),
        ({"kl": 9.0}, 3.0, ["beyond the target of 3: raise rl.kl"]),
        ({"kl": 0.5}, 3.0, ["less than the target", "RL left some of that on the table"]),
        ({"kl": 0.5, "reward": 0.9, "by_prompt": [0.9] * 40}, None, ["have reached 0.78 at the same divergence: RL did better"]),
        ({"length": 60.0}, None, ["Answers have 60 tokens (20 before). That is much longer"]),
        ({"entropy": 0.1}, None, ["nearly certain"]),
        ({"distinct": 0.5}, None, ["from 95% to 50%"]),
        ({"ended": 0.7}, None, ["Only 70% of the answers come to an end"]),
    ],
)  # fmt: skip
def test_the_diagnosis_names_what_happened(changes: dict[str, Any], target: float | None, words: list[str]) -> None:
    after = replace(BEFORE, kl=3.0, best_of_n=[])
    told = diagnose(BEFORE, replace(after, **changes), target, None)
    for some in words:
        assert some in told
    assert "{" not in diagnose(BEFORE, replace(after, **changes), target, "porque sim.", "pt")


def test_why_it_stopped_comes_first() -> None:
    assert diagnose(BEFORE, replace(BEFORE, kl=3.0), None, "it diverges.").startswith(
        "Training ended early: it diverges."
    )


def test_both_languages_say_the_same_things() -> None:
    for both in (STOPS, DIAGNOSES):
        assert both["en"].keys() == both["pt"].keys()
        for key, words in both["en"].items():
            assert sorted(fields(words)) == sorted(fields(both["pt"][key])), key


def fields(words: str) -> list[str]:
    import string

    return [name for _, name, _, _ in string.Formatter().parse(words) if name]


def test_the_gain_has_an_interval_over_prompts() -> None:
    after = replace(
        BEFORE, by_prompt=[value + 1 + (0.5 if place % 2 else -0.5) for place, value in enumerate(BEFORE.by_prompt)]
    )
    change = gain(BEFORE, after)
    assert change["value"] == pytest.approx(1.0)
    assert change["high"] - change["value"] == pytest.approx(1.96 * 0.5 * (40 / 39) ** 0.5 / 40**0.5)


def test_best_of_n_is_read_between_its_points() -> None:
    assert best_of_at(BEFORE.best_of_n, 0.32) == pytest.approx(0.5)
    assert best_of_at(BEFORE.best_of_n, 5.0) is None


def test_grpo_needs_answers_to_one_prompt_that_differ() -> None:
    alike = replace(BEFORE, within=0.0)
    check_can_learn(alike, RlSettings())
    with pytest.raises(UserError, match="for all answers to one prompt"):
        check_can_learn(alike, RlSettings(algorithm="grpo", answers=4))
