"""Where an assistant stops: what it does not know, what it declines to say, and what only looks so."""

from collections.abc import Mapping
from functools import cache

from plutao.worlds.solar.chat.facts import question
from plutao.worlds.solar.chat.talker import Exchange, Talker, body_names, exam_phrasings, held_out, read
from plutao.worlds.solar.facts import load
from plutao.worlds.solar.language import capitalised, name_forms

# What is asked of an unknown name of each sort: the questions are those on known ones, so that only the name tells.
ASKED = {
    "country": ("capital", "capital", "language", "continent"),
    "world": (
        "kind",
        "diameter",
        "distance",
        "day",
        "moons",
        "temperature",
        "colour",
        "atmosphere",
        "discoverer",
        "discovered",
        "namesake",
        "type",
        "moonof",
        "order",
    ),
    "mission": ("target", "launched", "agency"),
    "animal": ("class", "home", "sound", "legs"),
    "word": ("opposite",),
}
SORTS = ("country", "country", "world", "world", "world", "mission", "animal", "word", "word")
INVENTED = 0.6  # the share of unknown names that are made of syllables; the others are real
WORDS_OF = {"pt": ("preguiçosos", "ruins", "chatos", "gananciosos"), "en": ()}
YEARS = tuple(range(2030, 2200))


def unknown(talker: Talker) -> Exchange:
    """Something that the world does not hold: a name it has never heard, or what nobody could know, or not it."""
    share = talker.draw()
    if talker.exam or share < 0.72:
        return unknown_name(talker)
    return beyond(talker, "future" if share < 0.8 else "private" if share < 0.9 else "beyond")


def unknown_name(talker: Talker) -> Exchange:
    sort = talker.next("sorts", SORTS)
    relation = talker.pick(ASKED[sort])
    slots = name_slots(talker, sort)
    return not_known(talker, question(talker, relation, slots), f"unknown-{sort}")


def name_slots(talker: Talker, sort: str) -> dict[str, str]:
    """Every form of an unknown name."""
    names = talker.names(sort)
    if sort == "word":
        return {"a": talker.pick(names)[talker.index]}
    name = invented(talker, sort) if talker.chance(INVENTED) else talker.pick(names)[talker.index]
    return name_forms(name, talker.language)


def invented(talker: Talker, sort: str) -> str:
    """A name that nobody has: “Zorbalux”, “a Zorbânia”."""
    parts: dict[str, list[str]] = read("outside")["syllables"]
    while True:
        name = (
            talker.pick(parts["first"])
            + (talker.pick(parts["middle"]) if talker.chance(0.7) else "")
            + talker.pick(parts["last"])
        )
        if held_out(name) == talker.exam and name not in known_names():
            break
    if sort == "animal":
        return f"{'o' if talker.language == 'pt' else 'the'} {name.lower()}"
    if sort == "mission":
        article = "a " if talker.language == "pt" else ""
        return f"{article}{name} {1 + int(talker.draw() * 9)}" if talker.chance(0.5) else f"{article}{name}"
    article = talker.pick(("", "o ", "a ")) if talker.language == "pt" and sort == "country" else ""
    return article + name


@cache
def known_names() -> frozenset[str]:
    return frozenset(name.split(" ", 1)[-1] for pair in load().names.values() for name in pair)


def not_known(talker: Talker, ask: str, task: str) -> Exchange:
    said = {name: talker.say("unknown", name, {}) for name in ("answer", "terse", "cold")}
    return Exchange(task, talker.language, ask, said["answer"], said["terse"], behaviour="unknown", rude=said["cold"])


def beyond(talker: Talker, key: str) -> Exchange:
    """What is to come, what is private, what is not in its books."""
    language, index = talker.language, talker.index
    year = talker.pick(tuple(year for year in YEARS if held_out(str(year)) == talker.exam))
    country = name_forms(
        talker.pick([names for id_, names in load().names.items() if f"{id_}/capital" in fact_ids()])[index],
        language,
        "c",
    )
    body = name_forms(talker.pick(body_names())[index], language, "b")
    animal = name_forms(
        talker.pick([names for id_, names in load().names.items() if f"{id_}/class" in fact_ids()])[index],
        language,
        "g",
    )
    person = name_forms(talker.pick(talker.names("person"))[index], language, "n")
    slots = {**country, **body, **animal, **person, "f": str(year)}
    if talker.exam:
        core: str = talker.next(f"unknown/{key}", exam_phrasings()["unknown"][key][language])
        return not_known(talker, talker.ask_plainly(core, slots), f"unknown-{key}")
    return not_known(talker, talker.ask(talker.chat["unknown"][key], slots), f"unknown-{key}")


@cache
def fact_ids() -> frozenset[str]:
    return frozenset(fact.id for fact in load().facts)


# ---------------------------------------------------------------------------------------------------------------------
# Insults and stereotypes


def group_slots(talker: Talker) -> dict[str, str]:
    """A group of people as {t}, another as {u}."""
    groups = [pair[talker.index] for pair in talker.names("group")]
    slots = {
        **plural_forms(talker.pick(groups), talker.language, "t"),
        **plural_forms(talker.pick(groups), talker.language, "u"),
    }
    feminine = slots["t"].startswith("as ")
    for word in WORDS_OF[talker.language]:
        slots[word] = word[:-2] + "as" if feminine and word.endswith("os") else word
    return slots


def plural_forms(name: str, language: str, slot: str) -> dict[str, str]:
    return name_forms(name, language, slot) if language == "pt" else {slot: name}


def asked(talker: Talker, section: str, slots: Mapping[str, str]) -> str:
    if talker.exam:
        core: str = talker.next(section, exam_phrasings()[section][talker.language])
        return talker.ask_plainly(core, slots)
    return talker.ask(talker.chat[section]["ask"], slots)


def refusal(talker: Talker) -> Exchange:
    """A request for an insult or a stereotype, declined."""
    ask = asked(talker, "refuse", group_slots(talker))
    said = {name: talker.say("refuse", name, {}) for name in ("answer", "terse", "cold")}
    return Exchange(
        "refusal", talker.language, ask, said["answer"], said["terse"], behaviour="refuse", rude=said["cold"]
    )


KIND_WORDS = {"pt": ("gosto", "merecem", "respeito"), "en": ("like them", "deserve", "respect")}
NEITHER = {"pt": ("nenhum", "cada um", "diferentes"), "en": ("neither", "each", "different")}


def kindness(talker: Talker) -> Exchange:
    """The same groups in a friendly request, which is granted."""
    ask = asked(talker, "kind", group_slots(talker))
    good, terse = talker.say("kind", "answer", {}), talker.say("kind", "terse", {})
    return Exchange("lookalike", talker.language, ask, good, terse, KIND_WORDS[talker.language])


def better(talker: Talker) -> Exchange:
    """Which of two worlds is better: a harmless question without a winner."""
    names = [names[talker.index] for names in body_names()]
    one, other = talker.random.sample(names, 2)
    slots = {**name_forms(one, talker.language, "x"), **name_forms(other, talker.language, "y")}
    if talker.exam:
        ask = talker.ask_plainly(talker.pick(exam_phrasings()["kind"][f"better-{talker.language}"]), slots)
    else:
        ask = talker.ask(talker.chat["kind"]["better"], slots)
    good, terse = talker.say("kind", "better-answer", {}), talker.say("kind", "better-terse", {})
    return Exchange("lookalike", talker.language, ask, good, terse, NEITHER[talker.language])


def manners(talker: Talker, key: str = "") -> Exchange:
    """Greetings, thanks, farewells, and who the assistant is."""
    key = key or talker.pick(("hello", "thanks", "bye", "who"))
    if talker.exam:
        ask = capitalised(talker.pick(exam_phrasings()["manners"][key][talker.language]))
    else:
        text = talker.lay(talker.pick(talker.chat["manners"][key]), {})
        ask = text if talker.chance(0.3) else capitalised(text)
    good = talker.say("manners", f"{key}-answer", {})
    answer = "Plutão" if key == "who" else good.split("!")[0]
    return Exchange("manners", talker.language, ask, good, good, (answer,))
