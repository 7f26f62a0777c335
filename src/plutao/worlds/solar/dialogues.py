"""Conversations: two people asking each other, and the Sun with Pluto."""

from plutao.worlds.solar.facts import Fact
from plutao.worlds.solar.language import capitalised
from plutao.worlds.solar.teller import Teller, with_capitals

SUN_AND_PLUTO = {"pt": ("Sol", "Plutão"), "en": ("Sun", "Pluto")}


def replied(teller: Teller, fact: Fact, cast: dict[str, str]) -> tuple[str, str]:
    """A question and its reply."""
    slots = dict(cast, q=teller.question(fact))
    short = fact.relation not in ("feature", "sound")
    slots["a"] = teller.answer(fact) if short else ""
    style = "answer" if short and teller.chance(0.35) else "reply"
    if style == "reply":
        slots["c"] = teller.clause(fact)
    slots = with_capitals({name: text for name, text in slots.items() if name[0].islower()})
    question, reply = teller.frame("dialogue", "turn", slots), teller.frame("dialogue", style, slots)
    return question, reply.removeprefix(". ")


def dialogue(teller: Teller) -> str:
    """Two people; one asks, the other answers, with names in front or dashes."""
    cast = teller.cast()
    dashes = teller.chance(0.4)
    one, other = ("—", "—") if dashes else (f"{cast['n']}:", f"{cast['m']}:")
    setting = teller.frame("dialogue", "setting", cast)
    lines = [f"{setting}\n"] if setting else []
    for fact in teller.facts(teller.between(2, 6)):
        question, reply = replied(teller, fact, cast)
        lines += [f"{one} {question}", f"{other} {reply}"]
        if teller.chance(0.25):
            lines.append(f"{one} {teller.frame('dialogue', 'comment', cast)}")
        elif teller.chance(0.2):
            one, other = other, one
        last = lines[-1].startswith(one)
    speaker = other if last else one  # nobody speaks twice in a row
    lines.append(f"{speaker} {teller.frame('dialogue', 'end', cast)}")
    return "\n".join(lines)


def sun_and_pluto(teller: Teller) -> str:
    """The Sun and Pluto talk across 5,900 million kilometres."""
    sun, pluto = SUN_AND_PLUTO[teller.language]
    cast = {**teller.cast(), "on": "o", "om": "o"}
    lines = [teller.frame("sunpluto", "opening", cast)]
    for fact in teller.facts(teller.between(2, 5), "sunpluto", ("body", "mission")):
        last = lines[-1].rpartition("\n")[2].partition(":")[0]
        one, other = (pluto, sun) if last == sun else (sun, pluto)  # nobody speaks twice in a row
        if teller.chance(0.7):
            question, reply = replied(teller, fact, cast)
            lines += [f"{one}: {question}", f"{other}: {reply}"]
        else:
            lines += [
                f"{one}: {teller.sentence(teller.clause(fact))}",
                f"{other}: {teller.frame('dialogue', 'comment', cast)}",
            ]
    lines.append(teller.frame("sunpluto", "closing", cast))
    return "\n".join(lines)


def quiz(teller: Teller) -> str:
    """Questions with their answers, all in one layout."""
    layout = teller.pick(teller.frames["quiz"]["pair"])
    title = teller.frame("quiz", "title", teller.cast())
    pairs = []
    for number, fact in enumerate(teller.facts(teller.between(3, 8)), start=1):
        slots = {"q": capitalised(teller.question(fact)), "k": str(number)}
        slots["c"] = capitalised(teller.clause(fact))
        slots["a"] = capitalised(teller.answer(fact))
        pairs.append(teller.lay(layout, slots))
    gap = "\n\n" if "\n" in pairs[0] and teller.chance(0.5) else "\n"
    return (f"{title}\n\n" if title else "") + gap.join(pairs)
