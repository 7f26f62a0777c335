"""`plutao compare`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from plutao.errors import UserError


def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="RUN[:STAGE] RUN[:STAGE] …", help="Runs, or paths to model folders.")
    ],
    folder: Annotated[Path, typer.Option("--project", metavar="DIR", help="The project folder.")] = Path(),
    text: Annotated[
        list[str],
        typer.Option(
            metavar="FILES",
            help="A file, a folder or a quoted pattern; may be repeated. The first model's validation text if left out.",
        ),
    ] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure several models on the same text and the same exam, and say which differences are more than chance."""
    import json

    from plutao.cli.evaluate import reading
    from plutao.evaluate.compare import compare as compare_models
    from plutao.evaluate.measure import exam_of, measure, text_of_files, validation_of
    from plutao.project import resolve_model

    if len(models) < 2:
        raise UserError("A comparison needs two models or more: plutao compare RUN[:STAGE] RUN[:STAGE].")
    folders = [resolve_model(model, folder) for model in models]
    texts = text_of_files(text) if text else validation_of(folders[0], folder)
    try:
        items = exam_of(folders[0])
    except UserError:
        items = []  # a run that learned from no world has no exam
    with reading() as progress:
        comparison = compare_models([measure(model, texts, items, progress) for model in folders])
    if as_json:
        print(json.dumps(comparison.as_json(), ensure_ascii=False, indent=2))
        return
    for line in lines_of(comparison):
        print(line)


def lines_of(comparison: Any) -> list[str]:
    """A table of the models, then the verdicts, then what to know before believing them."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("model", "bits per byte", "interval", "exam", "parameters", "tokens", "seconds"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for model in comparison.models:
        text, share = model.text, None if model.exam is None else model.exam.overall
        table.add_row(
            model.name,
            "not comparable" if text.bits_per_byte is None else f"{text.bits_per_byte:.4f}",
            "–" if text.low is None else f"{text.low:.4f}–{text.high:.4f}",
            "–" if share is None else f"{share.value:.1%} ({share.low:.1%}–{share.high:.1%})",
            f"{model.parameters:,}",
            "–" if model.tokens is None else f"{model.tokens:,}",
            "–" if model.seconds is None else f"{model.seconds:,.1f}",
        )
    console = Console(width=160)
    with console.capture() as captured:
        console.print(table)
    verdicts = [f"{pair.first} and {pair.second}, text: {pair.verdict}." for pair in comparison.pairs]
    verdicts += [
        f"{pair.first} and {pair.second}, exam: {pair.exam_verdict}." for pair in comparison.pairs if pair.exam_verdict
    ]
    return [*captured.get().rstrip().splitlines(), "", *verdicts, *comparison.notes]
