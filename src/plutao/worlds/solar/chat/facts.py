"""Questions about facts, their follow-ups, and comparisons of two worlds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from plutao.worlds.solar.chat.talker import OTHER, Exchange, Slots, Talker, exam_phrasings
from plutao.worlds.solar.comparisons import MEASURES, Comparison, comparisons, training
from plutao.worlds.solar.facts import Fact, load
from plutao.worlds.solar.language import capitalised, split_article
from plutao.worlds.solar.phrases import parse

# Questions the other way round: of the capital its country, of the place in the row its planet.
INVERSE = {"country": "capital", "place": "order"}
ANSWER_SLOTS = {
    "v": (),
    "y0": ("kind", "orbits", "moonof", "target", "agency", "capital", "continent", "class", "member", "record"),
    "x0": ("country", "place"),
    "b": ("opposite", "next"),
}
NONE = {
    "pt": ("nenhuma", "não tem luas", "não tem lua", "não tem patas"),
    "en": ("none", "no moons", "no moon", "no legs", "not have any"),
}
NUMBERS = ("diameter", "distance", "moondistance", "year", "moonyear", "day", "temperature", "discovered", "launched")
# How many times a relation's facts are in the deck: those whose questions are the hardest to tell from one another.
TWICE = (
    "capital",
    "agency",
    "discoverer",
    "continent",
    "class",
    "record",
    "target",
    "next",
    "country",
    "moonof",
    "kind",
)
OFTEN = dict.fromkeys(TWICE, 2) | {"place": 3, "opposite": 3}
MEASURED_OFTEN = ("size",) * 7 + ("far",) * 8 + ("hot",) * 2 + ("long",) * 2 + ("old",)
FRONTED = 0.08  # the share of questions that name the subject first: "Mars: how long is its day?"
CLEARLY = {"size": 1.5, "far": 1.3}  # in the exam the larger is larger by so much


@cache
def topics() -> tuple[tuple[str, Fact], ...]:
    """(relation, fact): every fact at least once, and the inverse questions."""
    found = [(fact.relation, fact) for fact in load().facts]
    found += [(name, fact) for name, relation in INVERSE.items() for fact in load().facts if fact.relation == relation]
    return tuple(topic for topic in found for _ in range(OFTEN.get(topic[0], 1)))


@cache
def of_relation(relation: str) -> tuple[Fact, ...]:
    return tuple(fact for fact in load().facts if fact.relation == INVERSE.get(relation, relation))


def accepted(relation: str, fact: Fact, language: str) -> tuple[str, ...]:
    """The words one of which a right answer holds."""
    if relation in ("moonless", "legless"):
        return NONE[language]
    if relation == "feature":
        return tuple(
            bare(one.slots[language]["v"], language)
            for one in load().by_subject[fact.subject]
            if one.relation == "feature"
        )
    slot = next((slot for slot, relations in ANSWER_SLOTS.items() if relation in relations), "v")
    value = fact.slots[language][slot]
    short = value.replace("quilômetros", "km").replace("kilometres", "km")
    return tuple(dict.fromkeys((bare(value, language), short)))


def bare(value: str, language: str) -> str:
    """Without its article."""
    value = split_article(value, language)[1]
    return re.sub(r"^(an?|uma?) ", "", value)


@cache
def values(relation: str, language: str) -> Mapping[str, None]:
    return dict.fromkeys(accepted(relation, fact, language)[0] for fact in of_relation(relation))


def wrong(relation: str, fact: Fact, language: str, said: str) -> tuple[str, ...]:
    """The other answers that the relation knows, without those that the question or its good answer name."""
    if relation in (*NUMBERS, "feature", "moonless", "legless"):
        return ()
    said = said.lower()
    return tuple(value for value in values(relation, language) if value.lower() not in said)


def fact_exchange(talker: Talker, relation: str, fact: Fact, ask: str = "") -> Exchange:
    """A question on a fact; `ask` where its words are given."""
    language = talker.language
    slots = fact.slots[language]
    ask = ask or question(talker, relation, slots)
    good = talker.say("answer", relation, slots)
    terse = talker.say("terse", relation, slots)
    answers = accepted(relation, fact, language)
    choices = wrong(relation, fact, language, f"{ask} {good} {' '.join(answers)}")
    return Exchange(relation, language, ask, good, terse, answers, choices)


def question(talker: Talker, relation: str, slots: Slots) -> str:
    """A question in one of training's phrasings, or, in the exam, of the exam's."""
    if talker.exam:
        return talker.ask_plainly(exam_core(talker, relation), slots)
    if relation in talker.chat["follow"] and talker.chance(FRONTED):
        follow = talker.lay(talker.pick(talker.chat["follow"][relation]), slots).split(" ", 1)[1]
        text = f"{slots['x']}: {follow}?"
        return text if talker.chance(0.5) else capitalised(text)
    direct = (*talker.documents["ask"].get(relation, ()), *talker.chat["ask"][relation])
    return talker.ask(direct, slots, talker.chat["indirect"][relation])


def exam_core(talker: Talker, relation: str) -> str:
    """The exam's phrasings of a relation, one after the other."""
    cores: list[str] = exam_phrasings()["fact"][relation][talker.language]
    return talker.next(f"exam/{relation}", cores)


def any_fact(talker: Talker) -> Exchange:
    return fact_exchange(talker, *talker.next("topics", topics()))


def other_language(talker: Talker) -> Exchange:
    """A question in one language that asks for its answer in the other, in its own words or in the system's."""
    relation, fact = talker.next("topics", topics())
    asker = Talker(OTHER[talker.language], str(talker.draw()), talker.exam)
    slots = fact.slots[asker.language]
    answer = fact_exchange(talker, relation, fact, ask=" ")
    if talker.exam:
        core = asker.lay(parse(asker.pick(exam_phrasings()["fact"][relation][asker.language])), slots)
        return replace(
            answer, ask=asker.ask_plainly(talker.pick(exam_phrasings()["other"][asker.language]), {"q": core})
        )
    if talker.chance(0.4):
        return replace(answer, ask=question(asker, relation, slots), system=asker.say("system", "other", {}))
    direct = (*asker.documents["ask"].get(relation, ()), *asker.chat["ask"][relation])
    core = asker.lay(asker.pick(direct), slots).removesuffix("?")
    return replace(answer, ask=asker.say("frames", "other", {"q": core}))


def follow_ups(talker: Talker, relation: str, fact: Fact) -> list[Exchange]:
    """What may be asked next: something else of the same subject, or the same of another one."""
    found = []
    asked = INVERSE.get(relation, relation)
    known = load().by_subject[fact.subject]
    others = [one for one in known if one.relation != asked and one.relation in talker.chat["follow"]]
    if others:
        other = talker.pick(others)
        ask = talker.say("follow", other.relation, other.slots[talker.language]) + "?"
        found.append(fact_exchange(talker, other.relation, other, ask))
    if (same := another(talker, relation, fact)) is not None:
        ask = talker.say("frames", "what-about", same.slots[talker.language])
        found.append(fact_exchange(talker, relation, same, ask))
    return found


def another(talker: Talker, relation: str, fact: Fact) -> Fact | None:
    """A fact of the same relation on another subject, asked about by that subject's name."""
    if "x" not in fact.slots[talker.language] or relation in INVERSE or relation == "feature":
        return None
    others = [one for one in of_relation(relation) if one.subject != fact.subject]
    return talker.pick(others) if others else None


# ---------------------------------------------------------------------------------------------------------------------
# Comparisons


def comparison(talker: Talker) -> Exchange:
    """Which of two worlds is larger, farther, hotter…; in the exam, of pairs that are never compared anywhere else."""
    measure = talker.pick(MEASURED_OFTEN)
    pair = talker.pick(training()[measure])
    return compared(talker, pair, first=talker.chance(0.5))


def compared(talker: Talker, pair: Comparison, first: bool) -> Exchange:
    """`first`: whether the winner is named first."""
    slots = pair.slots(talker.language)
    asked = slots if first else {**slots, **exchanged(slots)}
    if talker.exam:
        core: str = talker.next(f"compare/{pair.measure}", exam_phrasings()["compare"][pair.measure][talker.language])
        ask = talker.ask_plainly(core, asked)
    else:
        direct = (*talker.chat["compare"][pair.measure], *talker.documents["compare_ask"][pair.measure])
        ask = talker.ask(direct, asked)
    good = talker.say("compare-answer", pair.measure, slots)
    terse = f"{capitalised(slots['x'])}."
    return Exchange(f"compare-{pair.measure}", talker.language, ask, good, terse, (slots["x0"],), (slots["y0"],))


def exchanged(slots: Slots) -> dict[str, str]:
    """The slots of x with those of y in their place, and the other way round."""
    swap = {"x": "y", "y": "x"}
    return {re.sub(r"[xy](?=0?s?$)", lambda found: swap[found[0]], name): text for name, text in slots.items()}


def kept_pairs(measure: str) -> Sequence[Comparison]:
    """The exam's pairs: never compared in training, and clearly apart."""
    found = []
    for pair in comparisons():
        if pair.measure == measure and pair.held_out:
            more, less = (float(load().bodies[name][MEASURES[measure]]) for name in (pair.first, pair.second))
            if more >= CLEARLY[measure] * less:
                found.append(pair)
    return found
