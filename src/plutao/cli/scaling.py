"""`plutao compare --scaling`: a ladder of trainings, and the law of scaling they follow."""

from pathlib import Path
from typing import TYPE_CHECKING

from plutao.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from plutao.evaluate.scaling import Ladder

SIZES, TOKENS = "1m,3m,7m", "250k,500k,1M"


def scaling(
    root: Path, sizes: str | None, tokens: str | None, time: str | None, batches: str | None, as_json: bool
) -> None:
    """Trains what is missing of the ladder in `root`/runs/scaling, then prints and draws all of it."""
    import json

    from rich.console import Console

    console = Console(stderr=True)
    ladder, page = climb(root, sizes or SIZES, tokens, time, batches, console)
    if as_json:
        print(json.dumps(ladder.as_json(), ensure_ascii=False, indent=2))
        return
    for line in lines_of(ladder):
        print(line)
    print(f"Pictures: {page}")


def climb(
    root: Path, sizes: str, tokens: str | None, time: str | None, batches: str | None, console: "Console"
) -> "tuple[Ladder, Path]":
    """Every size at every length and batch; what was trained before is kept, what was begun is resumed."""
    from plutao import pipeline
    from plutao.cli.project import parse_minutes
    from plutao.data.documents import build_documents
    from plutao.data.shards import build_shards
    from plutao.evaluate import scaling
    from plutao.project import only_one
    from plutao.stages import ladder
    from plutao.train.progress import TerminalProgress

    if tokens is not None and time is not None:
        raise UserError("--tokens and --time contradict each other: a ladder has equal tokens or equal time.")
    lengths = [ladder.parse_count(text) for text in (tokens or TOKENS).split(",")]
    minutes = None if time is None else parse_minutes(time)
    project = pipeline.run(root, stage="tokenizer", console=console)
    assert project is not None, "a ladder is climbed by one process"
    documents = build_documents(project.recipe.data, project.recipe.seed, root, project.data / "documents").folder
    tokenizer = project.tokenizer()
    shards = build_shards(documents, tokenizer, project.data / "shards")
    rows = [int(ladder.parse_count(text)) for text in batches.split(",")] if batches else [project.recipe.base.batch]
    with only_one(project):
        for rung in ladder.climbs([preset_of(size) for size in sizes.split(",")], lengths, minutes, rows):
            progress = TerminalProgress(console, rung.name)
            ladder.train(project, documents, shards, tokenizer, rung, progress)
        found = scaling.read(project.runs / "scaling", shards.fingerprint, project.recipe.name)
        return found, scaling.store(found, project.runs / "scaling", project.recipe.report.language)


def preset_of(size: str) -> str:
    """`3m` → plutao-3m; any preset by its name."""
    from plutao.models.presets import PRESETS

    size = size.strip()
    return f"plutao-{size}" if f"plutao-{size}" in PRESETS else size


def lines_of(ladder: "Ladder") -> list[str]:
    """The rungs as a table, then the law."""
    from plutao.evaluate.scaling import formula, loss_of, predicted

    line = "{:<14}{:>13}{:>14}{:>8}{:>12}{:>11}{:>10}{:>15}{:>8}"
    titles = ("size", "parameters", "tokens", "batch", "FLOPs", "seconds", "tokens/s", "bits per byte", "law")
    lines = [line.format(*titles)]
    for card in ladder.cards:
        numbers = (f"{card[key]:,}" for key in ("parameters", "tokens", "batch_tokens"))
        speed = (f"{card['flops']:.2e}", f"{card['seconds']:,.0f}", f"{card['tokens_per_second']:,.0f}")
        losses = (f"{loss_of(card):.3f}", f"{predicted(ladder.law, card):.3f}")
        lines.append(line.format(card["preset"], *numbers, *speed, *losses))
    lines += ["", f"The law: {formula(ladder.law)}, of {ladder.law.source}."]
    if ladder.note:
        return [*lines, f"It is not of these trainings: {ladder.note}"]
    return [*lines, "The dial of this project goes by it from now on (runs/scaling/law.json)."]
