"""`plutao compare`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from plutao.errors import UserError


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN[:STAGE] RUN[:STAGE] …",
            help="Runs, or paths to model folders; with --scaling or --family, a project folder.",
        ),
    ] = [],  # noqa: B006
    folder: Annotated[Path, typer.Option("--project", metavar="DIR", help="The project folder.")] = Path(),
    text: Annotated[
        list[str],
        typer.Option(
            metavar="FILES",
            help="A file, a folder or a quoted pattern; may be repeated. The first model's validation text if left out.",
        ),
    ] = [],  # noqa: B006
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prompts to answer, instead of the world's exam questions; with --judge."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="RUN[:reward] | RANKINGS.jsonl",
            help="Who judges the answers: a reward model, or people who ranked a run's answers.jsonl. The world's rule if left out.",
        ),
    ] = None,
    answers: Annotated[int, typer.Option(min=0, help="Prompts on which answers are compared at most; 0: none.")] = 300,
    scaling: Annotated[
        bool,
        typer.Option("--scaling", help="Train a ladder of sizes; loss against size, tokens and FLOPs, and their law."),
    ] = False,
    sizes: Annotated[str | None, typer.Option(metavar="1m,3m,7m", help="With --scaling: which sizes.")] = None,
    tokens: Annotated[
        str | None, typer.Option(metavar="250k,500k,1M", help="With --scaling: how many tokens each is trained on.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(metavar="2m", help="With --scaling, or --family (2m): how long each is trained.")
    ] = None,
    batches: Annotated[str | None, typer.Option(metavar="8,16", help="With --scaling: rows a step.")] = None,
    family: Annotated[
        bool,
        typer.Option("--family", help="Train n-grams, MLP, RNN, GRU, LSTM and Transformer on the same text."),
    ] = False,
    members: Annotated[
        str | None, typer.Option(metavar="ngram,lstm,decoder", help="With --family: which of them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure several models side by side, and say which differences are more than chance.

    The same text and the same exam for all; where one of them converses, their answers to held-out prompts are compared
    blindly too: win rates and ratings.
    """
    import json

    from plutao.cli.evaluate import reading
    from plutao.cli.family import family as meet
    from plutao.cli.scaling import scaling as climb
    from plutao.evaluate.compare import compare as compare_models
    from plutao.evaluate.measure import measure, text_of_files, validation_of, worlds_of
    from plutao.evaluate.versus import versus
    from plutao.project import resolve_model

    if family:
        meet(Path(models[0]) if models else folder, members, time, as_json)
        return
    if scaling:
        climb(Path(models[0]) if models else folder, sizes, tokens, time, batches, as_json)
        return
    if len(models) < 2:
        raise UserError("A comparison needs two models or more: plutao compare RUN[:STAGE] RUN[:STAGE].")
    folders = [resolve_model(model, folder) for model in models]
    texts = text_of_files(text) if text else validation_of(folders[0], folder)
    try:
        worlds = worlds_of(folders[0])
    except UserError:
        worlds = []  # a run that learned from no world has no exam
    with reading() as progress:
        measured = [measure(model, texts, worlds, progress) for model in folders]
    contest = versus(folders, worlds, folder, prompts, judge, answers)
    comparison = compare_models(measured, contest)
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
    lines = [*captured.get().rstrip().splitlines(), "", *verdicts, *comparison.notes]
    return lines + (contest_lines(comparison.contest) if comparison.contest else [])


def contest_lines(contest: Any) -> list[str]:
    """Win rates, ratings and variety of the answers, a line each."""
    judge = {
        "rule": "the world's written rule (its labellers are simulated)",
        "reward": "a reward model",
        "people": "people",
    }
    lines = ["", f"Answers to {contest['prompts']} held-out prompts, judged blindly by {judge[contest['judge']]}:"]
    for name, rate in contest["win_rates"].items():
        model, _, opponent = name.partition("_over_")
        interval = f"({rate['low']:.1%}–{rate['high']:.1%})"
        counts = f"{rate['wins']} won, {rate['ties']} ties, {rate['losses']} lost"
        lines.append(f"  {model} over {opponent}: {rate['value']:.1%} {interval}; {counts}")
    for name, rating in contest["ratings"].items():
        lines.append(f"  rating of {name}: {rating['value']:,.0f} ({rating['low']:,.0f}–{rating['high']:,.0f})")
    for name, found in contest.get("diversity", {}).items():
        same, entropy = found["self_similarity"]["value"], found.get("entropy", {}).get("value")
        bits = "" if entropy is None else f", {entropy:.2f} bits a token"
        lines.append(f"  variety of {name}: two answers to a prompt share {same:.0%}{bits}")
    return lines
