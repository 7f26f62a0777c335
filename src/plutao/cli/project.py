"""`plutao new` and `plutao run`."""

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from plutao.errors import Interrupted, UserError


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    recipe: Annotated[str, typer.Option(help="A recipe that ships with Plutão.")] = "own-text",
) -> None:
    """Make a project folder: a commented plutao.toml and a place for texts."""
    from plutao.project import create

    path = create(folder, recipe)
    print(f"Made {path} from the recipe {recipe}.")
    command = f"plutao run {shlex.quote(str(folder))}"
    if recipe == "own-text":
        print(f"Put texts (.txt, .md, .jsonl, .parquet) into {folder / 'data' / 'sources'}, then: {command}")
    else:
        print(f"Now: {command}")


def run(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The project folder.")] = Path(),
    stage: Annotated[str | None, typer.Option(help="Stop after this stage: tokenizer, base, sft, reward, rl …")] = None,
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the recipe, as base.batch=32.")
    ] = [],  # noqa: B006
    time: Annotated[
        str | None,
        typer.Option(
            metavar="10m", help="Wall time for all of it, as 90s, 10m or 1.5h; chooses the model's size by it."
        ),
    ] = None,
    keep_size: Annotated[bool, typer.Option("--keep-size", help="With --time: keep the recipe's own size.")] = False,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Work in this run.")] = None,
    keep_current: Annotated[
        bool, typer.Option("--keep-current", help="Leave runs/current where it is; another run is promoted later.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON at the end.")] = False,
) -> None:
    """Run the pipeline; what was begun is resumed, what is done is kept; the report comes last."""
    from rich.console import Console

    from plutao import pipeline
    from plutao.recipe import STAGES

    if stage is not None and stage not in STAGES:
        raise UserError(f"There is no stage {stage!r}. The stages are: {', '.join(STAGES)}.")
    minutes = None if time is None else parse_minutes(time)
    try:
        project = pipeline.run(folder, tuple(set_), stage, run, minutes, Console(stderr=True), keep_size, keep_current)
    except KeyboardInterrupt as error:
        raise Interrupted("Stopped; what was finished is kept. The same command goes on from there.") from error
    if as_json and project is not None and (report := project.run_dir / "report.json").is_file():
        print(report.read_text(encoding="utf-8"))


def parse_minutes(text: str) -> float:
    """`90s`, `10m`, `1.5h` in minutes; a bare number is minutes.

    Raises:
        UserError: it is not of that form.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)?\s*", text)
    if match is None or float(match[1]) == 0:
        raise UserError(f"--time {text} is not a time: write 90s, 10m or 1.5h.")
    return float(match[1]) * {"s": 1 / 60, "h": 60.0}.get(match[2] or "m", 1.0)
