"""The stages in order, from text to the report. What is done already is not done again."""

import importlib
import os
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed as dist
from rich.console import Console

from plutao import project as projects
from plutao.data.card import DataCard
from plutao.data.catalogue import ensure
from plutao.data.documents import build_documents
from plutao.data.shards import build_shards
from plutao.errors import UserError
from plutao.evaluate import contest
from plutao.evaluate.report import build
from plutao.files import fingerprint, read_json, write_json
from plutao.project import Project, is_complete, only_one, reuse_stage, whatever_is_in
from plutao.recipe import Recipe, Stage, TrainSettings
from plutao.stages import dial, tokenizer
from plutao.stages.card import read_card
from plutao.stages.held_out import held_out
from plutao.text.tokenizer import Tokenizer
from plutao.train import parallel
from plutao.train.parallel import World
from plutao.train.progress import Silence, TerminalProgress, clock, transfer_bar

Note = Callable[[str], None]
NAMES = {"sft": "SFT", "rl": "RL", "dpo": "DPO", "elmo": "ELMo", "bert": "BERT", "ngram": "n-grams"}
"""How stages are written that are not just called by their names."""
WEIGHTS = {"base": 5.0, "sft": 3.0, "reward": 1.0, "rl": 2.5, "dpo": 1.0}
"""How a time given for everything is shared, where the recipe's stages are not all counted in minutes; others weigh 1."""
CLOSING = 0.08
"""Share kept back for comparing the stages at the end."""


def run(
    root: Path,
    overrides: tuple[str, ...] = (),
    stage: str | None = None,
    name: str | None = None,
    minutes: float | None = None,
    console: Console | None = None,
    keep_size: bool = False,
    keep_current: bool = False,
) -> Project | None:
    """Runs a project's stages up to `stage` (all by default), resuming whatever was begun, and writes the report.

    Args:
        name: the run to work in; left out, the newest with this recipe and text, else a new one.
        minutes: wall time for all of it; takes the place of the recipe's own lengths of training, and chooses the size.
        keep_size: the recipe's own size stays, whatever the time.
        keep_current: runs/current stays where it is, unless there is none yet.

    Returns:
        The project with its run; None in the processes of a torchrun that only helped to train.

    Raises:
        UserError: anything the user can mend; most of it before long work starts.
        Interrupted: stopped on request, with everything saved.
    """
    project = projects.open_project(root, overrides)
    time_left = Allowance(project.recipe, stage, minutes)
    if minutes is not None:  # a run says in its own recipe how long its stages were trained
        project = projects.open_project(root, (*overrides, *time_left.overrides()))
    world = parallel.join()
    note: Note = (
        (lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True))
        if console and world.first
        else lambda text: None
    )
    try:
        if not world.first:
            follow(project, world, time_left)
            return None
        with only_one(project):
            projects.sweep(project)
            check(project)
            project = prepare(project, name, note, console, stage)
            if stage == "tokenizer":
                return project
            base_minutes = time_left.of("base")
            if base_minutes is None:
                project = dial.settled(project)
            else:
                project = dial.settle(project, base_minutes, note, overrides, keep_size, world.size)
            for trained in stages_up_to(project.recipe, stage):
                if not is_there(project, trained, note):
                    tell_others((project.run, trained), world)
                    progress = TerminalProgress(console, trained) if console else Silence()
                    module_of(trained).run(project, world, progress, time_left.of(trained))
                note(in_a_line(trained, read_card(project.stage_dir(trained))))
            finish(project, stage, time_left, note, keep_current)
            return project
    finally:
        if world.first:
            tell_others(None, world)
        parallel.leave(world)


def module_of(stage: str) -> Any:
    """The module of a stage that trains: it has check(recipe, root), inputs(project) and run(project, world, progress, minutes)."""
    return importlib.import_module(f"plutao.stages.{stage}")


def name_of(stage: str) -> str:
    return NAMES.get(stage, stage.capitalize())


def stages_up_to(recipe: Recipe, last: str | None) -> Sequence[Stage]:
    """The stages that train, in their order."""
    wanted = [stage for stage in recipe.stages if stage != "tokenizer"]
    if last is None:
        return wanted
    if last not in wanted:
        raise UserError(
            f"This recipe has no stage {last!r}: it has {', '.join(recipe.stages)}. Add a [{last}] section."
        )
    return wanted[: wanted.index(last) + 1]


def prepare(project: Project, name: str | None, note: Note, console: Console | None, last: str | None) -> Project:
    """The text, the tokenizer and the token shards that the stages read, in a run that is chosen or begun here.

    Stages that bring their own data, as pairs of sentences or images, need none of these; word vectors need the text alone.
    """
    if not project.recipe.reads_text:
        project = projects.choose_run(project, fingerprint([]), name)
        note(f"Run {project.run}: {project.run_dir}")
        return project
    card, documents = text_in(project, note, console)
    project = projects.choose_run(project, card.fingerprint, name)
    write_json(project.run_dir / "card.json", card.as_json())
    note(f"Run {project.run}: {project.run_dir}")
    if "tokenizer" not in project.recipe.stages:
        return project
    made = make_tokenizer(project, documents, card, note)
    if last != "tokenizer":
        make_shards(project, documents, made, note, console)
    return project


class Allowance:
    """Shares a given wall time among the stages: by the minutes of the recipe where all have some, else by weights that
    served well. What one stage leaves or overdraws falls to those that follow.
    """

    def __init__(self, recipe: Recipe, last: str | None, minutes: float | None) -> None:
        self.minutes, self.started = minutes, time.perf_counter()
        stages = [] if last == "tokenizer" else stages_up_to(recipe, last)
        self.in_minutes = [stage for stage in stages if isinstance(getattr(recipe, stage), TrainSettings)]
        own: list[Any] = [getattr(getattr(recipe, stage), "minutes", None) for stage in stages]
        weights: list[float] = own if all(own) else [WEIGHTS.get(stage, 1.0) for stage in stages]
        self.weights: dict[str, float] = dict(zip(stages, weights, strict=True))
        closing = CLOSING * sum(self.weights.values()) if len(stages) > 1 else 0.0
        self.weights["closing"] = closing

    def overrides(self) -> tuple[str, ...]:
        """What the recipe says of the stages' lengths, as --set would."""
        assert self.minutes is not None
        whole = sum(self.weights.values())
        return tuple(
            f"{stage}.minutes={self.minutes * weight / whole:.6g}"
            for stage, weight in self.weights.items()
            if stage in self.in_minutes
        )

    def of(self, stage: str) -> float | None:
        """Minutes for a stage that starts now, its measuring included; None where the recipe's own length counts, or there
        is no such stage.
        """
        if self.minutes is None or stage not in self.weights:
            return None
        left = self.minutes - (time.perf_counter() - self.started) / 60
        names = list(self.weights)
        to_come = sum(self.weights[name] for name in names[names.index(stage) :])
        return left * self.weights[stage] / to_come


def check(project: Project) -> None:
    """Everything that can be refused before long work starts: sources, corpora, shapes, memory."""
    if project.recipe.reads_text:
        check_sources(project)
    for stage in stages_up_to(project.recipe, None):
        module_of(stage).check(project.recipe, project.root)


def check_sources(project: Project) -> None:
    if not project.recipe.data.sources:
        raise UserError(
            f"{project.root / projects.RECIPE_FILE} names no text: `plutao data add {project.root} FILES` adds some "
            "(.txt, .md, .jsonl, .parquet)."
        )
    ensure(project.recipe.data, project.root)


def text_in(project: Project, note: Note, console: Console | None = None) -> tuple[DataCard, Path]:
    """The documents of all sources, split into training and validation; reused where nothing changed."""
    started = time.perf_counter()
    with transfer_bar(console, "text") as progress:
        card = build_documents(
            project.recipe.data, project.recipe.seed, project.root, project.data / "documents", progress
        )
    count = sum(source.documents for source in card.sources.values())
    note(f"Text: {count:,} documents, {card.bytes / 1e6:,.1f} MB, in {clock(time.perf_counter() - started)}.")
    return card, card.folder


def make_tokenizer(project: Project, documents: Path, card: DataCard, note: Note) -> Tokenizer:
    inputs = tokenizer.inputs(project, card.fingerprint)
    if is_complete(project.stage_dir("tokenizer"), inputs):
        return project.tokenizer()
    if other := reuse_stage(project, "tokenizer", inputs):
        note(f"Tokenizer: taken over from {other}, whose settings and text are the same.")
        return project.tokenizer()
    return tokenizer.run(project, documents, inputs, note)


def make_shards(project: Project, documents: Path, made: Tokenizer, note: Note, console: Console | None = None) -> None:
    """Token shards of the documents, where the stages find them."""
    started = time.perf_counter()
    with transfer_bar(console, "tokens") as progress:
        shards = build_shards(documents, made, project.data / "shards", progress)
    note(f"Tokens: {shards.tokens():,} to train on, in {clock(time.perf_counter() - started)}.")


def is_there(project: Project, stage: Stage, note: Note) -> bool:
    """Whether a stage needs no training, because it is done or can be taken over from another run."""
    inputs = module_of(stage).inputs(project)
    if is_complete(project.stage_dir(stage), inputs):
        note(f"{name_of(stage)}: done already in run {project.run}.")
        return True
    if other := reuse_stage(project, stage, inputs):
        note(f"{name_of(stage)}: taken over from {other}, whose settings and text are the same.")
        return True
    begin(project.stage_dir(stage), inputs)
    return False


def begin(folder: Path, inputs: str) -> None:
    """Leaves what a training was begun from beside it. One begun from something else, such as fewer rankings of people's or
    a model that was trained anew since, is not gone on with.
    """
    path = folder / "begun.json"
    made_from = [whatever_is_in(file).get("inputs") for file in (path, folder / "stage.json")]
    if any(other not in (None, inputs) for other in made_from):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    write_json(path, {"inputs": inputs})


def finish(project: Project, stage: str | None, time_left: Allowance, note: Note, keep_current: bool = False) -> None:
    """The comparison of the stages, the report, and runs/current; the last lines say what to do next."""
    compare(project, time_left, note)
    report = build(project.run_dir, project.recipe.report.language)
    if not (keep_current and os.path.lexists(project.runs / "current")):
        projects.make_current(project.root, project.run_dir.name)
    note(f"Report: {report}")
    place = shlex.quote(str(project.root))
    done = stages_up_to(project.recipe, stage)
    if "sft" in done:
        note(f"Try: plutao chat {place}")
    elif "base" in done:
        note(f'Try: plutao complete {place} --prompt "…"')
    else:
        note("\n".join(f"Try: {module_of(one).TRY.format(place=place)}" for one in done))


def compare(project: Project, time_left: Allowance, note: Note) -> None:
    """Blind comparisons of what the stages answer, judged by the world of the conversations, else by the reward model where
    there is one; not again where nothing changed.
    """
    recipe = project.recipe
    there = [stage for stage in recipe.stages if (project.stage_dir(stage) / "stage.json").is_file()]
    worlds = [source.world for source in recipe.sft.sources if source.world] if recipe.sft else []
    if "sft" not in there or not recipe.report.comparisons or not (worlds or "reward" in there):
        return
    made_of = fingerprint(
        [[read_card(project.stage_dir(stage))["inputs"] for stage in there], recipe.report.comparisons]
    )
    path = project.run_dir / "comparisons.json"
    if path.is_file() and read_json(path).get("made_of") == made_of:
        return
    minutes = time_left.of("closing")
    seconds = None if minutes is None else 60 * minutes
    if worlds:
        found = contest.run(project, worlds[0], note, seconds)
    else:
        asked, examples = held_out(project.stage_dir("sft"), recipe.model.context)
        if not asked:
            return
        found = contest.run(project, None, note, seconds, asked=asked, examples=examples)
    write_json(path, {"made_of": made_of, **found})


def in_a_line(stage: str, card: dict[str, Any]) -> str:
    """What a stage came to."""
    if "in_a_line" in card:
        return f"{name_of(stage)}: {card['in_a_line']}"
    parts = [
        f"{card['parameters'] / 1e6:.1f}M parameters, {card['tokens'] / 1e6:.2f}M tokens in {clock(card['seconds'])} "
        f"({card['tokens_per_second']:,.0f} tokens/s)"
    ]
    measured = card.get("validation", {})
    if (value := measured.get("bits_per_byte")) is not None:
        parts.append(f"{value:.3f} bits per byte ({measured['low']:.3f}–{measured['high']:.3f})")
    elif stage == "base":
        parts.append("not comparable in bits per byte")
    if exam := card.get("exam"):
        parts[-1] += f", exam {exam['overall']['value']:.0%} of {exam['overall']['n']}"
    if accuracy := card.get("pair_accuracy"):
        parts.append(f"{accuracy['value']:.0%} of {accuracy['n']} held-out pairs ordered as people did")
    if verdict := card.get("verdict"):
        parts.append(verdict["why"].rstrip("."))
    if "reward_after" in card:
        parts.append(
            f"reward {card['reward_before']:.2f} → {card['reward_after']:.2f}, KL {card['kl']:.1f} nats per answer"
        )
    return f"{name_of(stage)}: {'; '.join(parts)}."


# ---------------------------------------------------------------------------------------------------------------------
# Under torchrun the first process prepares; the others wait and then train along


def tell_others(task: tuple[str | None, str] | None, world: World) -> None:
    """Names the run and the stage to train; None where there is nothing more to train."""
    if world.size > 1:
        dist.broadcast_object_list([task])


def follow(project: Project, world: World, time_left: Allowance) -> None:
    """Trains along whatever the first process names."""
    message: list[Any] = [None]
    while True:
        dist.broadcast_object_list(message)
        if message[0] is None:
            return
        run, stage = message[0]
        chosen = dial.settled(replace(project, run=run))
        module_of(stage).run(chosen, world, Silence(), time_left.of(stage))
