"""Ratings find the strengths that games were drawn from, and stay sensible where games are few."""

from math import log, log10, sqrt

import numpy as np
import pytest

from plutao.evaluate.elo import MEAN, counts, fit, ratings
from plutao.evaluate.winrate import Game

STRENGTHS = {"base": 0.2, "sft": 1.0, "rl": 2.5, "dpo": 1.6}
TIES = 0.7


def drawn(n: int, seed: int, strengths: dict[str, float] = STRENGTHS, ties: float = TIES) -> list[Game]:
    """`n` prompts, each pair once on each, with Davidson's probabilities computed here by hand."""
    random, games = np.random.default_rng(seed), []
    models = list(strengths)
    for prompt in range(n):
        for i, a in enumerate(models):
            for b in models[i + 1 :]:
                tie = ties * sqrt(strengths[a] * strengths[b])
                total = strengths[a] + strengths[b] + tie
                outcome = random.choice([1.0, 0.5, 0.0], p=[strengths[a] / total, tie / total, strengths[b] / total])
                games.append(Game(str(prompt), a, b, float(outcome)))
    return games


def true_points(strengths: dict[str, float]) -> dict[str, float]:
    elo = {model: 400 * log10(strength) for model, strength in strengths.items()}
    mean = sum(elo.values()) / len(elo)
    return {model: MEAN + value - mean for model, value in elo.items()}


def test_known_strengths_are_recovered() -> None:
    found = ratings(drawn(3000, 1), samples=50)
    truth = true_points(STRENGTHS)
    assert list(found) == ["rl", "dpo", "sft", "base"], "the strongest first"
    for model, rating in found.items():
        assert rating.value == pytest.approx(truth[model], abs=12)
        assert rating.games == 9000
    games = drawn(3000, 1)
    models = sorted(STRENGTHS)
    table = counts(games, models, sorted({game.prompt for game in games})).sum(0)
    assert fit(table[None], 4)[0, -1] == pytest.approx(log(TIES), abs=0.08)


def test_the_intervals_hold_the_true_ratings() -> None:
    truth, held, all_ = true_points(STRENGTHS), 0, 0
    for seed in range(40):
        for model, rating in ratings(drawn(120, seed), samples=300, seed=seed).items():
            held += rating.low <= truth[model] <= rating.high
            all_ += 1
    assert 0.90 <= held / all_ <= 0.99


def test_two_models_without_ties_follow_the_odds() -> None:
    games = [Game(str(i), "a", "b", float(i % 11 > 0)) for i in range(1100)]  # ten to one
    found = ratings(games, samples=20)
    assert found["a"].value - found["b"].value == pytest.approx(400, abs=8)
    assert found["a"].value + found["b"].value == pytest.approx(2 * MEAN)


def test_neither_the_order_of_games_nor_of_the_two_nor_the_names_change_a_rating() -> None:
    games = drawn(150, 3)
    before = ratings(games, samples=100)
    turned = [Game(game.prompt, game.second, game.first, 1 - game.score) for game in reversed(games)]
    for model, rating in ratings(turned, samples=100).items():
        assert (rating.value, rating.low, rating.high) == pytest.approx(
            (before[model].value, before[model].low, before[model].high)
        )
    renamed = {"base": "z", "sft": "y", "rl": "x", "dpo": "w"}
    other = ratings([Game(g.prompt, renamed[g.first], renamed[g.second], g.score) for g in games], samples=100)
    for model, rating in before.items():
        assert other[renamed[model]].value == pytest.approx(rating.value)


def test_a_model_that_never_lost_is_rated_high_and_not_infinitely() -> None:
    few = ratings([Game(str(i), "a", "b", 1.0) for i in range(5)], samples=100)
    many = ratings([Game(str(i), "a", "b", 1.0) for i in range(500)], samples=100)
    assert 1000 < few["a"].value < many["a"].value < 3000
    assert np.isfinite([few["a"].low, few["a"].high, many["b"].low]).all()


def test_only_ties_leave_all_equal() -> None:
    found = ratings([Game(str(i), "a", "b", 0.5) for i in range(200)], samples=50)
    assert [rating.value for rating in found.values()] == pytest.approx([MEAN, MEAN])


def test_models_that_never_met_are_rated_through_those_that_both_met() -> None:
    chain = [Game(str(i), "a", "b", float(i % 4 > 0)) for i in range(400)]
    chain += [Game(str(i), "b", "c", float(i % 4 > 0)) for i in range(400)]
    found = ratings(chain, samples=20)
    assert found["a"].value - found["c"].value == pytest.approx(2 * 400 * log10(3), abs=12)
    assert ratings([], samples=5) == {}
