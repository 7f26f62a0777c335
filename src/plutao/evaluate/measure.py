"""One model, measured: which folder, which text, which exam. What `plutao eval` prints and `plutao compare` compares."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plutao import recipe as recipes
from plutao.data.sample import validation_texts
from plutao.data.settings import Source
from plutao.data.sources.find import find_files
from plutao.data.sources.inspect import inspect_file
from plutao.data.sources.rows import BadRows, read_file
from plutao.errors import UserError
from plutao.evaluate.exam import ExamResult, Item, take_exam
from plutao.evaluate.perplexity import BitsPerByte, Document, bits_per_byte
from plutao.files import read_json
from plutao.generate.engine import Engine
from plutao.models.interop.huggingface import load_model
from plutao.project import run_card
from plutao.text.tokenizer import Tokenizer
from plutao.worlds import world

Texts = Callable[[], Iterable[Document]]
"""Gives the documents of a text anew each time it is called."""


@dataclass(frozen=True)
class Measured:
    """A model with what was measured of it, and what its stage says of how it was made (None where it does not)."""

    name: str
    text: BitsPerByte
    exam: ExamResult | None
    parameters: int
    tokens: int | None
    seconds: float | None
    data: str | None
    """Names the documents it learned from, where its run says."""

    def as_json(self) -> dict[str, Any]:
        found = {"model": self.name, **self.text.as_json()}
        if self.exam is not None:
            found["exam"] = self.exam.as_json()
        return found | {"parameters": self.parameters, "trained_tokens": self.tokens, "trained_seconds": self.seconds}


def measure(
    folder: Path, texts: Texts, items: Sequence[Item] = (), progress: Callable[[int], None] | None = None
) -> Measured:
    """Loads the model in `folder`, measures it on the text and, where there are `items`, lets it take the exam.

    Raises:
        UserError: the folder holds no model or tokenizer that can be read, or the text is empty.
    """
    model, tokenizer = load_model(folder), Tokenizer.load(folder)
    text = bits_per_byte(model, tokenizer, texts(), progress=progress)
    exam = take_exam(Engine(model, tokenizer), tokenizer, items) if items else None
    card = read_json(folder / "stage.json") if (folder / "stage.json").is_file() else {}
    data = run_card(folder.parent).get("data") if (folder.parent / "run.json").is_file() else None
    tokens, seconds = card.get("tokens"), card.get("seconds")
    return Measured(name_of(folder), text, exam, model.config.parameters(), tokens, seconds, data)


def name_of(folder: Path) -> str:
    """RUN/STAGE for a stage of a run, else the folder's name."""
    place = folder.resolve()
    return f"{place.parent.name}/{place.name}" if (place.parent / "run.json").is_file() else place.name


# ---------------------------------------------------------------------------------------------------------------------
# Texts and exams


def validation_of(folder: Path, root: Path) -> Texts:
    """The validation text of the run that a model's folder belongs to; of a folder elsewhere, that of the project's own.

    Raises:
        UserError: the run's documents are not there.
    """
    data = run_card(folder.parent).get("data") if (folder.parent / "run.json").is_file() else None
    documents = root / "data" / "documents" / str(data)
    if data is None or not documents.is_dir():
        raise UserError(
            f"The validation text of {name_of(folder)} is not in {root / 'data'}: name a text with --text FILES."
        )
    return lambda: ((part.text, part.language or None) for part in validation_texts(documents))


def text_of_files(paths: Sequence[str], root: Path = Path()) -> Texts:
    """The documents in files, folders and patterns; .jsonl and .parquet rows are documents, other files are one each.

    Raises:
        UserError: nothing is there, or a file can't be read.
    """
    files = [(file, inspect_file(file, None)) for path in paths for file in find_files(path, root)]
    problems = [facts.problem for _, facts in files if facts.problem]
    if problems:
        raise UserError(problems[0])

    def documents() -> Iterator[Document]:
        for file, facts in files:
            source = Source(name="text", path=str(file.path))
            for part, _ in read_file(file, facts.encoding or "utf-8", source, BadRows("refuse")):
                yield part.text, part.language or None

    return documents


def exam_of(folder: Path) -> list[Item]:
    """The exam questions of the worlds that the model's run learned from.

    Raises:
        UserError: the run learned from no world, so there is no exam.
    """
    path = folder.parent / "recipe.toml"
    recipe = recipes.load(path) if path.is_file() else None
    names = sorted({source.world for source in recipe.data.sources if source.world}) if recipe else []
    if recipe is None or not names:
        raise UserError(
            f"{name_of(folder)} learned from no embedded world, so there is no exam for it: leave out --tasks exam."
        )
    return [item for name in names for item in world(name).exam(recipe.seed)]
