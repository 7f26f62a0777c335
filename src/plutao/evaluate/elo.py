"""How strong each model is, from comparisons of pairs: the Bradley–Terry model with ties, on the Elo scale.

P(i beats j) ∝ π_i, P(j beats i) ∝ π_j, P(tie) ∝ ν √(π_i π_j) (Davidson 1970; without ties Bradley & Terry 1952). A rating is
400 log10 π, with the models' mean at 1000: 400 points are odds of ten to one, only differences mean anything, and the order in
which games were played does not matter, which it does for the running Elo of chess (the book, section 3.2, Figure 92; Chiang
et al. 2024, "Chatbot Arena").

To each model three games against a made-up average opponent are added, half a win, half a tie, half a loss (Jeffreys' prior
for three outcomes): a model that never lost gets a high rating and not an infinite one, and the more it played the higher.
The log-likelihood is concave in the log-strengths and log ν, so Newton's method finds its one top.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

from plutao.evaluate.winrate import Game

MEAN, POINTS = 1000.0, 400 / log(10)
PRIOR = (0.5, 0.5, 0.5)
"""Wins, ties and losses of each model against an opponent of strength 1."""
STEPS, CLOSE = 60, 1e-9
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rating:
    """A model's strength in Elo points, with its interval (95%), and the games it rests on."""

    value: float
    low: float
    high: float
    games: int

    def as_json(self) -> dict[str, float | int]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.games}


def ratings(games: Sequence[Game], samples: int = 1000, seed: int = 0, confidence: float = 0.95) -> dict[str, Rating]:
    """Every model's rating, the strongest first. Intervals: prompts are drawn again with replacement (Efron 1979).

    Models that never met, not even through others, are compared only through the made-up average opponent.
    """
    models = sorted({model for game in games for model in (game.first, game.second)})
    if len(models) < 2:
        return {}
    prompts = sorted({game.prompt for game in games})
    per_prompt = counts(games, models, prompts)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(prompts), np.full(len(prompts), 1 / len(prompts)), size=samples).astype(np.float64)
    weights = np.concatenate([np.ones((1, len(prompts))), drawn])  # first the games as they were
    found = points(fit(np.tensordot(weights, per_prompt, axes=1), len(models)))
    low, high = np.quantile(found[1:], [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    played = [sum(model in (game.first, game.second) for game in games) for model in models]
    order = np.argsort(-found[0], kind="stable")
    return {
        models[i]: Rating(
            float(found[0, i]), float(min(low[i], found[0, i])), float(max(high[i], found[0, i])), played[i]
        )
        for i in order
    }


def counts(games: Sequence[Game], models: Sequence[str], prompts: Sequence[str]) -> Array:
    """(prompts, pairs, 3): how often the first of a pair won, tied, lost; pairs as `pairs_of` orders them."""
    pairs = {pair: place for place, pair in enumerate(pairs_of(len(models)))}
    number, row = {model: i for i, model in enumerate(models)}, {prompt: i for i, prompt in enumerate(prompts)}
    table = np.zeros((len(prompts), len(pairs), 3))
    for game in games:
        first, second = number[game.first], number[game.second]
        outcome = round(2 * (1 - game.score))
        if first > second:
            first, second, outcome = second, first, 2 - outcome
        table[row[game.prompt], pairs[first, second], outcome] += 1
    return table


def pairs_of(models: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(models) for j in range(i + 1, models)]


def utilities(models: int) -> Array:
    """(pairs + models, 3, models + 1): what each outcome of each pair takes of the log-strengths and of log ν.

    The last `models` rows are the games against the made-up opponent, whose log-strength is 0.
    """
    against_average = [(i, None) for i in range(models)]
    rows = [*pairs_of(models), *against_average]
    table = np.zeros((len(rows), 3, models + 1))
    for row, (i, j) in enumerate(rows):
        table[row, 0, i] = 1.0
        table[row, 1, i] = 0.5
        if j is not None:
            table[row, 2, j], table[row, 1, j] = 1.0, 0.5
        table[row, 1, models] = 1.0
    return table


def fit(table: Array, models: int) -> Array:
    """Log-strengths and log ν that make the counts most probable, (B, models + 1), for B tables (B, pairs, 3) at once."""
    batch = len(table)
    prior = np.broadcast_to(np.array(PRIOR), (batch, models, 3))
    played = np.concatenate([table, prior], axis=1)  # (B, R, 3)
    totals = played.sum(-1)
    design = utilities(models)
    parameters = np.zeros((batch, models + 1))
    for _ in range(STEPS):
        scores = np.einsum("rop,bp->bro", design, parameters)
        scores -= scores.max(-1, keepdims=True)
        probability = np.exp(scores)
        probability /= probability.sum(-1, keepdims=True)
        expected = probability * totals[..., None]
        gradient = np.einsum("bro,rop->bp", played - expected, design)
        mean = np.einsum("bro,rop->brp", probability, design)
        second = np.einsum("bro,rop,roq->bpq", expected, design, design, optimize=True)
        curvature = second - np.einsum("br,brp,brq->bpq", totals, mean, mean, optimize=True)
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        # Far from the top a whole Newton step may jump too far: no strength moves more than e² at once.
        step *= np.minimum(1.0, 2.0 / np.maximum(np.abs(step).max(-1, keepdims=True), 1e-12))
        parameters += step
        if np.abs(step).max() < CLOSE:
            break
    return parameters


def points(parameters: Array) -> Array:
    """(B, models): Elo points, the mean of the models at 1000."""
    strengths = parameters[:, :-1]
    result: Array = MEAN + POINTS * (strengths - strengths.mean(-1, keepdims=True))
    return result


def as_json(rated: dict[str, Rating]) -> dict[str, Any]:
    return {model: rating.as_json() for model, rating in rated.items()}
