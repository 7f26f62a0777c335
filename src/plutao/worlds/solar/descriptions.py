"""Encyclopaedia entries: one subject, what is known of it, in an order that changes."""

from plutao.worlds.solar.facts import Fact
from plutao.worlds.solar.language import capitalised
from plutao.worlds.solar.teller import Teller, with_capitals

FIRST = ("kind", "moonof", "class", "continent", "target", "order", "orbits")  # what an entry begins with


def description(teller: Teller) -> str:
    """An entry of one to three paragraphs on a body, a mission, a country or an animal."""
    facts = teller.facts(1, "description", ("body", "mission", "country", "animal"), largest=7)
    facts.sort(key=lambda fact: fact.relation not in FIRST)
    name = facts[0].slots[teller.language]["x"]
    title = teller.frame("description", "title", with_capitals({"s": name}))
    paragraphs = [title] if teller.chance(0.7) else []
    sentences = told(teller, facts)
    if len(sentences) > 3:
        middle = teller.between(2, len(sentences) - 1)
        link = [teller.frame("description", "link", {})] if teller.chance(0.6) else []
        paragraphs += [" ".join(sentences[:middle]), " ".join(link + sentences[middle:])]
    else:
        paragraphs.append(" ".join(sentences))
    closing = teller.frame("description", "closing", {})
    return "\n\n".join(paragraphs) + (f" {closing}" if closing else "")


def told(teller: Teller, facts: list[Fact]) -> list[str]:
    """The facts as sentences: the first names its subject, later ones may call it "the planet"; some share a sentence."""
    sentences, clauses = [], []
    for n, fact in enumerate(facts):
        clauses.append(teller.clause(fact, reference=n > 0 and teller.chance(0.35)))
    while clauses:
        if len(clauses) > 1 and teller.chance(0.3):
            sentences.append(teller.pair(clauses.pop(0), clauses.pop(0)))
        else:
            sentences.append(teller.sentence(clauses.pop(0)))
    return sentences


def catalogue(teller: Teller) -> str:
    """A list of facts, each on its line."""
    title = teller.frame("list", "title", teller.cast())
    layout = teller.pick(teller.frames["list"]["item"])
    facts = teller.facts(teller.between(4, 8))
    lines = []
    for number, fact in enumerate(facts, start=1):
        slots = {"C": capitalised(teller.clause(fact)), "k": str(number)}
        lines.append(teller.lay(layout, slots))
    return f"{title}\n" + "\n".join(lines)
