"""Sentences of the world in both languages: one fact, or two in one sentence."""

from collections.abc import Iterator, Mapping

from plutao.worlds.solar.facts import Fact
from plutao.worlds.solar.language import capitalised
from plutao.worlds.solar.phrases import fill
from plutao.worlds.solar.teller import Teller, parallel, tidy

JOINED = ((", e ", ", and "), (", mas ", ", but "), (", enquanto ", ", while "))
TWO_FACTS = 0.6  # share of the sentences that hold two facts


def translations(count: int, seed: int) -> Iterator[Mapping[str, str]]:
    """`count` sentences, each as {"pt": …, "en": …}; the same seed gives the same ones."""
    teller = Teller("pt", f"translations {seed}")
    for _ in range(count):
        pt, en = clauses(teller, teller.facts(1, "translations", largest=1)[0])
        if teller.chance(TWO_FACTS):
            other_pt, other_en = clauses(teller, teller.facts(1, "translations", largest=1)[0])
            join_pt, join_en = teller.pick(JOINED)
            pt, en = pt + join_pt + other_pt, en + join_en + other_en
        yield {"pt": f"{capitalised(pt)}.", "en": f"{capitalised(en)}."}


def clauses(teller: Teller, fact: Fact) -> tuple[str, str]:
    """The fact in Portuguese and in English, starting small, without full stop."""
    pt, en = teller.pick(parallel()[fact.relation])
    return tidy(fill(pt, fact.slots["pt"], teller.draw)), tidy(fill(en, fact.slots["en"], teller.draw))
