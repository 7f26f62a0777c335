"""The teller: says facts of the world in one language, each as often as any other, never twice in the same words if it can."""

import random
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TypeVar

from plutao.worlds.solar.facts import Fact, Slots, World, load
from plutao.worlds.solar.language import capitalised, name_forms
from plutao.worlds.solar.phrases import Tree, bank, fill, parse

T = TypeVar("T")
TOPICS = ("body", "mission", "country", "animal")  # their facts are told by subject, the others' by group


@cache
def parallel() -> Mapping[str, tuple[tuple[Tree, Tree], ...]]:
    """Relation → pairs of trees that say the same in Portuguese and in English."""
    text = (resources.files("plutao.worlds.solar") / "parallel.toml").read_text("utf-8")
    return {key: tuple((parse(pt), parse(en)) for pt, en in pairs) for key, pairs in tomllib.loads(text).items()}


class Teller:
    """Draws facts from a deck that holds each once and is shuffled anew when it is empty, and puts them into words.

    `told` counts how often each fact has been said.
    """

    def __init__(self, language: str, seed: str) -> None:
        self.language = language
        self.random = random.Random(seed)
        self.draw: Callable[[], float] = self.random.random
        self.world: World = load()
        self.phrases = bank("phrases", language)
        self.frames = bank("frames", language)
        self.dates = [fact.slots[language]["a"] for fact in self.world.about("sequence")]
        self.told: Counter[str] = Counter()
        self.decks: dict[str, list[list[Fact]]] = {}

    # -- drawing

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self.draw() * len(items))]

    def chance(self, probability: float) -> bool:
        return self.draw() < probability

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self.draw() * (high - low + 1))

    def shuffled(self, items: Sequence[T]) -> list[T]:
        mixed = list(items)
        self.random.shuffle(mixed)
        return mixed

    def facts(self, count: int, deck: str = "all", groups: Sequence[str] = (), largest: int = 4) -> list[Fact]:
        """At least `count` facts, those of one subject together (`largest` at most), from the named deck."""
        found: list[Fact] = []
        while len(found) < count:
            if not self.decks.get(deck):
                self.decks[deck] = self.chunks(self.world.about(*groups) if groups else self.world.facts, largest)
            found += self.decks[deck].pop()
        return found

    def chunks(self, facts: Sequence[Fact], largest: int) -> list[list[Fact]]:
        by_topic: dict[str, list[Fact]] = {}
        for fact in facts:
            by_topic.setdefault(fact.subject if fact.group in TOPICS else fact.group, []).append(fact)
        chunks = []
        for topic in by_topic.values():
            mixed = self.shuffled(topic)
            while mixed:
                size = self.between(min(2, largest), largest)
                chunks.append(mixed[:size])
                mixed = mixed[size:]
        return self.shuffled(chunks)

    # -- saying

    def clause(self, fact: Fact, reference: bool = False) -> str:
        """The fact as a clause without full stop, starting small; with `reference` its subject may be "the planet"."""
        self.told[fact.id] += 1
        slots = fact.reference if reference else fact.slots
        return tidy(fill(self.pick(self.phrases["state"][fact.relation]), slots[self.language], self.draw))

    def question(self, fact: Fact) -> str:
        return fill(self.pick(self.phrases["ask"][fact.relation]), fact.slots[self.language], self.draw)

    def answer(self, fact: Fact) -> str:
        """The short answer; what is curious about a world takes a whole clause."""
        if fact.relation == "feature":
            return self.clause(fact)
        self.told[fact.id] += 1
        return fact.answers[self.language]

    def sentence(self, clause: str) -> str:
        """A clause as a sentence with its full stop, at times after a few words of introduction."""
        return capitalised(tidy(fill(self.pick(self.phrases["frames"]["sentence"]), {"c": clause}, self.draw))) + "."

    def pair(self, clause: str, other: str) -> str:
        """Two clauses as one sentence."""
        return capitalised(fill(self.pick(self.phrases["frames"]["pair"]), {"c": clause, "d": other}, self.draw)) + "."

    def frame(self, section: str, key: str, slots: Slots) -> str:
        """One of the document frames, filled, starting large."""
        return capitalised(tidy(fill(self.pick(self.frames[section][key]), slots, self.draw)))

    def lay(self, tree: Tree, slots: Slots) -> str:
        """A given phrase, filled."""
        return tidy(fill(tree, slots, self.draw))

    def fact_slots(self, fact: Fact, other: Fact | None = None) -> dict[str, str]:
        """{c}, {q}, {a} of a fact and {d} of another, each also starting large."""
        slots = {"c": self.clause(fact), "q": self.question(fact)}
        if other is not None:
            slots["d"] = self.clause(other)
        return with_capitals(slots)

    def cast(self) -> dict[str, str]:
        """Two people, an elder, a place and a date for a story."""
        names = self.frames["people"]["names"]
        first = int(self.draw() * len(names))
        second = (first + 1 + int(self.draw() * (len(names) - 1))) % len(names)
        n, m = str(names[first][0]), str(names[second][0])
        elder = str(self.pick(self.frames["people"]["elders"])[0])
        week, month = self.calendar()
        slots = {
            "n": n,
            "m": m,
            "on": ending(n),
            "om": ending(m),
            "eld": elder,
            "ael": name_forms(elder, self.language)["ax"] if self.language == "pt" else elder,
            "w": elder if self.chance(0.6) else m,
            "place": str(self.pick(self.frames["people"]["places"])[0]),
            "day": str(self.between(1, 28)),
            "mês": month,
            "semana": week,
        }
        return with_capitals(slots)

    def calendar(self) -> tuple[str, str]:
        """A day of the week and a month."""
        return self.pick(self.dates[:7]), self.pick(self.dates[7:])


def with_capitals(slots: Mapping[str, str]) -> dict[str, str]:
    """The slots and, under their names with a large first letter, the same starting large."""
    return {**slots, **{capitalised(name): capitalised(value) for name, value in slots.items()}}


def ending(name: str) -> str:
    """o or a, as a Portuguese first name asks for."""
    return "a" if name.endswith("a") or name == "Inês" else "o"


def tidy(text: str) -> str:
    """Without the double spaces that an empty option leaves."""
    if "  " in text:
        text = re.sub(" {2,}", " ", text)
    return text.strip(" ").replace(" ,", ",")
