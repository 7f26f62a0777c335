"""The rankings that stages reward and dpo learn from: people's, and those of a world's simulated labellers.

Where a source is a world, the SFT model answers each of its questions K times, one written answer is added (the ideal one
or a plausible worse one), and a labeller drawn for the question ranks them; held-out questions are ranked by a second
labeller too, so that it is known how much labellers agree. All rows lie in the stage's rankings.jsonl for people to look
at, and a stage that is resumed reads them there.
"""

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch.distributed as dist

from plutao.data.conversations import lot
from plutao.data.layouts import read_turns
from plutao.data.rankings import Labelled, Ranking, by_prompt, read_rankings, write_rankings
from plutao.data.settings import ExampleSource
from plutao.data.sources.rows import BadRows
from plutao.errors import UserError
from plutao.files import explain, fingerprint, read_json, write_json
from plutao.generate.chat import Chat, load_chat
from plutao.generate.sampling import Sampling
from plutao.project import Project
from plutao.recipe import DpoSettings, Recipe, RewardSettings
from plutao.stages.card import read_card
from plutao.stages.examples import Place, check_sources, identity, places
from plutao.text.chat import Message, Messages
from plutao.train.parallel import World as Processes
from plutao.train.progress import Progress
from plutao.worlds import World, world
from plutao.worlds.contract import Question

FOLDER = "rankings"
"""Below data/: people's own rankings."""
WORLD_COUNT = 2_000
"""Questions of a world that are answered and ranked where the recipe does not say how many."""
CHECKED = 50_000
"""Rankings of a source, at most, that are read to see whether they fit before the stages ahead are trained."""
ANSWER_TOKENS = 128
"""Of an answer that the SFT model writes, at most."""
SLOTS = 64
"""Answers that are written at once."""
AT_ONCE = 256
"""Questions answered between two writes to disk: the most that a kill can cost."""
SHARE_OF_TIME = 0.4
"""Of a stage's minutes, at most so much goes into writing answers."""
Split = Literal["train", "validation"]


@dataclass(frozen=True)
class Rankings:
    """What there is to learn from, and what is kept aside to measure with."""

    train: list[Labelled]
    held_out: list[Labelled]
    skipped: dict[str, int] = field(default_factory=dict)
    """Rows that were no rankings, by what is wrong with them."""

    def demonstrations(self) -> list[tuple[Messages, str]]:
        """(conversation, ideal answer) of each: the written one, or where there is none the answer ranked best."""
        return [(one.ranking.messages, best_of(one.ranking)) for one in [*self.train, *self.held_out]]


def best_of(ranking: Ranking) -> str:
    return ranking.demonstration or ranking.completions[ranking.ranks.index(1)]


def settings_of(recipe: Recipe, stage: str) -> RewardSettings | DpoSettings:
    settings = getattr(recipe, stage)
    assert isinstance(settings, RewardSettings | DpoSettings), f"the recipe has stage {stage}"
    return settings


def sources_of(recipe: Recipe, stage: str) -> tuple[ExampleSource, ...]:
    """The stage's sources; those of stage reward where dpo names none."""
    own = settings_of(recipe, stage).sources
    return own or (recipe.reward.sources if recipe.reward is not None else ())


def check(recipe: Recipe, stage: str, root: Path | None) -> None:
    """Refuses sources that can't be learned from before anything long begins; with the project's folder their rows too.

    Raises:
        UserError: as `check_sources`, or a row that does not fit, where bad rows are refused.
    """
    some = sources_of(recipe, stage)
    check_sources(stage, some, root, FOLDER)
    for place in places(some, root, FOLDER) if root is not None else ():
        if place.path is not None:
            rows = read_rankings(place.path, place, BadRows(recipe.data.bad_rows))
            if next(rows, None) is None:
                raise UserError(f"{place.path} has no ranking: add some, or take it out of [[{stage}.sources]].")
            count = place.source.count if place.source is not None else None
            for _ in islice(rows, min(count or CHECKED, CHECKED)):
                pass


def inputs(project: Project, stage: str) -> str:
    """Names what the rankings depend on: their sources by content, who answers, and the seed."""
    recipe = project.recipe
    answering = recipe.reward or RewardSettings()
    some = places(sources_of(recipe, stage), project.root, FOLDER)
    sft = read_card(project.stage_dir("sft"))["inputs"]
    validation = settings_of(recipe, stage).validation
    how = [answering.answers, answering.temperature, validation, recipe.seed, recipe.data.bad_rows, ANSWER_TOKENS]
    return fingerprint(["rankings", identity(some), sft, how])


def collect(
    project: Project, stage: str, processes: Processes, progress: Progress, minutes: float | None = None
) -> Rankings:
    """The stage's rankings, gathered and written down by the first process, read by all.

    Args:
        minutes: the stage's time; a world's questions that do not fit into their share of it are left out.

    Raises:
        UserError: rows that do not fit (where bad rows are refused), or nothing to learn from.
    """
    out = project.stage_dir(stage)
    wanted = inputs(project, stage)
    if processes.first and not is_there(out, wanted):
        out.mkdir(parents=True, exist_ok=True)
        if not taken_over(project, stage, wanted):
            gather(project, stage, wanted, progress, minutes)
    if processes.size > 1:
        dist.barrier()
    return read_back(out)


def is_there(folder: Path, wanted: str) -> bool:
    """Whether a folder holds the rankings that are wanted, whole."""
    return (folder / "rankings.json").is_file() and read_json(folder / "rankings.json").get("inputs") == wanted


def taken_over(project: Project, stage: str, wanted: str) -> bool:
    """Takes the rankings of stage reward, where they are the same."""
    other = project.stage_dir("reward")
    if stage == "reward" or not is_there(other, wanted):
        return False
    rows = read_back(other)
    store(project.stage_dir(stage), rows, wanted)
    return True


def gather(project: Project, stage: str, wanted: str, progress: Progress, minutes: float | None) -> None:
    """Reads all sources, lets the SFT model answer where it is asked to, and writes everything down."""
    recipe = project.recipe
    bad = BadRows(recipe.data.bad_rows)
    train: list[Labelled] = []
    held_out: list[Labelled] = []
    some = places(sources_of(recipe, stage), project.root, FOLDER)
    within = None if minutes is None else 60 * minutes * SHARE_OF_TIME / max(sum(p.path is None for p in some), 1)
    for place in some:
        if place.path is None:
            found = of_world(project, stage, place, wanted, progress, within)
        else:
            found = of_files(place, settings_of(recipe, stage).validation, recipe.seed, bad)
        train += found.train
        held_out += found.held_out
    if not train or not held_out:
        raise UserError(
            f"Stage {stage} found {len(train) + len(held_out)} rankings, too few to learn from and to measure with: "
            f"name more in [[{stage}.sources]], or rank answers (plutao label)."
        )
    store(project.stage_dir(stage), Rankings(train, held_out, dict(bad.counts)), wanted)
    for name in ("answers.jsonl", "answers.json"):
        (project.stage_dir(stage) / name).unlink(missing_ok=True)
    if bad.counts:
        told = ", ".join(f"{count} × {kind}" for kind, count in bad.counts.items())
        progress.note(f"Rows passed over: {told}.")


def of_files(place: Place, validation: float, seed: int, bad: BadRows) -> Rankings:
    """The rankings of a file or of people's own folder, split by group (where they have one) or by prompt."""
    assert place.path is not None
    count = place.source.count if place.source is not None else None
    found: list[Ranking] = []
    for ranking in read_rankings(place.path, place, bad):
        found.append(ranking)
        if count is not None and len(found) == count:
            break
    labelled = by_prompt(found)
    kept_aside = held_out_groups([group_of(one.ranking) for one in labelled], validation, seed)
    return Rankings(
        [one for one in labelled if group_of(one.ranking) not in kept_aside],
        [one for one in labelled if group_of(one.ranking) in kept_aside],
    )


def group_of(ranking: Ranking) -> Any:
    """What must not be in training and in validation both."""
    return ranking.group if ranking.group is not None else ranking.messages


def held_out_groups(groups: Sequence[Any], share: float, seed: int) -> set[Any]:
    """Groups drawn by the seed until `share` of all rankings is reached; at least one, and never all."""
    sizes = Counter(groups)
    order = sorted(sizes, key=lambda group: lot(as_messages(group), seed))
    chosen: set[Any] = set()
    for group in order[:-1]:
        if chosen and sum(sizes[one] for one in chosen) >= share * len(groups):
            break
        chosen.add(group)
    return chosen


def as_messages(group: Any) -> Messages:
    return (Message("user", group),) if isinstance(group, str) else group


# ---------------------------------------------------------------------------------------------------------------------
# A world's questions, answered and ranked


def of_world(
    project: Project, stage: str, place: Place, wanted: str, progress: Progress, seconds: float | None
) -> Rankings:
    """A world's questions with the SFT model's answers, ranked by its simulated labellers."""
    source = place.source
    assert source is not None and source.world is not None
    recipe = project.recipe
    answering = recipe.reward or RewardSettings()
    there = world(source.world)
    questions = draw_questions(there, source.count or WORLD_COUNT, settings_of(recipe, stage).validation, recipe.seed)
    sampling = Sampling(
        temperature=answering.temperature, n=answering.answers, max_tokens=ANSWER_TOKENS, seed=recipe.seed
    )
    chat = load_chat(project.stage_dir("sft"), slots=SLOTS)
    answers = write_answers(
        chat, [question for question, _ in questions], sampling, project.stage_dir(stage), wanted, progress, seconds
    )
    rankings: dict[Split, list[Ranking]] = {"train": [], "validation": []}
    for (question, split), turns in zip(questions, answers, strict=False):
        second = split == "validation"
        rankings[split] += rank(there, question, turns, place, recipe.seed, second)
    return Rankings(by_prompt(rankings["train"]), by_prompt(rankings["validation"]))


def draw_questions(there: World, count: int, validation: float, seed: int) -> list[tuple[Question, Split]]:
    """Questions of the world's two splits, mixed, so that any beginning of the list has both."""
    kept_aside = max(1, round(count * validation))
    drawn: list[tuple[Question, Split]] = []
    for split, number in (("train", max(1, count - kept_aside)), ("validation", kept_aside)):
        drawn += [(question, split) for question in there.questions(split, number, seed)]  # type: ignore[arg-type, misc]
    random.Random(seed).shuffle(drawn)
    return drawn


def write_answers(
    chat: Chat,
    questions: Sequence[Question],
    sampling: Sampling,
    folder: Path,
    wanted: str,
    progress: Progress,
    seconds: float | None,
) -> list[list[Messages]]:
    """What the model adds to each question's conversation, `sampling.n` times; goes on where it was interrupted.

    Args:
        wanted: names what the answers depend on; those of anything else are written anew.
        seconds: it ends after this time (but never before the first `AT_ONCE` questions), with fewer questions.
    """
    path, started = folder / "answers.jsonl", time.perf_counter()
    if not (folder / "answers.json").is_file() or read_json(folder / "answers.json") != {"inputs": wanted}:
        path.unlink(missing_ok=True)
        write_json(folder / "answers.json", {"inputs": wanted})
    answers = read_answers(path)
    if answers:
        progress.note(f"Answers to {len(answers):,} of {len(questions):,} questions are there already.")
    while len(answers) < len(questions):
        if seconds is not None and answers and time.perf_counter() - started > seconds:
            progress.note(f"There was time for answers to {len(answers):,} of {len(questions):,} questions.")
            break
        some = questions[len(answers) : len(answers) + AT_ONCE]
        replies = chat.answer([question.messages for question in some], sampling)
        new = [[reply.messages for reply in of_one] for of_one in replies]
        append_answers(path, new)
        answers += new
        progress.note(f"The SFT model has answered {len(answers):,} of {len(questions):,} questions.")
    return answers


def append_answers(path: Path, answers: Iterable[Sequence[Messages]]) -> None:
    """A line for each question, on the disk before it returns."""
    lines = [json.dumps([[m.as_json() for m in turns] for turns in of_one], ensure_ascii=False) for of_one in answers]
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise explain(error, path) from error


def read_answers(path: Path) -> list[list[Messages]]:
    """The answers that are whole; a line that a kill cut off is taken away."""
    if not path.is_file():
        return []
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        os.truncate(path, len(whole))
    return [[read_turns(turns) for turns in json.loads(line)] for line in whole.decode().splitlines()]


def rank(
    there: World, question: Question, turns: Sequence[Messages], place: Place, seed: int, second: bool
) -> list[Ranking]:
    """One labeller's ranking of the different answers, and with `second` another's too; none where all are alike."""
    chance = random.Random(f"{seed}/{question.id}/{question.messages[-1].content}")
    worse = there.distractors(question, seed)
    written = [question.ideal, *([chance.choice(worse)] if worse else [])]
    chosen = different([*turns, *((Message("assistant", text),) for text in written)])
    chance.shuffle(chosen)
    if len(chosen) < 2:
        return []
    completions = tuple(answer[-1].content for answer in chosen)
    labellers = chance.sample(list(there.labellers), 2 if second else 1)
    return [
        Ranking(
            messages=question.messages,
            completions=completions,
            ranks=labeller.rank(question, completions, seed),
            id=f"{question.id}/{labeller.name}",
            source=place.name,
            language=question.language,
            license=place.license,
            labeller=f"{labeller.name} (simulated)",
            group=question.id,
            demonstration=question.ideal or None,
            turns=tuple(chosen) if any(len(answer) > 1 for answer in chosen) else (),
        )
        for labeller in labellers
    ]


def different(offered: Sequence[Messages]) -> list[Messages]:
    """Answers that say something, each text once."""
    found: dict[str, Messages] = {}
    for answer in offered:
        if text := answer[-1].content.strip():
            found.setdefault(text, answer)
    return list(found.values())


# ---------------------------------------------------------------------------------------------------------------------
# On disk


def store(folder: Path, rankings: Rankings, wanted: str) -> None:
    """Writes rankings.jsonl, and then what says that it is whole."""
    rows: list[Ranking] = []
    splits: list[Split] = []
    for split, some in (("train", rankings.train), ("validation", rankings.held_out)):
        for one in some:
            rows += one.rankings
            splits += [split] * len(one.rankings)  # type: ignore[list-item]
    write_rankings(rows, folder / "rankings.jsonl", split=splits)
    write_json(folder / "rankings.json", {"inputs": wanted, "skipped": rankings.skipped})


def read_back(folder: Path) -> Rankings:
    """The rankings of a stage's folder."""
    rows: dict[str, list[Ranking]] = {"train": [], "validation": []}
    for line in (folder / "rankings.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows[row["split"]].append(Ranking.from_json(row))
    skipped = read_json(folder / "rankings.json").get("skipped", {})
    return Rankings(by_prompt(rows["train"]), by_prompt(rows["validation"]), skipped)
