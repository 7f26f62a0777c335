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
from plutao.evaluate import arithmetic
from plutao.evaluate.chat_exam import ChatExam, take_chat_exam
from plutao.evaluate.exam import ExamResult, take_exam
from plutao.evaluate.perplexity import BitsPerByte, Document, bits_per_byte
from plutao.evaluate.responders import ChatResponder
from plutao.files import read_json
from plutao.generate.chat import Chat, converses
from plutao.generate.engine import Engine
from plutao.generate.tools import Calculator
from plutao.generate.writer import Writer
from plutao.models.language import DecoderLanguageModel, load_language_model
from plutao.project import run_card
from plutao.text.tokenizer import Tokenizer
from plutao.worlds import World, world

Texts = Callable[[], Iterable[Document]]
"""Gives the documents of a text anew each time it is called."""


@dataclass(frozen=True)
class Measured:
    """A model with what was measured of it, and what its stage says of how it was made (None where it does not)."""

    name: str
    text: BitsPerByte
    exam: ExamResult | ChatExam | None
    """Of an assistant in its own words, of a base model by completion."""
    parameters: int
    tokens: int | None
    seconds: float | None
    data: str | None
    """Names the documents it learned from, where its run says."""
    arithmetic: dict[str, Any] | None = None
    """An assistant's sums {"with", "without"} the calculator, where asked for."""

    def as_json(self) -> dict[str, Any]:
        found = {"model": self.name, **self.text.as_json()}
        if self.exam is not None:
            found["exam"] = self.exam.as_json()
        if self.arithmetic is not None:
            found["arithmetic"] = self.arithmetic
        return found | {"parameters": self.parameters, "trained_tokens": self.tokens, "trained_seconds": self.seconds}


def measure(
    folder: Path,
    texts: Texts,
    worlds: Sequence[World] = (),
    progress: Callable[[int], None] | None = None,
    sums: bool = False,
) -> Measured:
    """Loads the model in `folder`, measures it on the text and, where there are `worlds`, lets it take their exams.

    Args:
        sums: an assistant also calculates, with the calculator and without it.

    Raises:
        UserError: the folder holds no model or tokenizer that can be read, or the text is empty.
    """
    model, tokenizer = load_language_model(folder), Tokenizer.load(folder)
    text = bits_per_byte(model, tokenizer, texts(), progress=progress)
    writes: Engine | Writer = Writer(model, tokenizer)
    if isinstance(model, DecoderLanguageModel):
        writes = Engine(model.decoder, tokenizer, slots=32)
    card = read_json(folder / "stage.json") if (folder / "stage.json").is_file() else {}
    data = run_card(folder.parent).get("data") if (folder.parent / "run.json").is_file() else None
    return Measured(
        name=name_of(folder),
        text=text,
        exam=examined(folder, writes, worlds) if worlds else None,
        parameters=model.count_parameters(),
        tokens=card.get("tokens"),
        seconds=card.get("seconds"),
        data=data,
        arithmetic=calculated(folder, writes) if sums else None,
    )


def examined(folder: Path, engine: Engine | Writer, worlds: Sequence[World]) -> ExamResult | ChatExam:
    """The exams of the worlds: an assistant answers, calculator at hand; a base model completes sentences."""
    seed = seed_of_run(folder)
    if not converses(folder) or isinstance(engine, Writer):
        return take_exam(engine, engine.tokenizer, [item for each in worlds for item in each.exam(seed)])
    assistant = ChatResponder(Chat(engine, (Calculator(),)))
    exams = [take_chat_exam(assistant, each, each.questions("exam", None, seed)) for each in worlds]
    return ChatExam(tuple(answered for exam in exams for answered in exam.answered))


def calculated(folder: Path, engine: Engine | Writer) -> dict[str, Any]:
    """Sums by number of digits, with the calculator and without it.

    Raises:
        UserError: a base model, which can't be asked.
    """
    if not converses(folder) or isinstance(engine, Writer):
        raise UserError(
            f"{name_of(folder)} continues text and can't be asked for sums: name a stage that converses, or leave out "
            "--tasks arithmetic."
        )
    recipe = recipe_of(folder)
    some = arithmetic.problems(recipe.languages if recipe else ("en", "pt"))
    tools = {"with": (Calculator(),), "without": ()}
    return {name: arithmetic.measure(ChatResponder(Chat(engine, those)), some) for name, those in tools.items()}


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


def recipe_of(folder: Path) -> recipes.Recipe | None:
    """The recipe of the run that a model's folder belongs to."""
    path = folder.parent / "recipe.toml"
    return recipes.load(path) if path.is_file() else None


def seed_of_run(folder: Path) -> int:
    recipe = recipe_of(folder)
    return 1 if recipe is None else recipe.seed


def worlds_of(folder: Path) -> list[World]:
    """The worlds that the model's run learned from.

    Raises:
        UserError: the run learned from no world, so there is no exam.
    """
    recipe = recipe_of(folder)
    names = world_names(recipe) if recipe else []
    if not names:
        raise UserError(
            f"{name_of(folder)} learned from no embedded world, so there is no exam for it: leave out --tasks exam."
        )
    return [world(name) for name in names]


def world_names(recipe: recipes.Recipe) -> list[str]:
    """The worlds of a recipe's texts and conversations."""
    sources = [source.world for source in recipe.data.sources]
    sources += [source.world for source in (recipe.sft.sources if recipe.sft else ())]
    return sorted({name for name in sources if name})
