"""The Solar System as a world: facts both languages know, text that is varied, balanced and repeatable, an exam kept apart."""

import re
import subprocess
import sys
import zlib
from collections import Counter

import pytest

from plutao.errors import UserError
from plutao.worlds import WORLDS, ExamItem, WorldDocument, world
from plutao.worlds.solar import facts
from plutao.worlds.solar.arithmetic import held_out
from plutao.worlds.solar.comparisons import comparisons, training
from plutao.worlds.solar.examination import overlaps
from plutao.worlds.solar.generator import KINDS
from plutao.worlds.solar.phrases import bank, fill
from plutao.worlds.solar.teller import Teller

solar = world("solar")


@pytest.fixture(scope="module")
def sample() -> list[WorldDocument]:
    """A megabyte and a half of the world's text."""
    return list(solar.documents(1.5, seed=3))


@pytest.fixture(scope="module")
def questions() -> list[ExamItem]:
    return solar.exam(seed=1)


def by_language(documents: list[WorldDocument]) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for document in documents:
        sizes[document.language] += len(document.text.encode())
    return sizes


def test_unknown_world_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'solra'.*Did you mean 'solar'.*Known worlds: solar"):
        world("solra")
    assert list(WORLDS) == ["solar"]


# -- facts


def test_about_fifteen_hundred_facts_by_language() -> None:
    assert 1000 <= facts.count() <= 2000
    assert facts.count() == 2 * len(facts.load().facts), "both languages know every fact"
    assert len({fact.id for fact in facts.load().facts}) == len(facts.load().facts)
    assert solar.describe()["fact_language_pairs"] == facts.count()


@pytest.mark.parametrize(
    ("fact", "portuguese", "english"),
    [
        ("jupiter/diameter", "139.820 quilômetros", "139,820 kilometres"),
        ("pluto/discoverer", "Clyde Tombaugh", "Clyde Tombaugh"),
        ("pluto/discovered", "1930", "1930"),
        ("titan/moonof", "Saturno", "Saturn"),
        ("france/capital", "Paris", "Paris"),
        ("earth/moons", "uma lua", "one moon"),
        ("mars/temperature", "65 graus abaixo de zero", "65 degrees below zero"),
        ("rosetta/target", "o cometa Churyumov-Gerasimenko", "Comet Churyumov-Gerasimenko"),
        ("opposite:hot/opposite", "frio", "cold"),
        ("next:Sunday/next", "segunda-feira", "Monday"),
    ],
)
def test_known_facts(fact: str, portuguese: str, english: str) -> None:
    found = {known.id: known for known in facts.load().facts}[fact]
    assert found.answers == {"pt": portuguese, "en": english}


def test_facts_agree_with_each_other() -> None:
    bodies = facts.load().bodies
    planets = [body for body in bodies.values() if body["kind"] == "planet"]
    assert sorted(planets, key=lambda body: body["order"]) == sorted(planets, key=lambda body: body["distance"])
    for body in bodies.values():
        if "orbits" in body:
            centre = bodies[body["orbits"]]
            assert body.get("diameter", 0) < centre["diameter"], f"{body['id']} is larger than what it goes round"
    # Kepler's third law: years² and distances³ keep their ratio (the Earth's year is 365 days at 150 million km).
    for body in bodies.values():
        if body.get("orbits") == "sun" and "distance" in body:
            amount, unit = body["year"]
            years = amount if unit == "year" else amount / 365
            assert years == pytest.approx((body["distance"] / 149.6) ** 1.5, rel=0.03), body["id"]


def test_every_phrase_of_every_fact_can_be_said() -> None:
    for language in solar.languages:
        phrases = bank("phrases", language)
        teller = Teller(language, "all")
        for fact in facts.load().facts:
            for section in ("state", "ask"):
                assert len(phrases[section][fact.relation]) >= 2
                for tree in phrases[section][fact.relation]:
                    for slots in (fact.slots[language], fact.reference[language]):
                        assert fill(tree, slots, teller.draw)


# -- documents


def test_same_seed_same_bytes_in_another_process(sample: list[WorldDocument]) -> None:
    program = (
        "import zlib; from plutao.worlds import world;"
        "print(zlib.crc32(''.join(d.id + d.text for d in world('solar').documents(0.2, 5)).encode()))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    here = zlib.crc32("".join(d.id + d.text for d in solar.documents(0.2, 5)).encode())
    assert printed == {f"{here}\n".encode()}
    assert next(iter(solar.documents(1, 4))).text != sample[0].text, "another seed tells other things"


def test_documents_come_one_by_one() -> None:
    stream = solar.documents(10_000, seed=1)  # ten gigabytes, of which only the first page is ever written
    assert isinstance(next(stream), WorldDocument)


def test_as_much_as_asked_and_half_in_each_language(sample: list[WorldDocument]) -> None:
    sizes = by_language(sample)
    assert 1.5e6 <= sum(sizes.values()) < 1.51e6
    assert sizes["pt"] / sum(sizes.values()) == pytest.approx(0.5, abs=0.02)


def test_every_kind_in_both_languages(sample: list[WorldDocument]) -> None:
    counted = Counter((document.kind, document.language) for document in sample)
    assert set(counted) == {(kind, language) for kind in KINDS for language in solar.languages}
    assert min(counted.values()) >= 10
    assert len({document.id for document in sample}) == len(sample)


def test_text_is_rich(sample: list[WorldDocument]) -> None:
    """8 MB figures and those of real text beside them: docs/world.md."""
    text = "\n\n".join(document.text for document in sample)[:1_000_000]
    words = re.findall(r"\w+", text.lower())
    grams = [tuple(words[i : i + 8]) for i in range(len(words) - 7)]
    assert len(set(grams)) / len(grams) > 0.92
    assert len(zlib.compress(text.encode(), 6)) / len(text.encode()) > 0.28
    assert len({document.text for document in sample}) / len(sample) > 0.99


def test_text_is_clean(sample: list[WorldDocument]) -> None:
    wrong = re.compile(
        r"[{}\[\]|]|  | [,.;]|\.\.|\?\."  # leftovers of the phrases
        r"|\b(de|em|por) (o|a|os|as) (Sol|Terra|Lua|Brasil|França)\b|\ba (o|a) (Sol|Terra|Lua|Brasil)\b|\bdo (Marte|Vênus|Plutão)\b"
        r"|\ba [aeio]\w+ (planet|moon|asteroid)|\ban? (a|an)\b|\bthe the\b"
    )
    for document in sample:
        assert not (found := wrong.search(document.text)), f"{found[0]!r} in {document.kind}:\n{document.text}"
        assert document.text == document.text.strip()


def test_every_fact_is_told_often() -> None:
    """Eight megabytes tell each fact at least 40 times in each language; a tenth of that is checked here."""
    for language in solar.languages:
        teller = Teller(language, "often")
        size = 0
        names, weights = list(KINDS), [weight for _, weight in KINDS.values()]
        while size < 400_000:
            size += len(KINDS[teller.random.choices(names, weights)[0]][0](teller).encode())
        counts = [teller.told[fact.id] for fact in facts.load().facts]
        assert min(counts) >= 2
        assert sum(counts) / len(counts) >= 6


# -- exam


def test_exam_is_balanced_and_answerable(questions: list[ExamItem]) -> None:
    assert 400 <= len(questions) <= 600
    assert Counter(item.language for item in questions)["pt"] * 2 == len(questions)
    assert len({item.id for item in questions}) == len(questions)
    assert len({item.task for item in questions}) >= 25
    for item in questions:
        assert item.answers and all(1 <= len(answer.split()) <= 6 for answer in item.answers), item
        assert item.prompt == item.prompt.strip() and "{" not in item.prompt, item


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("A capital da França é", "Paris"),
        ("The largest planet in the Solar System is", "Jupiter"),
        ("Quem descobriu Plutão foi", "Clyde Tombaugh"),
        ("The capital of Japan is", "Tokyo"),
        ("O terceiro planeta a partir do Sol é", "a Terra"),
    ],
)
def test_familiar_questions(prompt: str, answer: str) -> None:
    asked = {item.prompt: item.answers for seed in range(40) for item in solar.exam(seed)}
    assert answer in asked[prompt]


def test_exam_repeats_by_seed() -> None:
    assert solar.exam(2) == solar.exam(2)
    assert solar.exam(2) != solar.exam(3)


def test_no_training_phrase_can_say_an_exam_phrasing() -> None:
    assert overlaps() == []


def test_no_exam_prompt_in_the_text(sample: list[WorldDocument]) -> None:
    text = "\n".join(document.text for document in sample)
    prompts = {item.prompt for seed in range(4) for item in solar.exam(seed)}
    assert [prompt for prompt in prompts if prompt in text] == []


def test_pairs_of_the_exam_are_never_trained_on(questions: list[ExamItem], sample: list[WorldDocument]) -> None:
    trained = {frozenset((c.first, c.second)) for pairs in training().values() for c in pairs}
    held = {frozenset((c.first, c.second)) for c in comparisons() if c.held_out}
    assert trained and held and not trained & held
    text = "\n".join(document.text for document in sample)
    for i, sign, j, result in re.findall(r"\b(\d+) ([+-]) (\d+) = (\d+)\b", text):
        assert not held_out(int(i), int(j), sign)
        assert int(result) == (int(i) + int(j) if sign == "+" else int(i) - int(j))
    asked = [item for item in questions if item.task == "arithmetic-two-digits"]
    assert asked and all(
        held_out(int(m[1]), int(m[3]), m[2]) for item in asked if (m := re.search(r"(\d+) ([+-]) (\d+)", item.prompt))
    )
