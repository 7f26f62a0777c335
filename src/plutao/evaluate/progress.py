"""Did it get better? A new run against the one before it, measured on what neither has learned from.

Two measures. The answers: the last stages of both answer the same prompts, and a judge who is not told whose answers they are
prefers some. The reward models: how often each agrees with people's rankings that both were kept from, and about how many
more rankings it would take until that difference is sure.
"""

import json
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from plutao.data.rankings import Labelled, by_prompt, read_rankings
from plutao.errors import UserError
from plutao.evaluate.intervals import Difference, paired_difference
from plutao.evaluate.measure import name_of, worlds_of
from plutao.evaluate.preference import Judged, accuracy, comparisons, judge, win
from plutao.evaluate.versus import People, versus
from plutao.files import read_json, write_json
from plutao.models.reward import load_reward, score_answers
from plutao.project import resolve_model
from plutao.text.tokenizer import Tokenizer

FILE = "against.json"
PROMPTS = 120
MOST_NAMED = 100_000
"""Beyond so many rankings no number is told."""


def weigh(root: Path, before: str, after: str, prompts: int = PROMPTS) -> dict[str, Any]:
    """Measures run `after` against run `before` and keeps what came of it in the folder of `after`.

    Raises:
        UserError: one of them has no model that answers.
    """
    found = {
        "before": before,
        "after": after,
        "answers": of_answers(root, before, after, prompts),
        "rewards": of_rewards(root / "runs" / before, root / "runs" / after),
    }
    write_json(root / "runs" / after / FILE, found)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Answers


def of_answers(root: Path, before: str, after: str, most: int) -> dict[str, Any] | None:
    """How often the new run's answers are preferred; None where nothing could judge or be asked."""
    folders = [resolve_model(name, root) for name in (before, after)]
    try:
        worlds = worlds_of(folders[0])
    except UserError:
        worlds = []
    if worlds:
        contest = versus(folders, worlds, root, None, None, most)
    else:
        contest = by_old_reward_model(root, folders, before, after, most)
    if contest is None:
        return None
    rate = contest["win_rates"].get(f"{name_of(folders[1])}_over_{name_of(folders[0])}")
    same = rate is not None and rate["ties"] == rate["n"]
    return {"judge": contest["judge"], "prompts": contest["prompts"], "win_rate": rate, "same": same}


def by_old_reward_model(
    root: Path, folders: Sequence[Path], before: str, after: str, most: int
) -> dict[str, Any] | None:
    """Without a world: the prompts that people ranked, judged by the old run's reward model, which the new run did not
    learn to please.
    """
    rankings = root / "runs" / after / "reward" / "rankings.jsonl"
    if not rankings.is_file() or not (root / "runs" / before / "reward" / "config.json").is_file():
        return None
    return versus(folders, [], root, rankings, f"{before}:reward", most)


# ---------------------------------------------------------------------------------------------------------------------
# Reward models


def of_rewards(before: Path, after: Path) -> dict[str, Any] | None:
    """Both reward models on the rankings kept aside from both; None where there are none, or only one reward model."""
    if not all(
        (run / "reward" / name).is_file() for run in (before, after) for name in ("config.json", "rankings.jsonl")
    ):
        return None
    learned = {prompt_of(one) for one in rankings_of(before / "reward", "train")}
    asked = [one for one in rankings_of(after / "reward", "validation") if prompt_of(one) not in learned]
    if not asked:
        return None
    judged = [judged_by(run / "reward", asked) for run in (before, after)]
    shares = [accuracy(some) for some in judged]
    if shares[0] is None or shares[1] is None:
        return None
    difference = agreement_difference(judged[0], judged[1])
    everything = sum(1 for _ in rankings_of(after / "reward", None))
    return {
        "before": shares[0].as_json(),
        "after": shares[1].as_json(),
        "difference": None if difference is None else difference.as_json(),
        "rankings": everything,
        "kept_aside": len(asked),
        "more_rankings": rankings_missing(difference, everything),
    }


def rankings_of(folder: Path, split: str | None) -> list[Labelled]:
    """The rankings that a stage used: those of one split, or all."""
    rows = list(read_rankings(folder / "rankings.jsonl", People()))
    splits = split_of_rows(folder / "rankings.jsonl")
    return by_prompt(one for one, own in zip(rows, splits, strict=True) if split in (None, own))


def split_of_rows(path: Path) -> list[str]:
    return [str(json.loads(line).get("split")) for line in path.read_text(encoding="utf-8").splitlines()]


def prompt_of(one: Labelled) -> Any:
    return one.ranking.messages


def judged_by(folder: Path, asked: Sequence[Labelled]) -> list[Judged]:
    """What a reward model makes of the rankings; those too long for it count as ties."""
    tokenizer = Tokenizer.load(folder)
    model = load_reward(folder, tokenizer)
    found = []
    for one in asked:
        texts = one.ranking.completions
        try:
            rewards = score_answers(model, tokenizer, [one.ranking.messages] * len(texts), texts).tolist()
        except UserError:
            rewards = [0.0] * len(texts)
        found.append(judge(one, range(len(texts)), rewards))
    return found


def agreement_difference(before: Sequence[Judged], after: Sequence[Judged]) -> Difference | None:
    """How much more often the new reward model agrees with people; prompts are drawn for both at once."""
    right = [[sum(c.share * win(one.rewards[c.better], one.rewards[c.worse]) for c in comparisons(one)) for one in some]
             for some in (before, after)]  # fmt: skip
    all_of_them = [sum(c.share for c in comparisons(one)) for one in after]
    return paired_difference(right[0], right[1], all_of_them)


def rankings_missing(difference: Difference | None, rankings: int) -> int | None:
    """About so many more rankings, of which the same share is kept aside, and the difference is sure if it stays as it is:
    its interval shrinks as 1/√n. None where no difference shows, 0 where it is sure.
    """
    if difference is None or difference.value == 0:
        return None
    if difference.decided:
        return 0
    half = (difference.high - difference.low) / 2
    wanted = ceil(rankings * (half / abs(difference.value)) ** 2)
    return None if wanted - rankings > MOST_NAMED else max(1, wanted - rankings)


def read(root: Path, run: str) -> Mapping[str, Any] | None:
    """What `weigh` kept of a run; None where it was not measured."""
    path = root / "runs" / run / FILE
    return read_json(path) if path.is_file() else None
