"""`plutao data`: sources in, clean shards out, what is in them, open corpora by name."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plutao.errors import UserError

if TYPE_CHECKING:
    from plutao.data.card import DataCard
    from plutao.data.matrix import Matrix
    from plutao.data.settings import Source
    from plutao.data.shards import ShardIndex
    from plutao.project import Project
    from plutao.text.tokenizer import Tokenizer

app = typer.Typer(no_args_is_help=True, help="Sources in, clean shards out, what is in them, open corpora by name.")
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Folder = Annotated[Path, typer.Argument(metavar="[DIR]", help="The project folder.")]
RECIPE = "plutao.toml"


# ---------------------------------------------------------------------------------------------------------------------
# add


@app.command()
def add(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DIR] PATH...", help="The project folder, then files, folders or patterns."),
    ] = None,
    corpus: Annotated[list[str] | None, typer.Option(help="A corpus of the catalogue (may be repeated).")] = None,
    name: Annotated[str | None, typer.Option(help="The source's name; left out, from its path.")] = None,
    weight: Annotated[float | None, typer.Option(help="Its share of the mix, relative to the others.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of its documents: pt, en …")] = None,
    license: Annotated[str | None, typer.Option(help="Licence of its text, for the data card.")] = None,
    text_field: Annotated[str | None, typer.Option(help="JSONL, Parquet: the column with the text.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Its files' encoding; left out, found out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add texts to the recipe, once they turned out to be readable; the files stay where they are."""
    from plutao import recipe as recipes
    from plutao.data.adding import append_source, empty_folders, look_at, remove_source
    from plutao.files import write_text

    root, paths = project_and_rest(arguments or [])
    if name is not None and len(paths) + len(corpus or []) > 1:
        raise UserError("--name names one source: add the others by themselves.")
    options = {
        "weight": weight,
        "language": language,
        "license": license,
        "text_field": text_field,
        "encoding": encoding,
    }
    text = (root / RECIPE).read_text(encoding="utf-8-sig")
    present = recipes.parse(text, str(root / RECIPE)).data.sources
    empty = empty_folders(present, root)
    for each in empty:
        text = remove_source(text, each)
    present = tuple(source for source in present if source.name not in empty)
    findings = []
    for source in new_sources(present, root, paths, corpus or [], name, options):
        text = append_source(text, source)
        findings.append(look_at(source, root))
    recipes.parse(text, str(root / RECIPE))
    write_text(root / RECIPE, text)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
        return
    for found in findings:
        encodings = f", {', '.join(found.encodings)}" if found.encodings else ""
        print(f"{found.name}: {found.files:,} file(s), {found.bytes / 1e6:,.2f} MB{encodings}: {found.beginning!r} …")
    for each in empty:
        print(f"{each}: taken out of the recipe, since its folder is empty.")
    print(f"Added to {root / RECIPE}. Now: plutao run {root}")


def project_and_rest(arguments: list[str]) -> tuple[Path, list[str]]:
    """The project folder, where the first argument is one (else this folder), and the other arguments."""
    if arguments and (Path(arguments[0]) / RECIPE).is_file():
        return Path(arguments[0]), arguments[1:]
    if Path(RECIPE).is_file():
        return Path(), arguments
    place = arguments[0] if arguments else "."
    raise UserError(
        f"{place} has no {RECIPE}: `plutao new {place}` makes a project; then plutao data add {place} PATH."
    )


def new_sources(
    present: "tuple[Source, ...]",
    root: Path,
    paths: list[str],
    corpora: list[str],
    name: str | None,
    options: dict[str, Any],
) -> "Iterator[Source]":
    """The sources to add, each with a name of its own.

    Raises:
        UserError: none was named, one is in the recipe already, or a name or value is not right.
    """
    from pydantic import ValidationError

    from plutao.data.adding import name_for, source_path
    from plutao.data.settings import Source

    if not paths and not corpora:
        raise UserError(
            f"Nothing to add: name files, folders or patterns, as in plutao data add {root} texts/, or --corpus."
        )
    taken = {source.name for source in present}
    origins = {source.path or source.corpus: source.name for source in present}
    given = {key: value for key, value in options.items() if value is not None}
    for kind, value in [("path", source_path(path, root)) for path in paths] + [("corpus", each) for each in corpora]:
        if value in origins:
            raise UserError(f"{value} is in the recipe already, as source {origins[value]!r}.")
        if name in taken:
            raise UserError(f"A source called {name!r} is in the recipe already: choose another --name.")
        chosen = name or name_for(value, taken)
        taken.add(chosen)
        try:
            yield Source.model_validate({"name": chosen, kind: value, **given})
        except ValidationError as error:
            problem = error.errors()[0]
            key = "--" + "-".join(str(part) for part in problem["loc"]).replace("_", "-")
            message = problem["ctx"]["error"] if problem["type"] == "value_error" else problem["msg"]
            raise UserError(f"{key} {problem['input']!r}: {message}.") from error


# ---------------------------------------------------------------------------------------------------------------------
# build


@app.command()
def build(
    folder: Folder = Path(),
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read all sources into documents; and into token shards, if the project has a tokenizer."""
    from plutao.project import only_one, open_project

    project = open_project(folder, tuple(set_ or []))
    with only_one(project):
        card = build_card(project)
        tokenizer = project_tokenizer(project)
        shards = None if tokenizer is None else build_tokens(project, card, tokenizer)
    if as_json:
        answer = card.as_json() | {"folder": str(card.folder)}
        answer["shards"] = None if shards is None else shards.as_json() | {"folder": str(shards.folder)}
        print(json.dumps(answer, ensure_ascii=False))
    else:
        print_card(card, shards)


def build_card(project: "Project") -> "DataCard":
    from rich.console import Console

    from plutao.data.documents import build_documents
    from plutao.train.progress import transfer_bar

    with transfer_bar(Console(stderr=True), "documents") as progress:
        return build_documents(
            project.recipe.data, project.recipe.seed, project.root, project.data / "documents", progress
        )


def build_tokens(project: "Project", card: "DataCard", tokenizer: "Tokenizer") -> "ShardIndex":
    from rich.console import Console

    from plutao.data.shards import build_shards
    from plutao.train.progress import transfer_bar

    with transfer_bar(Console(stderr=True), "tokens") as progress:
        return build_shards(card.folder, tokenizer, project.data / "shards", progress)


def project_tokenizer(project: "Project") -> "Tokenizer | None":
    """The tokenizer of the project's current run; None before there is one."""
    from dataclasses import replace

    from plutao.project import current_run, list_runs

    if not list_runs(project.root):
        return None
    current = replace(project, run=current_run(project.root))
    return current.tokenizer() if (current.stage_dir("tokenizer") / "tokenizer.json").is_file() else None


def print_card(card: "DataCard", shards: "ShardIndex | None") -> None:
    """The data card as a table, and what was skipped."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for title, side in (
        ("source", "left"), ("documents", "right"), ("MB", "right"), ("validation MB", "right"), ("tokens", "right"),
        ("languages", "left"), ("licence", "left"),
    ):  # fmt: skip
        table.add_column(title, justify=side)  # type: ignore[arg-type]
    for name, source in card.sources.items():
        tokens = f"{shards.sources[name]['train'].tokens:,}" if shards else "–"
        table.add_row(
            name,
            f"{source.documents:,}",
            f"{source.bytes / 1e6:,.2f}",
            f"{source.validation.bytes / 1e6:,.2f}",
            tokens,
            shares(source.languages),
            shares(source.licenses),
        )
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table)
    for name, source in card.sources.items():
        if source.skipped:
            counts = ", ".join(f"{count:,} × {reason}" for reason, count in source.skipped.items())
            print(f"{name}: passed over {counts}.", *source.skipped_examples[:1])
    print(f"Documents: {card.folder}")
    print(f"Tokens: {shards.folder}" if shards else "Tokens: none yet; `plutao run` trains the tokenizer first.")


def shares(parts: dict[str, float]) -> str:
    """`pt 75%, en 25%`; the name alone where there is one."""
    return next(iter(parts)) if len(parts) == 1 else ", ".join(f"{name} {share:.0%}" for name, share in parts.items())


# ---------------------------------------------------------------------------------------------------------------------
# show


@app.command()
def show(
    folder: Folder = Path(),
    batch: Annotated[int, typer.Option(min=1, help="Rows (B).")] = 4,
    context: Annotated[int, typer.Option(min=1, help="Columns (T).")] = 10,
    text: Annotated[list[str] | None, typer.Option(help="Documents of this file instead of the project's.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="A tokenizer's folder instead of the project's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the (B, T) matrix of token ids that training sees, its text, and one cell with its target."""
    from plutao.text.tokenizer import Tokenizer

    chosen = Tokenizer.load(tokenizer) if tokenizer else None
    matrix = text_matrix(folder, text, chosen, batch, context) if text else shard_matrix(folder, chosen, batch, context)
    if as_json:
        print(json.dumps(asdict(matrix), ensure_ascii=False))
    else:
        print_matrix(matrix)


def text_matrix(folder: Path, files: list[str], tokenizer: "Tokenizer | None", batch: int, context: int) -> "Matrix":
    """Rows of layout `document` from files, with the project's tokenizer where none is given."""
    from plutao.data.documents import texts_of
    from plutao.data.matrix import matrix_of_texts
    from plutao.project import open_project

    chosen = tokenizer or needed_tokenizer(open_project(folder))
    return matrix_of_texts(texts_of(files), chosen, batch, context)


def shard_matrix(folder: Path, tokenizer: "Tokenizer | None", batch: int, context: int) -> "Matrix":
    """The first rows the project's training reads."""
    from plutao.data.matrix import matrix_of_shards
    from plutao.project import open_project

    project = open_project(folder)
    chosen = tokenizer or needed_tokenizer(project)
    shards = build_tokens(project, build_card(project), chosen)
    weights = {source.name: source.weight for source in project.recipe.data.sources}
    recipe = project.recipe
    return matrix_of_shards(shards.open(), weights, chosen, batch, context, recipe.seed, recipe.base.layout)


def needed_tokenizer(project: "Project") -> "Tokenizer":
    tokenizer = project_tokenizer(project)
    if tokenizer is None:
        raise UserError(
            f"{project.root} has no tokenizer yet: `plutao run {project.root} --stage tokenizer` trains one, "
            "or name a ready one with --tokenizer FOLDER."
        )
    return tokenizer


def print_matrix(matrix: "Matrix") -> None:
    """Ids, then the text of each token; the cell's context in yellow, the cell in green, its target in red (Figure 76)."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    cell = matrix.cell
    width = max(len(str(token)) for row in matrix.tokens for token in row)
    console.print(f"(B, T) = ({len(matrix.tokens)}, {len(matrix.tokens[0])})\n")
    for number, row in enumerate(matrix.tokens, start=1):
        line = Text()
        for column, token in enumerate(row, start=1):
            line.append(" ")
            line.append(f"{token:>{width}}", style=style_of(number, column, matrix, token))
        console.print(line, soft_wrap=True)
    console.print()
    for number, texts in enumerate(matrix.texts, start=1):
        line = Text(f"row {number}: ")
        for column, (token, text) in enumerate(zip(matrix.tokens[number - 1], texts, strict=True), start=1):
            line.append("|" if column > 1 else "")
            line.append(visible(text), style=style_of(number, column, matrix, token))
        console.print(line, soft_wrap=True)
    line = Text(f"\nrow {cell.row}, column {cell.column}: after {cell.context_text!r} the target is ")
    line.append(f"{cell.target} {cell.target_text!r}", style="bold red")
    console.print(line, soft_wrap=True)


def style_of(row: int, column: int, matrix: "Matrix", token: int) -> str:
    if row == matrix.cell.row and column <= matrix.cell.column + 1:
        return ("yellow", "bold green", "bold red")[max(0, column - matrix.cell.column + 1)]
    return "dim" if token == matrix.end_of_text else ""


def visible(text: str) -> str:
    """A token's text with its line ends to be seen."""
    return text.replace("\r", "␍").replace("\n", "⏎")


# ---------------------------------------------------------------------------------------------------------------------
# get


@app.command()
def get(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[DIR] NAME...", help="Corpora to fetch; none lists the catalogue.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch open corpora into the project's data/corpora, checked by SHA-256; without names, list them."""
    from rich.console import Console

    from plutao.data import catalogue
    from plutao.train.progress import transfer_bar

    names = arguments or []
    root = Path()
    if names and names[0] not in catalogue.catalogue(root) and Path(names[0]).is_dir():
        root, names = Path(names[0]), names[1:]
    if not names:
        list_corpora(root, as_json)
        return
    fetched = {}
    for name in names:
        with transfer_bar(Console(stderr=True), name) as progress:
            fetched[name] = str(catalogue.get(name, root, progress))
    print(json.dumps(fetched) if as_json else "\n".join(f"{name}: {path}" for name, path in fetched.items()))


def list_corpora(root: Path, as_json: bool) -> None:
    from plutao.data import catalogue

    corpora = catalogue.catalogue(root)
    if as_json:
        print(json.dumps({name: corpus.model_dump() for name, corpus in corpora.items()}, ensure_ascii=False))
        return
    for name, corpus in corpora.items():
        size = f"{corpus.bytes / 1e6:.1f} MB" if corpus.bytes else "size unknown"
        print(f"{name} ({corpus.language}, {size}, {corpus.license}): {corpus.description}")
        print(f"    {corpus.address or f'no single public file; from {corpus.origin}'}")
