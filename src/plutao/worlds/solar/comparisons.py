"""Comparisons of two worlds: by size, distance, heat, year, age of discovery. Some pairs are kept for the exam."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

from plutao.worlds.solar.facts import Fact, gender_of, load
from plutao.worlds.solar.language import capitalised, name_forms
from plutao.worlds.solar.teller import Teller, with_capitals

# measure → the relation it rests on. Sizes and distances are what the exam asks, so they are compared most often.
MEASURES = {"size": "diameter", "far": "distance", "hot": "temperature", "long": "year", "old": "discovered"}
OFTEN = ("size", "size", "size", "far", "far", "hot", "long", "old")
HELD_OUT = 6  # one pair in so many is never compared in training


@dataclass(frozen=True)
class Comparison:
    """The world with more of something comes first; for `old`, the one discovered earlier."""

    measure: str
    first: str
    second: str

    @property
    def held_out(self) -> bool:
        """Kept for the exam; the same pair whatever the measure, the language, the seed."""
        pair = ",".join(sorted((self.first, self.second)))
        return zlib.crc32(pair.encode()) % HELD_OUT == 0

    def slots(self, language: str) -> dict[str, str]:
        first, second = (load().bodies[name] for name in (self.first, self.second))
        index = 0 if language == "pt" else 1
        return {
            **name_forms(first["names"][index], language, "x", gender_of(first)),
            **name_forms(second["names"][index], language, "y", gender_of(second)),
        }


def value(body: Mapping[str, Any], measure: str) -> float | None:
    """What is compared; None where the world does not know it, or comparing it would make no sense."""
    if measure in ("far", "long", "hot") and body["kind"] == "moon":
        return None
    found = body.get(MEASURES[measure])
    if measure == "long" and found:
        return float(found[0]) * (365 if found[1] == "year" else 1)
    return None if found is None else float(found)


@cache
def comparisons() -> tuple[Comparison, ...]:
    """Every pair of worlds that differ enough (by a tenth at least) in some measure."""
    found = []
    for measure in MEASURES:
        known = [(name, value(body, measure)) for name, body in load().bodies.items()]
        for (one, a), (other, b) in combinations([(name, v) for name, v in known if v is not None], 2):
            if a == b or (measure in ("size", "far", "long") and max(a, b) < 1.1 * min(a, b)):
                continue
            more = (a < b) if measure == "old" else (a > b)
            found.append(Comparison(measure, *((one, other) if more else (other, one))))
    return tuple(found)


@cache
def training() -> dict[str, tuple[Comparison, ...]]:
    return {measure: tuple(c for c in comparisons() if c.measure == measure and not c.held_out) for measure in MEASURES}


def comparison(teller: Teller) -> str:
    """A page of comparisons: some with their reasons, some as questions."""
    cast = teller.cast()
    parts = [teller.frame("compare", "opening", cast)] if teller.chance(0.6) else []
    for _ in range(teller.between(2, 5)):
        chosen = teller.pick(training()[teller.pick(OFTEN)])
        slots = chosen.slots(teller.language)
        clause = teller.lay(teller.pick(teller.phrases["compare"][chosen.measure]), slots)
        style = teller.draw()
        if style < 0.4:
            parts.append(reasoned(teller, chosen, clause))
        elif style < 0.65:
            question = teller.lay(teller.pick(teller.phrases["compare_ask"][chosen.measure]), swapped(teller, slots))
            parts.append(
                f"{capitalised(question)} {capitalised(slots['x'])}{'.' if teller.chance(0.5) else f': {clause}.'}"
            )
        else:
            parts.append(teller.sentence(clause))
    title = teller.frame("compare", "title", cast) + "\n\n" if teller.chance(0.5) else ""
    return title + " ".join(parts)


def reasoned(teller: Teller, chosen: Comparison, clause: str) -> str:
    """The comparison with the two facts it rests on."""
    facts = [measured(name, MEASURES[chosen.measure]) for name in (chosen.first, chosen.second)]
    slots = with_capitals({"c": clause, "d": teller.clause(facts[0]), "e": teller.clause(facts[1])})
    return teller.frame("compare", "why", slots)


def measured(subject: str, relation: str) -> Fact:
    return next(fact for fact in load().by_subject[subject] if fact.relation == relation)


def swapped(teller: Teller, slots: dict[str, str]) -> dict[str, str]:
    """Half the time with the two worlds in the other order, so that the place in a question tells nothing."""
    if teller.chance(0.5):
        return slots
    exchange = {"x": "y", "y": "x"}
    return {turned(name, exchange): text for name, text in slots.items()}


def turned(name: str, exchange: Mapping[str, str]) -> str:
    stem, tail = (name[:-1], name[-1]) if name[-1] in exchange else (name[:-2], name[-2:])
    return stem + exchange[tail[0]] + tail[1:]
