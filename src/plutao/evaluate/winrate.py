"""Who wins: two answers to the same prompt, a judge who is not told whose they are, and how often each is preferred.

A comparison has no first and second place that could matter: every judge here gives each answer a score (or a rank) of its own,
and the higher one wins; equal ones are a tie, which counts half to each (the book, section 3.2, Figure 90; Ouyang et al. 2022,
section 4.1).

The interval of a win rate is Wilson's (1927) over prompts, with as many comparisons as the outcomes are worth: ties vary less
than wins and losses do, so n games of which many are ties say as much as more games without them (the effective sample size
of surveys; Franco et al. 2019). Its coverage is tested by simulation.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean
from typing import Any, Protocol

from plutao.evaluate.intervals import Share


@dataclass(frozen=True)
class Game:
    """One comparison: which of two models' answers to a prompt was preferred."""

    prompt: str
    """Its id: comparisons of one prompt depend on each other, and intervals know."""
    first: str
    second: str
    score: float
    """1: the first one's answer was preferred; 0: the second one's; 0.5: a tie."""


@dataclass(frozen=True)
class WinRate:
    """How often `model` is preferred to `opponent`, ties counted half."""

    model: str
    opponent: str
    share: Share
    """Over prompts."""
    wins: int
    ties: int
    losses: int

    def as_json(self) -> dict[str, Any]:
        """{"value", "low", "high", "n"}, n being prompts; then wins, ties and losses."""
        return {**self.share.as_json(), "wins": self.wins, "ties": self.ties, "losses": self.losses}


class Judge(Protocol):
    """Gives each answer a score by itself, not knowing whose it is; the higher, the better."""

    def __call__(self, prompts: Sequence[Any], answers: Sequence[str]) -> list[float]: ...


def play(
    prompts: Sequence[Any], answers: Mapping[str, Sequence[str]], judge: Judge, margin: float = 1e-6
) -> list[Game]:
    """Every model against every other on each prompt.

    Args:
        prompts: each with an `id`.
        answers: of each model, one to each prompt.
        margin: scores no further apart are a tie; the same answer always is.
    """
    scores = {model: judge(prompts, said) for model, said in answers.items()}
    return games_from_scores([prompt.id for prompt in prompts], scores, margin)


def games_from_scores(
    prompts: Sequence[str], scores: Mapping[str, Sequence[float]], margin: float = 1e-6
) -> list[Game]:
    """The games that scores decide: each pair of models once for each prompt."""
    models = sorted(scores)
    return [
        Game(prompt, first, second, decide(scores[first][place], scores[second][place], margin))
        for place, prompt in enumerate(prompts)
        for number, first in enumerate(models)
        for second in models[number + 1 :]
    ]


def decide(first: float, second: float, margin: float) -> float:
    return 0.5 if abs(first - second) <= margin else float(first > second)


class Ranked(Protocol):
    """A person's ranking of several answers; `data.rankings.Ranking` is one."""

    @property
    def messages(self) -> Any: ...
    @property
    def completions(self) -> Sequence[str]: ...
    @property
    def ranks(self) -> Sequence[int]: ...


def games_from_rankings(
    rankings: Iterable[Ranked], prompts: Sequence[Any], answers: Mapping[str, Sequence[str]]
) -> list[Game]:
    """The games that people decided, who saw answers and not models: each ranked text is given back to whoever wrote it.

    Texts that none of the models wrote are passed over; a text that two of them wrote is a tie between these.
    """
    places = {prompt.messages: place for place, prompt in enumerate(prompts)}
    games = []
    for ranking in rankings:
        place = places.get(ranking.messages)
        if place is None:
            continue
        rank = {text.strip(): number for text, number in zip(ranking.completions, ranking.ranks, strict=True)}
        ranked = {model: rank[said[place].strip()] for model, said in answers.items() if said[place].strip() in rank}
        games += games_from_scores([prompts[place].id], {model: [-number] for model, number in ranked.items()})
    return games


def win_rate(games: Iterable[Game], model: str, opponent: str) -> WinRate | None:
    """How often `model` beats `opponent`; None where they never met."""
    met = [oriented(game, model) for game in games if {game.first, game.second} == {model, opponent}]
    if not met:
        return None
    by_prompt: dict[str, list[float]] = {}
    for game in met:
        by_prompt.setdefault(game.prompt, []).append(game.score)
    scores = [game.score for game in met]
    counts = [sum(score == outcome for score in scores) for outcome in (1.0, 0.5, 0.0)]
    return WinRate(model, opponent, share_of([fmean(each) for each in by_prompt.values()]), *counts)


def oriented(game: Game, model: str) -> Game:
    """The same game told from one model's side."""
    return game if game.first == model else Game(game.prompt, game.second, game.first, 1.0 - game.score)


def share_of(outcomes: Sequence[float], confidence: float = 0.95) -> Share:
    """The mean of outcomes between 0 and 1 with Wilson's interval for as many trials as they are worth."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    n, mean = len(outcomes), fmean(outcomes)
    effective = effective_number(outcomes, z)
    centre = (mean + z * z / (2 * effective)) / (1 + z * z / effective)
    half = z * sqrt(mean * (1 - mean) / effective + z * z / (4 * effective**2)) / (1 + z * z / effective)
    return Share(mean, max(0.0, min(centre - half, mean)), min(1.0, max(centre + half, mean)), n)


def effective_number(outcomes: Sequence[float], z: float) -> float:
    """How many wins-or-losses would make a mean as sure as these outcomes do: n where none is a tie, more where some are.

    The variance is the outcomes' own with z² games of a fair coin added (as Wilson's interval adds them): a few ties in a
    row prove nothing.
    """
    n, mean = len(outcomes), fmean(outcomes)
    of_coin = mean * (1 - mean)
    if of_coin == 0:
        return float(n)
    own = (sum((outcome - mean) ** 2 for outcome in outcomes) + z * z / 4) / (n + z * z)
    return n * max(1.0, of_coin / own)


def win_rates(games: Sequence[Game], pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """`sft_over_base` and so on, for those pairs (model, opponent) that met."""
    found = {f"{model}_over_{opponent}": win_rate(games, model, opponent) for model, opponent in pairs}
    return {name: rate.as_json() for name, rate in found.items() if rate is not None}
