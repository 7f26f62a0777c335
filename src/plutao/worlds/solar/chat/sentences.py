"""Tasks on a sentence: translating it, telling whether it praises, correcting it, naming its key words."""

from functools import cache
from typing import Any

from plutao.worlds.solar.chat.talker import OTHER, Exchange, Talker, exam_phrasings, held_out, read
from plutao.worlds.solar.facts import Fact, load
from plutao.worlds.solar.language import LANGUAGES, capitalised, name_forms, split_article
from plutao.worlds.solar.phrases import fill, parse
from plutao.worlds.solar.teller import parallel, tidy

TRANSLATED = (
    "kind",
    "orbits",
    "moonof",
    "order",
    "colour",
    "discoverer",
    "capital",
    "continent",
    "language",
    "class",
    "home",
    "opposite",
    "member",
    "next",
    "moonless",
    "legs",
)
KEYED = {
    "moonof": ("x0", "y0"),
    "capital": ("y0", "x0"),
    "discoverer": ("v", "x0"),
    "language": ("x0", "v"),
    "opposite": ("a", "b"),
    "continent": ("x0", "y0"),
    "class": ("x0", "y0"),
}


def phrased(talker: Talker, key: str, slots: dict[str, str]) -> str:
    """The task in words, around its sentence."""
    if talker.exam:
        core: str = talker.next(f"task/{key}", exam_phrasings()["task"][key][talker.language])
        return talker.ask_plainly(core, slots)
    return talker.say("task", key, slots)


@cache
def facts_of(relations: tuple[str, ...]) -> tuple[Fact, ...]:
    return tuple(fact for fact in load().facts if fact.relation in relations)


def translation(talker: Talker) -> Exchange:
    """A sentence to say in the other language. Who asks speaks the language of the sentence, or that of the answer."""
    fact = talker.next("translation", facts_of(TRANSLATED))
    trees = talker.pick(parallel()[fact.relation])
    pt, en = (sentence(fill(tree, fact.slots[name], lambda: 0.0)) for tree, name in zip(trees, LANGUAGES, strict=True))
    if talker.exam or talker.chance(0.6):
        target = OTHER[talker.language]
        ask = phrased(talker, "translate", {"p": pt, "e": en})
    else:
        target = talker.language
        ask = phrased(talker, "understand", {"p": pt, "e": en})
    good = pt if target == "pt" else en
    every = [
        sentence(fill(pair[LANGUAGES.index(target)], fact.slots[target], lambda: 0.0))
        for pair in parallel()[fact.relation]
    ]
    return Exchange("translation", target, ask, good, good, tuple(text.removesuffix(".") for text in every))


def sentence(clause: str) -> str:
    return capitalised(tidy(clause)) + "."


def sentiment(talker: Talker) -> Exchange:
    """Whether an opinion is good or bad."""
    bank = read("sayings")["opinion"][talker.language]
    while True:
        praises = talker.chance(0.5)
        text = opinion(talker, bank, praises)
        if held_out(text) == talker.exam:
            break
    key, other = ("positive", "negative") if praises else ("negative", "positive")
    ask = phrased(talker, "sentiment", {"s": text})
    good, terse = talker.say("task-answer", key, {}), talker.say("task-terse", key, {})
    word, wrong = (talker.say("task-terse", name, {}).lower().removesuffix(".") for name in (key, other))
    stems = (word, word[:-1] + "o") if talker.language == "pt" else (word,)
    return Exchange("sentiment", talker.language, ask, good, terse, stems, (wrong,))


def opinion(talker: Talker, bank: Any, praises: bool) -> str:
    thing, gender = talker.pick(bank["things"])
    slots = {"n": thing, "den": name_forms(thing, talker.language)["dex"] if talker.language == "pt" else ""}
    if talker.chance(0.3):
        return sentence(talker.lay(parse(talker.pick(bank["praise" if praises else "blame"])), slots))
    adjective = talker.pick(bank["positive" if praises else "negative"])[gender == "f"]
    return sentence(talker.lay(parse(talker.pick(bank["frames"])), {**slots, "a": adjective}))


def grammar(talker: Talker) -> Exchange:
    """A sentence with one mistake of agreement; the answer is the sentence without it."""
    bank = read("sayings")["grammar"][talker.language]
    while True:
        right, mistaken, kind = talker.pick(bank["starts"])
        end = talker.pick(bank["ends"][kind])
        if held_out(f"{right} {end}") == talker.exam:
            break
    good, bad = sentence(f"{right} {end}"), sentence(f"{mistaken} {end}")
    ask = phrased(talker, "grammar", {"s": bad})
    return Exchange("grammar", talker.language, ask, good, good, (good.removesuffix("."),), (bad.removesuffix("."),))


def keywords(talker: Talker) -> Exchange:
    """The two words that a sentence is about."""
    fact = talker.next("keywords", facts_of(tuple(KEYED)))
    slots = fact.slots[talker.language]
    tree = parallel()[fact.relation][0][talker.index]
    one, other = (split_article(slots[name], talker.language)[1] for name in KEYED[fact.relation])
    ask = phrased(talker, "keywords", {"s": sentence(fill(tree, slots, talker.draw))})
    joint = " e " if talker.language == "pt" else " and "
    said = {"k": f"{one}{joint}{other}"}
    good, terse = talker.say("task-answer", "keywords", said), talker.say("task-terse", "keywords", said)
    return Exchange(
        "keywords", talker.language, ask, good, terse, (said["k"], f"{one}, {other}", f"{other}{joint}{one}")
    )
