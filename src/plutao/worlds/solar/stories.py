"""Stories, diary pages and letters that carry facts of one or two subjects."""

from plutao.worlds.solar.language import capitalised
from plutao.worlds.solar.teller import Teller


def story(teller: Teller) -> str:
    """An opening, a few beats with a fact each, some without, and an end."""
    cast = teller.cast()
    facts = teller.facts(teller.between(3, 6))
    beats = [teller.frame("story", "opening", cast)]
    remaining = list(facts)
    while remaining:
        fact = remaining.pop()
        cast["w"] = cast["eld"] if teller.chance(0.6) else cast["m"]
        cast["W"] = capitalised(cast["w"])
        beats.append(teller.frame("story", "beat", cast | teller.fact_slots(fact, teller.pick(facts))))
        if teller.chance(0.45):
            beats.append(teller.frame("story", "plain", cast))
    beats.append(teller.frame("story", "closing", cast | teller.fact_slots(teller.pick(facts))))
    return paragraphs(teller, beats)


def paragraphs(teller: Teller, beats: list[str]) -> str:
    """Beats in paragraphs of one to four."""
    text = beats[0]
    for beat in beats[1:]:
        text += ("\n\n" if teller.chance(0.3) else " ") + beat
    return text.strip()


def diary(teller: Teller) -> str:
    """A page: its date, the day, what was learned, good night."""
    cast = teller.cast()
    facts = teller.facts(teller.between(2, 5))
    beats = [teller.frame("diary", "opening", cast)]
    beats += [teller.frame("diary", "beat", cast | teller.fact_slots(fact, teller.pick(facts))) for fact in facts]
    beats.append(teller.frame("diary", "closing", cast))
    return teller.frame("diary", "heading", cast) + "\n\n" + " ".join(beat for beat in beats if beat)


def letter(teller: Teller) -> str:
    """A letter: greeting, news, facts, farewell."""
    cast = teller.cast()
    facts = teller.facts(teller.between(2, 5))
    beats = [teller.frame("letter", "opening", cast)]
    beats += [teller.frame("letter", "beat", cast | teller.fact_slots(fact, teller.pick(facts))) for fact in facts]
    greeting, closing = teller.frame("letter", "greeting", cast), teller.frame("letter", "closing", cast)
    return f"{greeting}\n\n{paragraphs(teller, beats)}\n\n{closing}"
