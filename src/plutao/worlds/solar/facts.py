"""The facts of the closed world: read from facts.toml and everyday.toml, each ready to be said in either language."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from plutao.worlds.solar.language import LANGUAGES, ORDINALS, name_forms, number, number_in_words, quantity

KINDS = {
    "star": ("a estrela", "the star", "estrelas", "stars"),
    "planet": ("o planeta", "the planet", "planetas", "planets"),
    "dwarf": ("o planeta anão", "the dwarf planet", "planetas anões", "dwarf planets"),
    "moon": ("a lua", "the moon", "luas", "moons"),
    "asteroid": ("o asteroide", "the asteroid", "asteroides", "asteroids"),
    "comet": ("o cometa", "the comet", "cometas", "comets"),
}
CLASS_PLURALS = {
    "mammal": ("mamíferos", "mammals"),
    "bird": ("aves", "birds"),
    "fish": ("peixes", "fish"),
    "reptile": ("répteis", "reptiles"),
    "amphibian": ("anfíbios", "amphibians"),
    "insect": ("insetos", "insects"),
    "arachnid": ("aracnídeos", "arachnids"),
}

Slots = Mapping[str, str]


@dataclass(frozen=True)
class Fact:
    """One thing the world knows: a subject, a relation, an answer; `slots` fill its phrases, by language.

    `reference` is the same with the subject called "the planet", "o país"… for a sentence that follows one with its name.
    """

    id: str
    group: str
    subject: str
    relation: str
    slots: Mapping[str, Slots]
    reference: Mapping[str, Slots]
    answers: Mapping[str, str]


@dataclass(frozen=True)
class World:
    """All facts, and what comparisons and names need."""

    facts: tuple[Fact, ...]
    bodies: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, tuple[str, str]]
    sources: Mapping[str, str]
    by_subject: Mapping[str, tuple[Fact, ...]] = field(repr=False)

    def about(self, *groups: str) -> tuple[Fact, ...]:
        return tuple(fact for fact in self.facts if fact.group in groups)


@cache
def load() -> World:
    """The world, read once."""
    folder = resources.files("plutao.worlds.solar")
    data = tomllib.loads((folder / "facts.toml").read_text("utf-8")) | tomllib.loads(
        (folder / "everyday.toml").read_text("utf-8")
    )
    bodies = {body["id"]: body for body in data["body"]}
    facts = [
        *body_facts(bodies),
        *mission_facts(data, bodies),
        *country_facts(data),
        *animal_facts(data),
        *word_facts(data, bodies),
    ]
    by_subject: dict[str, list[Fact]] = {}
    for fact in facts:
        by_subject.setdefault(fact.subject, []).append(fact)
    named = [*data["body"], *data["mission"], *data["country"], *data["animal"], *data["continent"]]
    return World(
        facts=tuple(facts),
        bodies=bodies,
        names={entry["id"]: tuple(entry["names"]) for entry in named},
        sources=data["sources"],
        by_subject={subject: tuple(found) for subject, found in by_subject.items()},
    )


def count(languages: Sequence[str] = LANGUAGES) -> int:
    """Fact × language pairs."""
    return sum(1 for fact in load().facts for language in languages if language in fact.slots)


def make(
    group: str,
    subject: str,
    relation: str,
    forms: Sequence[Slots],
    answers: Sequence[str],
    generic: Sequence[Slots] | None = None,
    **extra: Sequence[str],
) -> Fact:
    """A fact from the forms of its subject and the values of its other slots, all as (Portuguese, English)."""
    more = [{slot: values[n] for slot, values in extra.items()} for n in range(2)]
    slots = {language: {**forms[n], **more[n]} for n, language in enumerate(LANGUAGES)}
    reference = {language: {**(generic or forms)[n], **more[n]} for n, language in enumerate(LANGUAGES)}
    answer = dict(zip(LANGUAGES, answers, strict=True))
    return Fact(f"{subject}/{relation}", group, subject, relation, slots, reference, answer)


def forms_of(names: Sequence[str], slot: str = "x", gender: str = "m") -> list[dict[str, str]]:
    return [name_forms(name, language, slot, gender) for name, language in zip(names, LANGUAGES, strict=True)]


def join(forms: Sequence[Slots], others: Sequence[Slots]) -> list[Slots]:
    """The slots of both, language by language."""
    return [{**one, **other} for one, other in zip(forms, others, strict=True)]


def group_forms(names: Sequence[str], plurals: Sequence[str]) -> list[Slots]:
    """The forms of a group as {y}, with its plural: {yp}, {deyp} and {osyp} in Portuguese."""
    pt, en = forms_of(names, "y")
    articles = ("as", "das") if names[0].startswith("a ") else ("os", "dos")
    plural = {"yp": plurals[0], "osyp": f"{articles[0]} {plurals[0]}", "deyp": f"{articles[1]} {plurals[0]}"}
    return [{**pt, **plural}, {**en, "yp": plurals[1]}]


def gender_of(body: Mapping[str, Any]) -> str:
    """Moons and the asteroids with a goddess's name are feminine only as moons: "Io foi descoberta", "Vesta foi descoberto"."""
    return "f" if body["kind"] == "moon" else "m"


def body_facts(bodies: Mapping[str, Mapping[str, Any]]) -> Iterator[Fact]:
    for name, body in bodies.items():
        kind = KINDS[body["kind"]]
        with_kind = [{"k": name_forms(kind[0], "pt")["umx"]}, {"ak": name_forms(kind[1], "en")["ax"]}]
        forms = join(forms_of(body["names"], "x", gender_of(body)), with_kind)
        generic = join(forms_of(kind[:2]), with_kind)
        if body["kind"] != "comet":  # "Comet Encke is a comet" teaches nothing
            yield make("body", name, "kind", join(forms, group_forms(kind[:2], kind[2:])), one_of(kind))
        orbit = orbit_forms(body, bodies)
        if orbit is not None:
            forms_o, generic_o = join(forms, orbit), join(generic, orbit)
            relation = "moonof" if body["kind"] == "moon" else "orbits"
            # A moon's place is told with its name, so that "the moon is a moon of…" never appears.
            yield make(
                "body",
                name,
                relation,
                forms_o,
                [orbit[0]["y"], orbit[1]["y"]],
                None if relation == "moonof" else generic_o,
            )
        else:
            forms_o, generic_o = forms, generic
        for relation, values in body_values(body):
            extra = {"v": values[:2]}
            if relation == "order":
                extra["vf"] = [values[0][:-1] + "a", values[1]]
            if relation == "namesake":
                pt = name_forms(values[0], "pt", "v")
                extra |= {"dev": [pt["dev"], ""], "emv": [pt["emv"], ""]}
            fact = make("body", name, relation.split("#")[0], forms_o, values[2:] or values[:2], generic_o, **extra)
            yield fact if "#" not in relation else Fact(**{**vars(fact), "id": f"{name}/{relation}"})


def one_of(names: Sequence[str]) -> list[str]:
    """um planeta, a planet."""
    return [name_forms(names[0], "pt")["umx"], name_forms(names[1], "en")["ax"]]


def orbit_forms(body: Mapping[str, Any], bodies: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]] | None:
    centre = bodies.get(body.get("orbits", ""))
    return None if centre is None else forms_of(centre["names"], "y")


def body_values(body: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """(relation, [Portuguese, English] and, where the answer is shorter, the two answers)."""
    is_moon = body["kind"] == "moon"
    if order := body.get("order"):
        yield "order", [ORDINALS[language][order - 1] for language in LANGUAGES]
    if diameter := body.get("diameter"):
        yield "diameter", [quantity(diameter, "km", language) for language in LANGUAGES]
    if (distance := body.get("distance")) and is_moon:
        yield "moondistance", [quantity(distance, "km", language) for language in LANGUAGES]
    elif distance:
        yield (
            "distance",
            [f"{number(distance, 'pt')} milhões de quilômetros", f"{number(distance, 'en')} million kilometres"],
        )
    if year := body.get("year"):
        yield "moonyear" if is_moon else "year", [quantity(year[0], year[1], language) for language in LANGUAGES]
    if day := body.get("day"):
        yield "day", [quantity(day[0], day[1], language) for language in LANGUAGES]
    if (moons := body.get("moons")) is not None:
        yield ("moons", counted(moons, "lua", "moon")) if moons else ("moonless", ["luas", "moons", "nenhuma", "none"])
    if (temperature := body.get("temperature")) is not None:
        below = (" abaixo de zero", " below zero") if temperature < 0 else ("", "")
        amount = abs(temperature)
        yield "temperature", [f"{number(amount, 'pt')} graus{below[0]}", f"{number(amount, 'en')} degrees{below[1]}"]
    if discovered := body.get("discovered"):
        yield "discovered", [str(discovered)] * 2
    if discoverer := body.get("discoverer"):
        yield "discoverer", [discoverer] * 2
    for relation in ("type", "colour", "atmosphere", "namesake"):
        if relation in body:
            yield relation, body[relation]
    for n, feature in enumerate(body.get("feature", ())):
        yield f"feature#{n}", feature


def counted(amount: int, portuguese: str, english: str) -> list[str]:
    """uma lua, duas luas, 95 luas / one moon, two moons, 95 moons (all the counted nouns here are feminine in Portuguese)."""
    feminine = {1: "uma", 2: "duas"}
    pt = feminine.get(amount) or (number_in_words(amount, "pt") if amount < 10 else str(amount))
    en = number_in_words(amount, "en") if amount < 10 else str(amount)
    plural = "" if amount == 1 else "s"
    return [f"{pt} {portuguese}{plural}", f"{en} {english}{plural}"]


def mission_facts(data: Mapping[str, Any], bodies: Mapping[str, Mapping[str, Any]]) -> Iterator[Fact]:
    agencies = {agency["id"]: agency["names"] for agency in data["agency"]}
    generic = forms_of(["a missão", "the mission"])
    for mission in data["mission"]:
        forms, name = forms_of(mission["names"]), mission["id"]
        target, agency = bodies[mission["target"]]["names"], agencies[mission["agency"]]
        to, by, year = forms_of(target, "y"), forms_of(agency, "y"), [str(mission["launched"])] * 2
        yield make("mission", name, "target", join(forms, to), target, join(generic, to))
        yield make("mission", name, "launched", forms, year, generic, v=year)
        yield make("mission", name, "agency", join(forms, by), agency, join(generic, by))


def country_facts(data: Mapping[str, Any]) -> Iterator[Fact]:
    continents = {continent["id"]: continent["names"] for continent in data["continent"]}
    generic = forms_of(["o país", "the country"])
    for country in data["country"]:
        forms, name = forms_of(country["names"]), country["id"]
        city = forms_of(country["capital"], "y")
        yield make("country", name, "capital", join(forms, city), country["capital"])
        if "continent" in country:
            where = continents[country["continent"]]
            yield make("country", name, "continent", join(forms, forms_of(where, "y")), where)
        if "language" in country:
            yield make("country", name, "language", forms, country["language"], generic, v=country["language"])


def animal_facts(data: Mapping[str, Any]) -> Iterator[Fact]:
    classes = {entry["id"]: entry["names"] for entry in data["class"]}
    generic = forms_of(["o animal", "the animal"])
    for animal in data["animal"]:
        forms, name, names = forms_of(animal["names"]), animal["id"], classes[animal["class"]]
        group = group_forms(names, CLASS_PLURALS[animal["class"]])
        yield make("animal", name, "class", join(forms, group), one_of(names))
        for relation in ("sound", "home"):
            if relation in animal:
                yield make("animal", name, relation, forms, animal[relation], generic, v=animal[relation])
        if (legs := animal.get("legs")) is not None:
            relation, values = ("legs", counted(legs, "pata", "leg")) if legs else ("legless", ["patas", "legs"])
            yield make("animal", name, relation, forms, values if legs else ["nenhuma", "none"], generic, v=values)


def word_facts(data: Mapping[str, Any], bodies: Mapping[str, Mapping[str, Any]]) -> Iterator[Fact]:
    """Opposites (both ways), members of categories, what follows what, records."""
    for pt_a, pt_b, en_a, en_b in data["opposite"]:
        for a, b in (((pt_a, en_a), (pt_b, en_b)), ((pt_b, en_b), (pt_a, en_a))):
            yield make("opposite", f"opposite:{a[1]}", "opposite", [{}, {}], b, a=a, b=b)
    for category in data["category"]:
        group = forms_of(category["names"], "y")
        for names in category["members"]:
            yield make(
                "category", f"member:{names[1]}", "member", join(forms_of(names), group), one_of(category["names"])
            )
    for sequence in data["sequence"]:
        names = sequence["names"]
        for a, b in zip(names, [*names[1:], names[0]], strict=True):
            yield make("sequence", f"next:{a[1]}", "next", [{}, {}], b, a=a, b=b)
    for record in data["record"]:
        holder = bodies[record["holder"]]["names"]
        slots = join(forms_of(holder, "y"), forms_of(record["names"], "r"))
        yield make("record", f"record:{record['names'][1]}", "record", slots, holder)
