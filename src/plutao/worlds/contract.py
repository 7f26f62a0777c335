"""What every world offers: documents and dialogues to learn from, questions to be graded by, and simulated labellers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from plutao.text.chat import Messages


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


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation to learn from; it ends with the assistant. `kind` is what it is about (fact, arithmetic, refusal…)."""

    messages: Messages
    id: str
    language: str
    kind: str


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation that waits for the assistant's answer, and what a right answer is."""

    id: str
    task: str
    language: str
    """Of the answer that is due."""
    messages: Messages
    """They end with the user."""
    behaviour: Literal["answer", "unknown", "refuse"] = "answer"
    """What is due: an answer, honest ignorance, or a polite refusal."""
    answers: tuple[str, ...] = ()
    """Words one of which a right answer holds; empty where `behaviour` alone says what is right."""
    choices: tuple[str, ...] = ()
    """What a right answer must not name: the other answers that the form of the question allows."""
    ideal: str = ""
    """A demonstration: an answer with full marks."""


@dataclass(frozen=True, slots=True)
class Grade:
    """An answer judged by the world's written rule."""

    right: bool
    score: float
    """Between 0 and 1: the weighted parts."""
    parts: dict[str, float]
    """Each part of the rule, between 0 and 1: true, complete, on_question, language, brief, polite, honest."""


class Labeller(Protocol):
    """A simulated person who ranks answers by a written rule, and errs."""

    @property
    def name(self) -> str: ...
    @property
    def rule(self) -> str: ...

    def rank(self, question: Question, answers: Sequence[str], seed: int) -> tuple[int, ...]:
        """1 for the best answer; equal ranks are ties."""
        ...


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
    @property
    def labellers(self) -> "tuple[Labeller, ...]": ...
    def dialogues(self, count: int, seed: int) -> Iterator[Dialogue]: ...
    def questions(
        self, split: Literal["train", "validation", "exam"], count: int | None = None, seed: int = 1
    ) -> list[Question]: ...
    def grade(self, question: Question, answer: str) -> Grade: ...
    def distractors(self, question: Question, seed: int) -> list[str]: ...
    def translations(self, count: int, seed: int) -> Iterator[Mapping[str, str]]:
        """Sentences, each by language code in every language of the world."""
        ...

    def describe(self) -> dict[str, Any]: ...
