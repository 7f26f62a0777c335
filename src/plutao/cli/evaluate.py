"""`plutao eval`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from plutao.errors import UserError

TASKS = ("exam", "arithmetic")


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The project folder.")] = Path(),
    run: Annotated[
        str | None, typer.Option(metavar="RUN[:STAGE]", help="A run, or a path to a model's folder.")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="The stage, where not the last one.")] = None,
    text: Annotated[
        list[str],
        typer.Option(
            metavar="FILES",
            help="A file, a folder or a quoted pattern; may be repeated. The validation text if left out.",
        ),
    ] = [],  # noqa: B006
    tasks: Annotated[
        list[str],
        typer.Option(metavar="TASK", help="Besides the text: exam, arithmetic; may be repeated."),
    ] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    rankings: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Measure the reward model instead, on rankings: a file, a folder, or a corpus' name."
        ),
    ] = None,
) -> None:
    """Measure a model: bits per byte of any text, with an interval; with --tasks exam, its world's exam too.

    A stage that converses answers the exam's questions in its own words; a base model completes its sentences. With
    --rankings, how often the reward model orders answers as those who ranked them did.
    """
    import json

    if rankings is not None:
        if text or tasks:
            raise UserError(
                "--rankings measures a reward model, which reads no --text and takes no --tasks: leave them out."
            )
        of_rankings(folder, run, stage, rankings, as_json)
        return

    from plutao.evaluate.measure import measure, text_of_files, validation_of, worlds_of
    from plutao.project import resolve_model

    if unknown := [task for task in tasks if task not in TASKS]:
        raise UserError(f"There is no task {unknown[0]!r}. The tasks are: {', '.join(TASKS)}.")
    model = resolve_model(run, folder, stage)
    texts = text_of_files(text) if text else validation_of(model, folder)
    worlds = worlds_of(model) if "exam" in tasks else []
    with reading() as progress:
        measured = measure(model, texts, worlds, progress, sums="arithmetic" in tasks)
    if as_json:
        print(json.dumps(measured.as_json(), ensure_ascii=False, indent=2))
        return
    for line in [*text_lines(measured), *exam_lines(measured), *arithmetic_lines(measured)]:
        print(line)


def of_rankings(root: Path, run: str | None, stage: str | None, rankings: str, as_json: bool) -> None:
    """Measures a reward model on rankings and prints it."""
    import json

    from plutao.evaluate.rankings import measure_rankings
    from plutao.project import resolve_model

    found = measure_rankings(resolve_model(run, root, stage or "reward"), rankings, root)
    print(json.dumps(found, ensure_ascii=False, indent=2) if as_json else "\n".join(rankings_lines(found)))


def rankings_lines(found: dict[str, Any]) -> list[str]:
    """Accuracy beside the longer answer's, by distance in rank where there are several, and the verdict."""
    rows = {"reward model": found["pair_accuracy"], "the longer answer": found["baselines"]["longer"]}
    if len(found["by_distance"]) > 1:
        rows |= {
            f"{distance} rank{'s' * (distance != '1')} apart": share for distance, share in found["by_distance"].items()
        }
    if found["labellers"]["agreement"] is not None:
        rows["another labeller"] = found["labellers"]["agreement"]
    width = max(map(len, rows))
    lines = [f"{found['rankings']}: {found['prompts']:,} prompts; pairs ordered as those who ranked them did:"]
    lines += [f"  {name:<{width}}  {share_in_words(share)}" for name, share in rows.items()]
    if left_out := found["left_out"]:
        lines.append("Left out: " + ", ".join(f"{count:,} × {reason}" for reason, count in left_out.items()) + ".")
    return [*lines, found["verdict"]["why"]]


def reading() -> Any:
    """A live count of the bytes measured, on stderr; gone when done. Use it as a context manager for the callback."""
    from collections.abc import Callable, Iterator
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    @contextmanager
    def live() -> Iterator[Callable[[int], None]]:
        columns = (TextColumn("Measuring"), DownloadColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=None)
            yield lambda size: progress.advance(task, size)

    return live()


def text_lines(measured: Any) -> list[str]:
    """The measure of a text in words, one line a language where there are several."""
    lines = [f"{measured.name}: {in_words(measured.text)}"]
    languages = measured.text.by_language
    return lines + [f"  {language}: {in_words(part)}" for language, part in languages.items() if len(languages) > 1]


def in_words(text: Any) -> str:
    size = f"{text.bytes / 1e6:,.3f} MB in {text.documents:,} documents"
    if text.bits_per_byte is None:
        return f"not comparable in bits per byte ({text.reason}); perplexity {text.perplexity:,.2f} per token; {size}"
    interval = "" if text.low is None else f" ({text.low:.4f}–{text.high:.4f})"
    return f"{text.bits_per_byte:.4f} bits per byte{interval}; perplexity {text.perplexity:,.2f} per token; {size}"


def exam_lines(measured: Any) -> list[str]:
    """The exam as a small table: share right, interval, questions, and what the best constant answer gets; of an assistant
    also how often it admits ignorance and refuses, where that is due and where it is not.
    """
    if measured.exam is None:
        return []
    result = measured.exam.as_json()
    rows = {"exam": result["overall"], **result["by_task"], **result["by_language"]}
    for key, name in (("unknown", "“I don't know”"), ("refusals", "refuses")):
        rows |= {f"{name}, {side.replace('_', ' ')}": share for side, share in result.get(key, {}).items()}
    width = max(map(len, rows))
    return [f"  {name:<{width}}  {share_in_words(share)}" for name, share in rows.items()]


def share_in_words(share: Any) -> str:
    interval = f"({share['low']:.1%}–{share['high']:.1%})"
    floor = f"; the best constant answer: {share['floor']:.1%}" if "floor" in share else ""
    return f"{share['value']:6.1%}  {interval} of {share['n']:,}{floor}"


def arithmetic_lines(measured: Any) -> list[str]:
    """Sums and differences by number of digits, with the calculator and without it."""
    if measured.arithmetic is None:
        return []
    lines = []
    for name, words in (("with", "with the calculator"), ("without", "without it")):
        shares = measured.arithmetic[name]["by_digits"]
        cells = [f"{digits} digit{'s' * (digits != '1')} {share['value']:.0%}" for digits, share in shares.items()]
        lines.append(f"  sums {words}: {', '.join(cells)} (of {next(iter(shares.values()))['n']} each)")
    return lines
