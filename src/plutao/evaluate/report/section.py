"""A section of the report, which the templates lay out alike: what it is, sentences, pictures with their tables, tables, answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plutao.evaluate.report.exhibits import Exhibit
from plutao.evaluate.report.numbers import Numbers

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows under a heading of their own; a heading may be empty."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]
    names: int = 1
    """Columns at the left that hold names, not numbers."""


@dataclass(frozen=True)
class Answers:
    """A prompt with several answers, each with who gave it."""

    prompt: str
    answers: list[tuple[str, str]]


@dataclass(frozen=True)
class Strip:
    """A text in coloured tokens, with their ids; the same as a table."""

    title: str
    note: str
    tokens: list[tuple[str, str, str]]
    """(what it shows, its id, its colour)."""
    columns: list[str]
    rows: list[list[str]]


@dataclass
class Section:
    """A part of the report under one heading."""

    id: str
    title: str
    note: str
    shows: str
    paragraphs: list[str] = field(default_factory=list)
    large: list[Exhibit] = field(default_factory=list)
    small: list[Exhibit] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    answers_title: str = ""
    answers: list[Answers] = field(default_factory=list)
    stage: str = ""
    """Whose it is; without one it stands after all stages."""
    folded: list[Exhibit] = field(default_factory=list)
    """Pictures behind a line that opens them."""
    folded_title: str = ""
    wrong: list[Facts] = field(default_factory=list)
    """An exam's wrong answers: task, prompt, expected, answered."""
    tables_last: bool = False
    """Whether the pictures come before the tables."""
    strip: "Strip | None" = None

    @property
    def wrong_rows(self) -> list[list[str]]:
        return [[item[key] for key in ("task", "prompt", "expected", "answered")] for item in self.wrong]


def interval(share: Mapping[str, float], form: Numbers) -> str:
    return f"{form.percent(share['low'])} – {form.percent(share['high'])}"


def dropped(row: list[str], place: int) -> list[str]:
    return [*row[:place], *row[place + 1 :]]


def cell(share: Mapping[str, float] | None, form: Numbers) -> str:
    return "–" if share is None else f"{form.percent(share['value'])} ({interval(share, form)})"
