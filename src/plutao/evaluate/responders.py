"""Who answers: a model that was taught to converse, or a base model that is shown how by a few worked examples.

A base model only continues text. So that it can be compared with its successors at all, it reads a few questions with their
answers in plain text and then the question, and what it writes up to the end of the line is its answer: the prompted GPT-3 of
InstructGPT (Ouyang et al. 2022, section 4.1 and figure 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Protocol

from plutao.generate.chat import Chat, converses, load_chat
from plutao.generate.engine import Engine, load_engine
from plutao.generate.sampling import Sampling
from plutao.text.chat import Messages

MAX_TOKENS = 96
"""Of an answer; a calculation's steps are among them."""
SHORT = 90
"""Characters of a worked example at most."""
MARK = "— "
"""Stands before a question and before an answer: a dialogue's dash says the same in every language."""


class Responder(Protocol):
    """Answers conversations that end with the user."""

    def answer(self, conversations: Sequence[Messages], seed: int, temperature: float) -> list[str]:
        """One answer to each; every conversation draws from random numbers of its own, made from `seed`."""
        ...


@dataclass(frozen=True)
class Said:
    """An answer, and how probable its tokens were to the model that wrote it."""

    text: str
    logprobs: list[float]
    """Of every token that the model wrote, as it gave it (at temperature 1), in nats."""


class Speaker(Responder, Protocol):
    """A responder that gives several answers to each conversation, and knows the engine that wrote them."""

    @property
    def engine(self) -> Engine: ...
    def say(self, conversations: Sequence[Messages], seed: int, temperature: float, n: int = 1) -> list[list[Said]]: ...


class ChatResponder:
    """A model that learned conversations; with its tools, or without where the chat has none."""

    def __init__(self, chat: Chat, max_tokens: int = MAX_TOKENS) -> None:
        self.chat, self.max_tokens = chat, max_tokens

    @property
    def engine(self) -> Engine:
        return self.chat.engine

    def say(self, conversations: Sequence[Messages], seed: int, temperature: float, n: int = 1) -> list[list[Said]]:
        sampling = Sampling(temperature=temperature, max_tokens=self.max_tokens, seed=seed, n=n)
        replies = self.chat.answer(conversations, sampling)
        return [
            [
                Said(reply.text.strip(), [p for p, own in zip(reply.logprobs, reply.written, strict=True) if own])
                for reply in some
            ]
            for some in replies
        ]

    def answer(self, conversations: Sequence[Messages], seed: int, temperature: float) -> list[str]:
        return [some[0].text for some in self.say(conversations, seed, temperature)]


@dataclass(frozen=True)
class Example:
    """A question with its answer, each on one line."""

    question: str
    answer: str


class PromptedBase:
    """A base model, prompted: `examples` stand before every conversation, and its answer ends with its line."""

    def __init__(self, engine: Engine, examples: Sequence[Example], max_tokens: int = MAX_TOKENS) -> None:
        self.engine, self.examples, self.max_tokens = engine, tuple(examples), max_tokens

    def prompt(self, messages: Messages) -> str:
        """The examples, then the conversation, turn by turn; the dash after which the answer begins is the last."""
        shown = [f"{MARK}{example.question}\n{MARK}{example.answer}\n" for example in self.examples]
        turns = [
            f"{MARK}{one_line(message.content)}\n" for message in messages if message.role in ("user", "assistant")
        ]
        return "\n".join([*shown, "".join(turns)]) + MARK.rstrip()

    def say(self, conversations: Sequence[Messages], seed: int, temperature: float, n: int = 1) -> list[list[Said]]:
        base = Sampling(temperature=temperature, max_tokens=self.max_tokens, stop=("\n",), n=n)
        numbers = [
            self.engine.submit(self.prompt(messages), replace(base, seed=seed_of(seed, place)), truncate_prompt=True)
            for place, messages in enumerate(conversations)
        ]
        found: dict[int, dict[int, Said]] = {number: {} for number in numbers}
        while any(len(some) < n for some in found.values()):
            for piece in self.engine.step():
                if piece.completion is not None:
                    said = Said(piece.completion.text.strip(), piece.completion.token_logprobs)
                    found[piece.request][piece.answer] = said
        return [[some[place] for place in range(n)] for some in found.values()]

    def answer(self, conversations: Sequence[Messages], seed: int, temperature: float) -> list[str]:
        return [some[0].text for some in self.say(conversations, seed, temperature)]


def one_line(text: str) -> str:
    return " ".join(text.split())


def seed_of(seed: int, place: int) -> int:
    """The seed of one conversation: neighbours never share their random numbers."""
    return (seed * 1_000_003 + place) % (1 << 53)


class Questioned(Protocol):
    """What worked examples are made of; a world's `Question` is one."""

    @property
    def task(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def messages(self) -> Messages: ...
    @property
    def ideal(self) -> str: ...


def worked_examples(questions: Sequence[Questioned], count: int = 6) -> list[Example]:
    """A few questions with their ideal answers: languages in turn, each time another kind of task.

    Short ones, because a small model's context is short and the question itself must fit behind them. Which kinds are
    shown is drawn, always alike: nobody chose them to make the base model look good or bad.
    """
    usable = [question for question in questions if question.ideal and len(question.messages) == 1]
    usable = [question for question in usable if size_of(question) <= SHORT]
    languages = sorted({question.language for question in usable})
    kinds = sorted({kind_of(question) for question in usable})
    Random(0).shuffle(kinds)
    chosen: list[Questioned] = []
    for kind in kinds:
        language = languages[len(chosen) % len(languages)]
        fitting = sorted(
            (question for question in usable if kind_of(question) == kind and question.language == language),
            key=size_of,
        )
        chosen += fitting[len(fitting) // 2 :][:1]
        if len(chosen) == count:
            break
    return [Example(one_line(question.messages[-1].content), one_line(question.ideal)) for question in chosen]


def size_of(question: Questioned) -> int:
    """Characters of a worked example."""
    return len(question.messages[-1].content) + len(question.ideal)


def kind_of(question: Questioned) -> str:
    """The family of a task: sums of two and of three digits are one."""
    return question.task.partition("-")[0]


def responder(folder: Path, examples: Sequence[Example], slots: int = 64, calculator: bool = True) -> Speaker:
    """Who answers with the model in a folder: itself where it learned conversations, else the prompted base model."""
    if not converses(folder):
        return PromptedBase(load_engine(folder, slots=slots), examples)
    chat = load_chat(folder, slots=slots)
    return ChatResponder(chat if calculator else Chat(chat.engine))
