"""`plutao compare --family`: the ancestors and the Transformer, trained on the same text for the same time."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from plutao.evaluate.family import Family

TIME = "2m"


def family(root: Path, members: str | None, time: str | None, as_json: bool) -> None:
    """Trains what is missing of the family in `root`/runs/family, then prints and draws all of it."""
    import json

    from rich.console import Console

    from plutao.errors import Interrupted
    from plutao.evaluate.family_page import table_lines

    try:
        found, page, language = gather(root, members, time or TIME, Console(stderr=True))
    except KeyboardInterrupt as error:
        raise Interrupted("Stopped; what was finished is kept. The same command goes on from there.") from error
    if as_json:
        print(json.dumps(found.as_json(), ensure_ascii=False, indent=2))
        return
    for line in table_lines(found, language):
        print(line)
    print(f"\nPage to project: {page}")


def gather(root: Path, members: str | None, time: str, console: "Console") -> "tuple[Family, Path, str]":
    """Each member trained, or kept from before, and measured; the page; its language."""
    from plutao import pipeline
    from plutao.cli.project import parse_minutes
    from plutao.evaluate.family import Family, measure_member, rows_of
    from plutao.evaluate.family_page import store
    from plutao.project import only_one, run_card
    from plutao.stages import family
    from plutao.train.progress import TerminalProgress

    names, minutes = family.members_of(members), parse_minutes(time)
    project = pipeline.run(root, stage="tokenizer", console=console)
    assert project is not None, "a family is trained by one process"
    tokenizer, data, shards = project.tokenizer(), str(run_card(project.run_dir)["data"]), project.shards()
    prompt = family.prompt_of(project)
    rows = rows_of(shards, project.recipe.model.context, tokenizer.end_of_text)
    found, counted = [], None
    with only_one(project):
        for name in names:
            progress = TerminalProgress(console, name)
            try:
                trained = family.train(family.prepared(project, name, minutes, data), name, minutes, progress)
            finally:
                progress.close()
            console.print(
                f"{name}: {'kept from before' if trained.kept else 'trained'}; now measured.", highlight=False
            )
            found.append(measure_member(name, trained.folder, trained.card, rows, prompt, project.recipe.seed))
            counted = trained.folder if name == "ngram" else counted
        text = shards.open("validation").values()
        whole = Family(
            recipe=project.recipe.name,
            minutes=minutes,
            training_tokens=shards.tokens(),
            validation_bytes=sum(shard.info.bytes for shard in text),
            vocabulary=tokenizer.vocabulary_size,
            prompt=prompt,
            members=tuple(found),
        )
        language = project.recipe.report.language
        return whole, store(whole, project.runs / family.FAMILY, counted, language), language
