"""Pages about words: translations, analogies, opposites, days and months, kinds of things."""

from functools import cache

from plutao.worlds.solar.facts import Fact, load
from plutao.worlds.solar.language import capitalised, split_article
from plutao.worlds.solar.phrases import fill
from plutao.worlds.solar.teller import Teller, parallel, tidy

ANALOGIES = ("capital", "moonof", "opposite", "class", "member", "continent", "discoverer")


def translation(teller: Teller) -> str:
    """Words and short sentences in both languages."""
    cast = teller.cast()
    title = teller.frame("translate", "title", cast)
    lines = []
    layout = teller.pick(teller.frames["translate"]["sentence"])
    for fact in teller.facts(teller.between(3, 6), "translation"):
        if teller.chance(0.4):
            pt, en = words_of(fact)
            lines.append(teller.frame("translate", "word", {**cast, "p": pt, "e": en}))
        else:
            pt, en = sentences(teller, fact)
            lines.append(teller.lay(layout, {**cast, "p": pt, "e": en}))
    return (f"{title}\n\n" if title else "") + "\n".join(lines)


def words_of(fact: Fact) -> tuple[str, str]:
    """The fact's subject as a word of each language."""
    if fact.subject in load().names:
        pt, en = load().names[fact.subject]
        return split_article(pt, "pt")[1], split_article(en, "en")[1]
    slots = fact.slots
    key = next(key for key in ("a", "x0", "r") if key in slots["pt"])
    return slots["pt"][key], slots["en"][key]


def sentences(teller: Teller, fact: Fact) -> tuple[str, str]:
    """The same sentence in Portuguese and in English."""
    teller.told[fact.id] += 1
    pt, en = teller.pick(parallel()[fact.relation])
    both = (fill(pt, fact.slots["pt"], teller.draw), fill(en, fact.slots["en"], teller.draw))
    return capitalised(tidy(both[0])) + ".", capitalised(tidy(both[1])) + "."


def analogy(teller: Teller) -> str:
    """Pairs of words in the same relation, with the facts that explain some of them."""
    cast = teller.cast()
    title = teller.frame("analogy", "title", cast)
    lines = []
    for _ in range(teller.between(2, 5)):
        relation = teller.pick(ANALOGIES)
        known = related(relation)
        one, other = teller.pick(known), teller.pick(known)
        if one is other:
            continue
        a, b, c, d = (*ends(one, teller.language), *ends(other, teller.language))
        lines.append(teller.frame("analogy", "pair", {"a": a, "b": b, "c": c, "d": d}))
        if teller.chance(0.5):
            lines.append(teller.pair(teller.clause(one), teller.clause(other)))
    lines.append(teller.sentence(teller.clause(teller.facts(1, "analogy", largest=1)[0])))
    return (f"{title}\n\n" if title else "") + "\n".join(lines)


@cache
def related(relation: str) -> tuple[Fact, ...]:
    return tuple(fact for fact in load().facts if fact.relation == relation)


def ends(fact: Fact, language: str) -> tuple[str, str]:
    """The two ends of a relation, as bare words."""
    slots = fact.slots[language]
    first = slots.get("a") or slots["x0"]
    return first, slots.get("b") or slots.get("v") or slots["y0"]


def word_page(teller: Teller) -> str:
    """Opposites, kinds of things, days, months, records: a few sentences of each."""
    groups = ("opposite", "category", "sequence", "record")
    clauses = [teller.clause(fact) for fact in teller.facts(teller.between(3, 7), "words", groups, largest=3)]
    lines = []
    while clauses:
        if len(clauses) > 1 and teller.chance(0.4):
            lines.append(teller.pair(clauses.pop(), clauses.pop()))
        else:
            lines.append(teller.sentence(clauses.pop()))
    return " ".join(lines)
