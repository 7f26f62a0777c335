"""What a recipe says about its text: where it comes from, in which proportion, what is kept aside to measure with."""

import codecs
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Settings(BaseModel):
    """A section of a recipe: no unknown keys, nothing changed after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Source(Settings):
    """One source of text: exactly one of `path`, `corpus` and `world`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """A short name: letters, digits, `.`, `_`, `-`; it names the source in every table."""
    path: str | None = None
    """A file, a folder or a glob, relative to the project: .txt .md .jsonl .parquet, each also .gz or .zst."""
    corpus: str | None = None
    """A corpus of the catalogue by name (`plutao data get` lists them)."""
    world: str | None = None
    """An embedded world that writes its own text: "solar"."""
    megabytes: float = Field(default=8.0, gt=0)
    """How much text the world writes (MB), before a language is picked; other sources are taken whole."""
    weight: float | None = Field(default=None, gt=0)
    """Share of the mix (the book's Figure 72), for all sources or none; left out: by size, all read equally often."""
    language: str | None = None
    """Language code ("pt", "en") of documents that do not say theirs; of a world, the language that is picked."""
    license: str | None = None
    """Licence of the text, for the data card."""
    text_field: str = "text"
    """JSONL and Parquet: the column that holds the text."""
    id_field: str = "id"
    """JSONL and Parquet: the column that holds a document's name, where there is one."""
    language_field: str = "language"
    """JSONL and Parquet: the column that holds a document's language, where there is one."""
    encoding: str | None = None
    """The files' encoding ("latin-1", "utf-16" …); left out: found out per file, UTF-8 first."""

    @model_validator(mode="after")
    def exactly_one_origin(self) -> Self:
        if sum(origin is not None for origin in (self.path, self.corpus, self.world)) != 1:
            raise ValueError(f"source {self.name!r} needs exactly one of path, corpus and world")
        return self

    @field_validator("encoding")
    @classmethod
    def known_encoding(cls, encoding: str | None) -> str | None:
        try:
            codecs.lookup(encoding or "utf-8")
        except LookupError as error:
            raise ValueError(
                f"{encoding!r} is not an encoding Python knows; utf-8, latin-1, cp1252, utf-16 are"
            ) from error
        return encoding


class ExampleSource(Settings):
    """One source of conversations or of rankings: exactly one of `path`, `corpus` and `world`. The rows' form is found out."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """A short name: letters, digits, `.`, `_`, `-`."""
    path: str | None = None
    """A file, a folder or a glob, relative to the project: .jsonl, .json, .csv or .parquet, each also .gz or .zst."""
    corpus: str | None = None
    """A corpus of the catalogue by name (`plutao data get` lists them)."""
    world: str | None = None
    """An embedded world that writes its own: "solar"."""
    count: int | None = Field(default=None, ge=1)
    """How many a world writes (left out: 10,000); of other sources, the first so many."""
    weight: float | None = Field(default=None, gt=0)
    """Share of the mix, for all sources or none; left out: by size."""
    language: str | None = None
    """Language code ("pt", "en") of rows that do not say theirs."""
    license: str | None = None
    """Licence of the rows; one that forbids commercial use marks the model's card."""
    prompt: str | None = None
    """Conversations from any table: what the user says, as "Traduza: {en}" where a row has a field en; needs `answer`."""
    answer: str | None = None
    """What the assistant answers to `prompt`, as "{pt}"."""
    cut: bool = False
    """Rankings whose texts are too long for the context: cut prompts to their end and answers to their beginning, or leave them out."""

    @model_validator(mode="after")
    def both_sides(self) -> Self:
        if (self.prompt is None) != (self.answer is None):
            raise ValueError(f"source {self.name!r} needs both prompt and answer, or neither")
        return self

    @model_validator(mode="after")
    def exactly_one_origin(self) -> Self:
        if sum(origin is not None for origin in (self.path, self.corpus, self.world)) != 1:
            raise ValueError(f"source {self.name!r} needs exactly one of path, corpus and world")
        return self


class DataSettings(Settings):
    """Text in: sources, mix and split."""

    sources: tuple[Source, ...] = ()
    """Where the text comes from, as [[data.sources]] tables."""
    validation: float = Field(default=0.02, gt=0, lt=0.5)
    """Share of each source's text kept aside for validation."""
    split: Literal["document", "tail"] = "document"
    """Keep aside whole documents, chosen by the seed, or the tail of each (for a corpus of one long text)."""
    bad_rows: Literal["refuse", "skip"] = "refuse"
    """A row or file that can't be read: stop and name it, or count it and go on."""

    @model_validator(mode="after")
    def names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called {twice[0]!r}; each needs a name of its own")
        return self

    @model_validator(mode="after")
    def weights_for_all_or_none(self) -> Self:
        without = [source.name for source in self.sources if source.weight is None]
        if without and len(without) < len(self.sources):
            raise ValueError(
                f"source {without[0]!r} has no weight and others do; give a weight to all sources or to none"
            )
        return self

    @property
    def weights(self) -> dict[str, float | None]:
        """Each source's weight in the mix, by name; None for all where they are read equally often."""
        return {source.name: source.weight for source in self.sources}
