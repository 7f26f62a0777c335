"""The arena: one prompt, two models that nobody names, a vote; then the names (Chiang et al. 2024, "Chatbot Arena").

Ratings are Bradley–Terry's with ties (evaluate/elo.py). Those two meet that met least often, of several at random; who stands
left is drawn. "Both bad" is a tie as far as the two are concerned, and is counted by itself too.
"""

import random
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import ceil, exp, sqrt
from statistics import NormalDist, fmean
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from plutao.errors import UserError
from plutao.evaluate import elo
from plutao.evaluate.elo import Rating
from plutao.evaluate.winrate import Game, effective_number, oriented
from plutao.serve.errors import Refusal
from plutao.serve.judgements import digest_of, turns_of
from plutao.serve.tables.base import now
from plutao.serve.tables.judgements import Battle
from plutao.text.chat import Messages

SCORES = {"left": 1.0, "tie": 0.5, "bad": 0.5, "right": 0.0}
SAMPLES = 400
CONFIDENCE = 0.95
FEW = 10
"""With fewer votes than these nothing is told for sure."""
MOST_NAMED = 100_000
"""Beyond so many votes no number is told: the two are as good as equal."""


@dataclass(frozen=True)
class Difference:
    """How far two neighbours of the table are apart, in Elo points."""

    better: str
    worse: str
    value: float
    low: float
    high: float
    votes: int
    """Between these two."""
    more: int | None
    """About so many votes more, and it is sure, if it stays as it is; 0: it is; None: they are as good as equal."""

    @property
    def sure(self) -> bool:
        return self.low > 0 and self.votes >= FEW

    @property
    def wins(self) -> float:
        """How often the better one is preferred, ties counted half, as the ratings say."""
        return 1 / (1 + exp(-self.value / elo.POINTS))


@dataclass(frozen=True)
class Standings:
    """The arena's table."""

    ratings: dict[str, Rating]
    differences: list[Difference]
    votes: int
    both_bad: int


# ---------------------------------------------------------------------------------------------------------------------
# A battle


def choose_pair(models: Sequence[str], votes: dict[frozenset[str], int], chance: random.Random) -> tuple[str, str]:
    """The two that meet next, who stands left drawn by lot: of the pairs that met least often, one at random.

    Raises:
        UserError: there are fewer than two models.
    """
    if len(models) < 2:
        raise Refusal("The arena needs two models that talk: train another run, or another stage.", "arena_alone")
    all_pairs = [frozenset(pair) for pair in combinations(sorted(models), 2)]
    fewest = min(votes.get(pair, 0) for pair in all_pairs)
    left, right = chance.sample(sorted(chance.choice([p for p in all_pairs if votes.get(p, 0) == fewest])), 2)
    return left, right


def votes_by_pair(db: Session) -> dict[frozenset[str], int]:
    """How often each two models met, votes cast."""
    query = select(Battle.left_model, Battle.right_model, func.count()).where(Battle.vote.is_not(None))
    found: dict[frozenset[str], int] = {}
    for left, right, count in db.execute(query.group_by(Battle.left_model, Battle.right_model)):
        pair = frozenset((left, right))
        found[pair] = found.get(pair, 0) + count
    return found


def prompts_of(db: Session, account: int) -> set[str]:
    """Digests of the prompts that a person has seen here."""
    return set(db.scalars(select(Battle.prompt).where(Battle.account == account)))


def begin(
    db: Session, account: int, messages: Messages, language: str | None, left: tuple[str, str], right: tuple[str, str]
) -> Battle:
    """Keeps two answers; `left` and `right` are (model, answer)."""
    battle = Battle(
        created=now(), account=account, prompt=digest_of(messages), messages=turns_of(messages), language=language,
        left_model=left[0], right_model=right[0], left_answer=left[1], right_answer=right[1],
    )  # fmt: skip
    db.add(battle)
    db.flush()
    return battle


def vote(db: Session, battle: Battle, choice: str) -> None:
    """Keeps a vote, once: who knows the names votes no more.

    Raises:
        UserError: there is no such choice, or the vote was cast.
    """
    if choice not in SCORES:
        raise UserError(f"A vote is left, right, tie or bad, not {choice[:20]!r}.")
    if battle.vote is not None:
        raise Refusal("You have voted on these two answers.", "voted_already")
    battle.vote, battle.voted = choice, now()


def lot() -> random.Random:
    return random.Random(secrets.randbits(64))


# ---------------------------------------------------------------------------------------------------------------------
# The table


def standings(db: Session, language: str | None = None) -> Standings:
    """The table of all votes, or of those on prompts of one language."""
    query = select(Battle).where(Battle.vote.is_not(None)).order_by(Battle.id)
    if language is not None:
        query = query.where(Battle.language == language)
    battles = list(db.scalars(query))
    games = games_of(battles)
    rated = elo.ratings(games, SAMPLES)
    bad = sum(battle.vote == "bad" for battle in battles)
    return Standings(rated, differences(games, list(rated)), len(battles), bad)


def games_of(battles: Iterable[Battle]) -> list[Game]:
    return [
        Game(battle.prompt, battle.left_model, battle.right_model, SCORES[battle.vote])
        for battle in battles
        if battle.vote is not None and battle.left_model != battle.right_model
    ]


def differences(games: Sequence[Game], order: Sequence[str], seed: int = 0) -> list[Difference]:
    """Each model of the table against the next one. Intervals: prompts are drawn again with replacement (Efron 1979)."""
    if len(order) < 2:
        return []
    models = sorted(order)
    prompts = sorted({game.prompt for game in games})
    drawn = np.random.default_rng(seed).multinomial(len(prompts), [1 / len(prompts)] * len(prompts), SAMPLES)
    weights = np.concatenate([np.ones((1, len(prompts))), drawn])
    found = elo.points(elo.fit(np.tensordot(weights, elo.counts(games, models, prompts), axes=1), len(models)))
    return [
        difference(games, better, worse, found[:, models.index(better)] - found[:, models.index(worse)])
        for better, worse in pairwise(order)
    ]


def difference(games: Sequence[Game], better: str, worse: str, points: Any) -> Difference:
    """From the points of the votes as they are (the first) and drawn again (the others)."""
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    value, spread = float(points[0]), float(np.std(points[1:]))
    met = [oriented(game, better).score for game in games if {game.first, game.second} == {better, worse}]
    # Few votes that all agree don't vary when they are drawn again: no difference is surer than the two's own votes say
    spread = max(spread, value / max(surprise(met, z), 1e-9) if met and value > 0 else 0.0)
    return Difference(
        better,
        worse,
        value,
        value - z * spread,
        value + z * spread,
        len(met),
        votes_missing(value, spread, len(met), z),
    )


def surprise(outcomes: Sequence[float], z: float) -> float:
    """How many standard deviations the share of wins is above a half, for as many votes as these are worth."""
    return 2 * (fmean(outcomes) - 0.5) * sqrt(effective_number(outcomes, z))


def votes_missing(value: float, spread: float, votes: int, z: float) -> int | None:
    """The spread shrinks as 1/√votes: n' = n (z · spread / value)² votes make the difference just sure."""
    if value <= 0 or votes == 0:
        return None
    wanted = max(FEW, ceil(votes * (z * spread / value) ** 2))
    return None if wanted > MOST_NAMED else max(0, wanted - votes)
