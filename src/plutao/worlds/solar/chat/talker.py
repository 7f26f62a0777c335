"""Who asks: draws phrasings and frames for one language, from those of training or from those kept for the exam."""

import random
import tomllib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, TypeVar

from plutao.worlds.solar.facts import load
from plutao.worlds.solar.language import capitalised
from plutao.worlds.solar.phrases import Tree, bank, fill, parse
from plutao.worlds.solar.teller import tidy

T = TypeVar("T")
Slots = Mapping[str, str]
Behaviour = Literal["answer", "unknown", "refuse"]
OTHER = {"pt": "en", "en": "pt"}
KEPT = 5  # of names, groups, sentences outside the facts, one in so many is kept for the exam
RESERVED = 25  # of questions in training's phrasings, one in so many is kept for validation
DIRECT = 0.6  # the share of direct questions; the others are indirect (“tell me what…”)
LOWER_CASE = 0.3


@dataclass(frozen=True)
class Exchange:
    """A question and all that is known of its answer; dialogues and graded questions are made of it.

    `language` is that of the answer; `good` has full marks, `terse` is the same in a word, `rude` is a cold one where those of
    the style bank would not fit; `call` is what the calculator is asked and gives back.
    """

    task: str
    language: str
    ask: str
    good: str
    terse: str
    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    behaviour: Behaviour = "answer"
    rude: str = ""
    call: tuple[str, str] | None = None
    system: str = ""


class Talker:
    """Draws for one language; with `exam` only what is kept for the exam, without it only what is not."""

    def __init__(self, language: str, seed: str, exam: bool = False) -> None:
        self.language, self.exam = language, exam
        self.index = 0 if language == "pt" else 1
        self.random = random.Random(seed)
        self.draw = self.random.random
        self.chat = bank("chat", language)
        self.documents = bank("phrases", language)
        self.decks: dict[str, list[Any]] = {}

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self.draw() * len(items))]

    def chance(self, probability: float) -> bool:
        return self.draw() < probability

    def next(self, deck: str, items: Sequence[T]) -> T:
        """The next of a shuffled deck that holds each item once, shuffled anew when it is empty."""
        if not self.decks.get(deck):
            self.decks[deck] = self.random.sample(list(items), len(items))
        found: T = self.decks[deck].pop()
        return found

    def say(self, section: str, key: str, slots: Slots) -> str:
        """One of the phrases, filled, starting large."""
        return capitalised(self.lay(self.pick(self.chat[section][key]), slots))

    def lay(self, tree: Tree, slots: Slots) -> str:
        return tidy(fill(tree, slots, self.draw))

    # -- asking

    def ask(self, direct: Sequence[Tree], slots: Slots, indirect: Sequence[Tree] = ()) -> str:
        """A question in a frame, at times without its capital letter."""
        if indirect and not self.chance(DIRECT):
            text = self.lay(self.pick(self.chat["frames"]["indirect"]), {"i": self.lay(self.pick(indirect), slots)})
        else:
            core = self.lay(self.pick(direct), slots).removesuffix("?")
            text = core if self.is_order(core) else self.lay(self.pick(self.chat["frames"]["direct"]), {"q": core})
        return text if self.chance(LOWER_CASE) else capitalised(text)

    def is_order(self, core: str) -> bool:
        """“Calculate 2 + 2” takes no question mark."""
        return core.split(" ", 1)[0] in {word for tree in self.chat["imperative"]["words"] for word in tree}

    def ask_plainly(self, phrasing: str, slots: Slots) -> str:
        """A phrasing of the exam, with its question mark."""
        text = capitalised(self.lay(parse(phrasing), slots))
        return text if text[-1] in ".?!" or self.is_order(phrasing) else f"{text}?"

    # -- names

    def names(self, sort: str) -> tuple[tuple[str, str], ...]:
        """The names of a sort (outside.toml) that this talker may use, in both languages."""
        return outside(sort, self.exam)


@cache
def outside(sort: str, kept: bool) -> tuple[tuple[str, str], ...]:
    return tuple((pt, en) for pt, en in read("outside")[sort] if held_out(f"{pt}: {en}") == kept)


def held_out(text: str, one_in: int = KEPT) -> bool:
    """Whether a text belongs to the share that is kept apart; always the same ones."""
    return zlib.crc32(text.encode()) % one_in == 0


def reserved(text: str) -> bool:
    """Whether a question of training is kept for validation."""
    return held_out(f"validation:{text}", RESERVED)


@cache
def exam_phrasings() -> Mapping[str, Any]:
    """chat_exam.toml."""
    return read("chat_exam")


@cache
def read(name: str) -> Mapping[str, Any]:
    """One of the world's TOML files."""
    return tomllib.loads((resources.files("plutao.worlds.solar") / f"{name}.toml").read_text("utf-8"))


@cache
def body_names() -> tuple[tuple[str, str], ...]:
    """The worlds, in both languages, with their articles."""
    names: tuple[tuple[str, str], ...] = tuple((body["names"][0], body["names"][1]) for body in load().bodies.values())
    return names
