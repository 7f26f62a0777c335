"""What every world offers: documents to learn from, and an exam to be graded by."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class WorldDocument:
    """One generated document. `kind` is what sort of text it is (description, story, quiz…)."""

    text: str
    id: str
    language: str
    kind: str


@dataclass(frozen=True, slots=True)
class ExamItem:
    """A question for a model that continues text: `prompt` ends without a space, and the continuation, its leading space
    aside, is right if it begins with one of `answers` and the word ends there (12 is not 1). `choices`, where given, are all
    the answers that the form of the question allows.
    """

    id: str
    task: str
    language: str
    prompt: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()


class World(Protocol):
    """An embedded closed world."""

    @property
    def name(self) -> str: ...
    @property
    def languages(self) -> tuple[str, ...]: ...
    @property
    def license(self) -> str: ...
    def documents(self, megabytes: float, seed: int) -> Iterator[WorldDocument]: ...
    def exam(self, seed: int = 1) -> list[ExamItem]: ...
    def describe(self) -> dict[str, Any]: ...
