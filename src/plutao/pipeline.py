"""The stages in order: text in, tokenizer, base model, report. What is done already is not done again."""

import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed as dist
from rich.console import Console

from plutao import project as projects
from plutao.data.card import DataCard
from plutao.data.catalogue import ensure
from plutao.data.documents import build_documents
from plutao.data.shards import ShardIndex, build_shards
from plutao.errors import UserError
from plutao.evaluate.report import build
from plutao.files import write_json
from plutao.project import Project, is_complete, only_one, reuse_stage
from plutao.stages import base, tokenizer
from plutao.stages.card import read_card
from plutao.text.tokenizer import Tokenizer
from plutao.train import parallel
from plutao.train.parallel import World
from plutao.train.progress import Silence, TerminalProgress, clock, transfer_bar

Note = Callable[[str], None]


def run(
    root: Path,
    overrides: tuple[str, ...] = (),
    stage: str | None = None,
    name: str | None = None,
    minutes: float | None = None,
    console: Console | None = None,
) -> Project | None:
    """Runs a project's stages up to `stage` (all by default), resuming whatever was begun, and writes the report.

    Args:
        name: the run to work in; left out, the newest with this recipe and text, else a new one.
        minutes: wall time for all of it; takes the place of the recipe's own length of training.

    Returns:
        The project with its run; None in the processes of a torchrun that only helped to train.

    Raises:
        UserError: anything the user can mend; most of it before long work starts.
        Interrupted: stopped on request, with everything saved.
    """
    started = time.perf_counter()
    if minutes is not None:  # a run says in its own recipe how long it was trained
        overrides = (*overrides, f"base.minutes={minutes:.6g}")
    project = projects.open_project(root, overrides)
    world = parallel.join()
    note: Note = (
        (lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True))
        if console and world.first
        else lambda text: None
    )
    try:
        if not world.first:
            follow(project, world, stage, minutes)
            return None
        with only_one(project):
            projects.sweep(project)
            check(project)
            card, documents = text_in(project, note, console)
            project = projects.choose_run(project, card.fingerprint, name)
            write_json(project.run_dir / "card.json", card.as_json())
            note(f"Run {project.run}: {project.run_dir}")
            made = make_tokenizer(project, documents, card, note)
            if stage == "tokenizer":
                return project
            shards = make_shards(project, documents, made, note, console)
            inputs = base.inputs(project, made, card.fingerprint)
            there = base_is_there(project, inputs, note)
            tell_others(None if there else project.run, world)
            if not there:
                left = None if minutes is None else minutes - (time.perf_counter() - started) / 60
                progress = TerminalProgress(console, "base") if console else Silence()
                base.run(project, documents, shards, inputs, world, progress, left)
            finish(project, note)
            return project
    finally:
        parallel.leave(world)


def check(project: Project) -> None:
    """Everything that can be refused before long work starts: sources, corpora, shapes, memory."""
    if not project.recipe.data.sources:
        raise UserError(
            f"{project.root / projects.RECIPE_FILE} names no text: `plutao data add {project.root} FILES` adds some "
            "(.txt, .md, .jsonl, .parquet)."
        )
    base.check(project.recipe)
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


def make_shards(
    project: Project, documents: Path, made: Tokenizer, note: Note, console: Console | None = None
) -> ShardIndex:
    started = time.perf_counter()
    with transfer_bar(console, "tokens") as progress:
        shards = build_shards(documents, made, project.data / "shards", progress)
    note(f"Tokens: {shards.tokens():,} to train on, in {clock(time.perf_counter() - started)}.")
    return shards


def base_is_there(project: Project, inputs: str, note: Note) -> bool:
    """Whether the base model needs no training, because it is done or can be taken over from another run."""
    if is_complete(project.stage_dir("base"), inputs):
        note(f"Base: done already in run {project.run}.")
        return True
    if other := reuse_stage(project, "base", inputs):
        note(f"Base: taken over from {other}, whose settings and text are the same.")
        return True
    return False


def finish(project: Project, note: Note) -> None:
    """The report, and runs/current; the last lines say what was reached and what to do next."""
    report = build(project.run_dir, project.recipe.report.language)
    projects.make_current(project.root, project.run_dir.name)
    results = read_card(project.stage_dir("base"))
    note(summary(results))
    note(f"Report: {report}")
    note(f'Try: plutao complete {shlex.quote(str(project.root))} --prompt "…"')


def summary(results: dict[str, Any]) -> str:
    measured = results["validation"]
    value, low, high = (measured[key] for key in ("bits_per_byte", "low", "high"))
    worth = (
        f"{value:.3f} bits per byte ({low:.3f}–{high:.3f})" if value is not None else "not comparable in bits per byte"
    )
    exam = results.get("exam")
    share = f", exam {exam['overall']['value']:.0%} of {exam['overall']['n']}" if exam else ""
    return (
        f"Base: {results['parameters'] / 1e6:.1f}M parameters, {results['tokens'] / 1e6:.2f}M tokens in "
        f"{clock(results['seconds'])} ({results['tokens_per_second']:,.0f} tokens/s); {worth}{share}."
    )


# ---------------------------------------------------------------------------------------------------------------------
# Under torchrun the first process prepares; the others wait and then train along


def tell_others(run: str | None, world: World) -> None:
    """Names the run to train in; None where there is nothing to train."""
    if world.size > 1:
        dist.broadcast_object_list([run])


def follow(project: Project, world: World, stage: str | None, minutes: float | None) -> None:
    if stage == "tokenizer":
        return
    message: list[Any] = [None]
    dist.broadcast_object_list(message)
    if message[0] is None:
        return
    project = replace(project, run=message[0])
    card, documents = text_in(project, lambda text: None)
    made = project.tokenizer()
    shards = build_shards(documents, made, project.data / "shards")
    inputs = base.inputs(project, made, card.fingerprint)
    base.run(project, documents, shards, inputs, world, Silence(), minutes)
