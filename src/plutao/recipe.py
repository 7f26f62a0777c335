"""The recipe: everything a run is made of, in one typed file (`plutao.toml`).

What the file promises: every key is known here, with its type, its default and one line of explanation; a wrong key or value
is refused with its line, what was probably meant, and what is allowed; the recipe as resolved is saved beside every result.
"""

import difflib
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import tomlkit
from pydantic import BaseModel, Field, ValidationError, model_validator

from plutao.data.settings import DataSettings, Settings
from plutao.errors import UserError
from plutao.files import fingerprint, write_text

Stage = Literal["tokenizer", "base"]
STAGES: tuple[Stage, ...] = typing.get_args(Stage)
LENGTHS = ("tokens", "steps", "epochs", "minutes")
"""The ways to say how long a stage trains; it takes one."""


class TokenizerSettings(Settings):
    """The tokenizer: how text becomes numbers (the book's section 2.5)."""

    kind: Literal["bpe", "wordpiece", "unigram", "word", "char", "gpt2"] = "bpe"
    """`bpe` works on bytes and gives every text back exactly; `gpt2` loads GPT-2's own vocabulary from `path`."""
    vocabulary: int = Field(default=8192, ge=64, le=1_000_000)
    """Number of tokens, special ones included (kind char takes as many as the text has characters, up to this)."""
    sample_megabytes: float = Field(default=32.0, gt=0)
    """How much text it is trained on (MB), drawn evenly from the whole mix."""
    path: str | None = None
    """A folder with a ready tokenizer: tokenizer.json, or GPT-2's encoder.json and vocab.bpe; relative to the project."""

    @model_validator(mode="after")
    def gpt2_has_files(self) -> typing.Self:
        if self.kind == "gpt2" and self.path is None:
            raise ValueError('kind = "gpt2" needs path, a folder with GPT-2\'s encoder.json and vocab.bpe')
        return self


class ModelSettings(Settings):
    """The model's shape: a preset, and what differs from it (`plutao plan --presets` lists the presets)."""

    preset: str = "plutao-7m"
    """A named shape: plutao-7m, gpt2, gpt3-175b, llama-65b …"""
    context: int = Field(default=256, ge=8)
    """Tokens the model sees at once (T)."""
    layers: int | None = Field(default=None, ge=1)
    """Transformer blocks."""
    width: int | None = Field(default=None, ge=8)
    """Width of the residual stream (d_model)."""
    heads: int | None = Field(default=None, ge=1)
    """Attention heads."""
    kv_heads: int | None = Field(default=None, ge=1)
    """Heads of keys and values; fewer than heads is grouped-query attention."""
    hidden: int | None = Field(default=None, ge=8)
    """Width of the feed-forward layer."""
    qk_norm: bool | None = None
    """Normalise queries and keys per head (as Qwen3 does): steadier at high learning rates."""
    tied: bool | None = None
    """Share the table of embeddings with the output layer."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped while training; useful where the text is seen many times."""


class OptimizerSettings(Settings):
    """How weights move."""

    kind: Literal["muon", "adamw"] = "muon"
    """`muon` orthogonalises the updates of hidden matrices (Jordan et al. 2024; AdamW for the rest); `adamw` for all."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak learning rate of AdamW."""
    matrix_learning_rate: float = Field(default=1e-2, gt=0)
    """Peak learning rate of Muon's matrices, on AdamW's scale (updates are rescaled to AdamW's usual size)."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Decay of matrices, times the learning rate; embeddings, norms and biases do not decay."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's two averages."""
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Muon's momentum (Nesterov)."""
    clip: float = Field(default=1.0, gt=0)
    """Largest global gradient norm; a longer gradient is scaled down to it."""


class ScheduleSettings(Settings):
    """How the learning rate goes up and comes down."""

    kind: Literal["wsd", "cosine", "constant"] = "wsd"
    """`wsd`: warm-up, stable, linear decay (Hu et al. 2024); `cosine`: down along half a cosine (Loshchilov & Hutter 2017)."""
    warmup: float = Field(default=0.02, ge=0, le=0.5)
    """Share of the steps that go up."""
    decay: float = Field(default=0.5, ge=0, le=1)
    """wsd: share of the steps that come down."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Where the rate ends, as a share of its peak."""


class TrainSettings(Settings):
    """A stage that trains: how long, in which bites, how often to look."""

    tokens: int | None = Field(default=None, gt=0)
    """How long: tokens to train on."""
    steps: int | None = Field(default=None, gt=0)
    """How long: optimizer steps."""
    epochs: float | None = Field(default=None, gt=0)
    """How long: times through the training text."""
    minutes: float | None = Field(default=None, gt=0)
    """How long: wall time. The first seconds measure the speed and fix the number of steps; resuming counts what was used."""
    batch: int = Field(default=16, ge=1)
    """Sequences per optimizer step, over all processes."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Sequences computed at once; gradients accumulate over the batch; left out: as much of the batch as memory holds."""
    layout: Literal["stream", "document"] = "stream"
    """Rows of the (B, T) matrix: windows of the stream of documents, or each row starting at a document's beginning."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto`: bf16 through autocast where the machine computes with it, fp32 elsewhere."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile of the repeated block: `auto` where a compiler is found; the first steps take some seconds longer."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of probability the targets give to all other tokens (the book's section 4.6)."""
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    evaluate: int = Field(default=8, ge=0)
    """Validations on the way, evenly spaced, besides the last one."""
    evaluate_tokens: int = Field(default=32_768, gt=0)
    """Validation tokens looked at on the way (the last one sees the whole validation text)."""
    sample_at: tuple[float, ...] = (0.0, 0.02, 0.1, 0.3, 1.0)
    """When samples are written: shares of the training, from gibberish on (the book's BOX 6)."""
    sample_prompts: tuple[str, ...] = ()
    """Texts that the samples continue; left out: the first words of the validation text."""
    sample_tokens: int = Field(default=60, ge=1)
    """Length of a sample in tokens."""
    checkpoint_minutes: float = Field(default=2.0, gt=0)
    """Time between checkpoints: the most that a kill can cost."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Checkpoints kept; the older one serves when the newest is damaged."""
    sinks: tuple[Literal["tensorboard", "trackio"], ...] = ()
    """Where metrics go besides metrics.jsonl."""

    @model_validator(mode="after")
    def one_length(self) -> typing.Self:
        lengths = [key for key in LENGTHS if getattr(self, key) is not None]
        if len(lengths) > 1:
            raise ValueError(f"{' and '.join(lengths)} contradict each other; keep one")
        if self.micro_batch is not None and self.batch % self.micro_batch:
            raise ValueError(f"batch ({self.batch}) must be a multiple of micro_batch ({self.micro_batch})")
        return self


class ReportSettings(Settings):
    """The report at the end."""

    language: Literal["en", "pt"] = "en"
    """Language of the report's own words."""


class Recipe(Settings):
    """Everything a run is made of."""

    name: str = Field(default="my-model", pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name of the recipe; runs are called after it."""
    description: str = ""
    """One line on what this makes."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Start of every random draw: the same seed, data and machine give the same model."""
    languages: tuple[str, ...] = ("en",)
    """Languages of the text, for the report."""
    data: DataSettings = DataSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    model: ModelSettings = ModelSettings()
    base: TrainSettings = TrainSettings(epochs=1.0)
    report: ReportSettings = ReportSettings()

    @property
    def fingerprint(self) -> str:
        """Names the recipe by its content: two recipes with equal settings have equal fingerprints."""
        return fingerprint(self.model_dump(mode="json"))


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe file; `overrides` are `a.b=c` as given to --set, applied on top.

    Raises:
        UserError: no such file, TOML that does not parse, or a wrong key or value, each with its line and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} has no {path.name}: `plutao new {path.parent}` makes a project.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8.") from error
    return parse(text, where=str(path), overrides=overrides)


def parse(text: str, where: str = "recipe", overrides: Sequence[str] = ()) -> Recipe:
    """As `load`, from text; `where` names it in messages."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where} is not valid TOML: {error}.") from error
    for override in overrides:
        apply_override(data, override)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        problems = [describe(problem, text, where, overrides) for problem in error.errors()]
        raise UserError("\n".join(problems)) from error


def shipped() -> dict[str, str]:
    """The recipes inside the package: name → TOML text."""
    folder = resources.files("plutao.recipes")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return {file.name.removesuffix(".toml"): file.read_text(encoding="utf-8") for file in files}


def save(recipe: Recipe, path: Path, every_key: bool = True) -> None:
    """Writes the recipe with its explanations: as resolved, every key set, or with the defaults as comments."""
    write_text(path, render(recipe, every_key))


# ---------------------------------------------------------------------------------------------------------------------
# --set a.b=c


def apply_override(data: dict[str, Any], override: str) -> None:
    """Sets one dotted key; numbers in it pick an element of a list (`data.sources.0.weight=2`)."""
    key, equals, value = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UserError(f"--set {override} is not of the form key=value, as in --set base.batch=32.")
    place: Any = data
    for part in parts[:-1]:
        if isinstance(place, list):
            if not part.isdigit() or int(part) >= len(place):
                raise UserError(f"--set {override}: {part!r} is not one of the {len(place)} elements (count from 0).")
            place = place[int(part)]
        else:
            place = place.setdefault(part, {})
        if not isinstance(place, dict | list):
            raise UserError(f"--set {override}: {part!r} has no keys below it.")
    if isinstance(place, list):
        raise UserError(f"--set {override}: name the element's key, as in data.sources.0.weight=2.")
    if parts[-1] in LENGTHS:  # another length takes the place of the recipe's
        for other in LENGTHS:
            place.pop(other, None)
    place[parts[-1]] = toml_value(value.strip())


def toml_value(text: str) -> Any:
    """`12`, `0.5`, `true`, `[1, 2]` as TOML reads them; anything else is the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


# ---------------------------------------------------------------------------------------------------------------------
# What is wrong, where, and what was meant


def describe(problem: Any, text: str, where: str, overrides: Sequence[str]) -> str:
    """One pydantic problem as one sentence: place, what is wrong, what was meant, what is allowed."""
    location = tuple(problem["loc"])
    dotted = ".".join(str(part) for part in location)
    section, field = section_at(location)
    place = find_place(location, text, where, overrides)
    if problem["type"] == "extra_forbidden" and section is not None:
        known = list(section.model_fields)
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        elsewhere = [".".join(path) for path, _, name in keys_of(Recipe) if name == location[-1]]
        meant = f" Did you mean {close[0]!r}?" if close else f" Did you mean {elsewhere[0]!r}?" if elsewhere else ""
        return f"{place}: unknown key {dotted!r}.{meant} Allowed here: {', '.join(known)}."
    if problem["type"] == "missing":
        return f"{place}: {dotted!r} is missing."
    if problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
        return f"{place}: {message}."
    allowed = f" Allowed: {allowed_values(field)}." if field is not None else ""
    return f"{place}: {dotted} = {problem['input']!r} is not right: {lower_first(problem['msg'])}.{allowed}"


def lower_first(message: str) -> str:
    return message[:1].lower() + message[1:]


def section_at(location: Sequence[Any]) -> tuple[type[BaseModel] | None, Any]:
    """The model class that holds the last key of `location`, and that key's field where it is known."""
    section: type[BaseModel] | None = Recipe
    field = None
    for part in location:
        if isinstance(part, int):
            continue
        if section is None or part not in section.model_fields:
            return section, None
        field = section.model_fields[part]
        inner = model_inside(field.annotation)
        if part != location[-1] or inner is not None:
            section = inner if inner is not None else section
    return section, field


def model_inside(annotation: Any) -> type[BaseModel] | None:
    """The settings class inside an annotation such as `tuple[Source, ...]`, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in typing.get_args(annotation) if (found := model_inside(arg))), None)


def allowed_values(field: Any) -> str:
    """A field's type and bounds, in words."""
    bounds = [bound_in_words(bound) for bound in field.metadata]
    return " ".join([type_in_words(field.annotation), *[bound for bound in bounds if bound]])


def bound_in_words(bound: Any) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    for name, sign in signs.items():
        if (value := getattr(bound, name, None)) is not None:
            return f"{sign} {value}"
    return ""


def type_in_words(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ", ".join(repr(value) for value in args)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(type_in_words(arg) for arg in args if arg is not type(None))
    if origin is tuple:
        inner = [arg for arg in args if arg is not Ellipsis]
        return f"a list of {type_in_words(inner[0])}"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(
        annotation,
        f"a table with {', '.join(annotation.model_fields)}" if model_inside(annotation) else str(annotation),
    )


def find_place(location: Sequence[Any], text: str, where: str, overrides: Sequence[str]) -> str:
    """`file, line 12`, or the --set that brought the value."""
    dotted = ".".join(str(part) for part in location)
    for override in overrides:
        key = override.partition("=")[0].strip()
        if dotted == key or dotted.startswith(f"{key}.") or key.startswith(f"{dotted}."):
            return f"--set {override}"
    line = find_line(location, text)
    return f"{where}, line {line}" if line else where


def find_line(location: Sequence[Any], text: str) -> int | None:
    """The line of a key: tables are followed by their headers, [[tables]] are counted; the nearest enclosing line if the key has none."""
    best: tuple[int, int] | None = None
    for line, path in toml_lines(text):
        shared = len(path) if tuple(location[: len(path)]) == path else 0
        if shared and (best is None or shared > best[0]):
            best = (shared, line)
    return best[1] if best else None


def toml_lines(text: str) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """(line, path of keys) of every header and every key of a TOML text."""
    table: tuple[Any, ...] = ()
    counts: dict[tuple[Any, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", line):
            table = tuple(part.strip().strip("\"'") for part in header[2].split("."))
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            yield number, table
        elif key := re.match(r"\s*([A-Za-z0-9_\"'.-]+)\s*=", line):
            yield number, (*table, *(part.strip("\"'") for part in key[1].split(".")))


def keys_of(section: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """(dotted path, field, name) of every key in a settings class and below."""
    for name, field in section.model_fields.items():
        yield (*path, name), field, name
        if inner := model_inside(field.annotation):
            yield from keys_of(inner, (*path, name))


# ---------------------------------------------------------------------------------------------------------------------
# Writing recipes


def render(recipe: Recipe, every_key: bool = False) -> str:
    """The recipe as commented TOML: set keys as they are, the others as comments with their defaults (or all set, with `every_key`)."""
    lines = [f"# {recipe.description}" if recipe.description else "# A recipe of Plutão."]
    lines += [
        "# Every key is here: those commented out show their defaults. `--set a.b=c` overrides one for a single run.",
        "",
    ]
    lines += section_lines(recipe, (), every_key)
    return "\n".join(lines).rstrip() + "\n"


def section_lines(section: BaseModel, path: tuple[str, ...], every_key: bool) -> Iterator[str]:
    subsections = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if model_inside(field.annotation) is not None:
            subsections.append((name, value))
            continue
        yield f"# {field.description} ({allowed_values(field)})"
        is_set = name in section.model_fields_set or every_key
        if value is None:
            yield f"# {name} ="
        else:
            yield f"{'' if is_set else '# '}{name} = {tomlkit.item(value).as_string()}"
    for name, value in subsections:
        header = ".".join((*path, name))
        if isinstance(value, tuple):
            for element in value:
                yield from ("", f"[[{header}]]")
                yield from section_lines(element, (*path, name), every_key)
        else:
            yield from ("", f"[{header}]", f"# {first_line(type(value))}")
            yield from section_lines(value, (*path, name), every_key)


def first_line(section: type[BaseModel]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]
