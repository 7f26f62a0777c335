"""The exam marks by its written rule, and says what luck would have got."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest

from plutao.evaluate.exam import floor, is_right, take_exam
from plutao.evaluate.intervals import wilson
from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.text.tokenizer import Tokenizer, train
from plutao.worlds import world


@dataclass(frozen=True)
class Question:
    id: str
    task: str
    language: str
    prompt: str
    answers: tuple[str, ...]


CAPITALS = [
    Question("1", "capitals", "pt", "A capital da França é", ("Paris",)),
    Question("2", "capitals", "pt", "A capital da Itália é", ("Roma",)),
    Question("3", "capitals", "pt", "A capital do Brasil é", ("Brasília",)),
    Question("4", "capitals", "pt", "Onde fica o Louvre? Em", ("Paris",)),
    Question("5", "moons", "en", "Charon orbits", ("Pluto", "the dwarf planet Pluto")),
]


@dataclass
class Said:
    text: str


class Parrot:
    """An engine that says what it was told to."""

    def __init__(self, sayings: dict[str, str]) -> None:
        self.sayings, self.samplings = sayings, list[Sampling]()

    def complete(self, prompts: Sequence[str], sampling: Sampling, **options: Any) -> list[list[Said]]:
        self.samplings.append(sampling)
        return [[Said(self.sayings[prompt])] for prompt in prompts]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train("char", [item.prompt + " ".join(item.answers) for item in CAPITALS], 200)


@pytest.mark.parametrize(
    ("said", "answers"),
    [
        (" Júpiter, o maior planeta.", ["Júpiter"]),
        (" JÚPITER", ["júpiter"]),
        (" Ju\u0301piter.", ["Júpiter"]),  # the accent as a character of its own
        (" the Sun. It is", ["Sun", "the Sun"]),
        (" São Tomé e Príncipe\nMore", ["São Tomé e Príncipe"]),
        (" 4.5 hours", ["4.5"]),
        (" −63 °C", ["-63"]),
        (" “Paris”", ["Paris"]),
        (" guarda-chuva;", ["guarda-chuva"]),
    ],
)
def test_right_answers_are_recognised(said: str, answers: list[str]) -> None:
    assert is_right(said, answers)


@pytest.mark.parametrize(
    ("said", "answers"),
    [
        (" Jupiter", ["Júpiter"]),  # accents are letters
        (" Júpiteres", ["Júpiter"]),  # whole words
        (" não é Júpiter", ["Júpiter"]),  # what comes first counts
        (" 45", ["4"]),
        (" 4.5 hours", ["4"]),
        (" 63 °C", ["-63"]),
        ("\nParis", ["Roma"]),
        ("", ["Paris"]),
        (" São Tomé", ["São Tomé e Príncipe"]),
        (" guarda", ["guarda-chuva"]),
    ],
)
def test_wrong_answers_are_not_let_through(said: str, answers: list[str]) -> None:
    assert not is_right(said, answers)


def test_shares_floors_and_wrong_answers(tokenizer: Tokenizer) -> None:
    said = [" Paris.", " Londres.", " Brasília", " Roma", " the dwarf planet Pluto."]
    parrot = Parrot({item.prompt: saying for item, saying in zip(CAPITALS, said, strict=True)})
    told: list[int] = []
    result = take_exam(cast(Engine, parrot), tokenizer, CAPITALS, told.append)
    data = result.as_json()
    assert sum(told) == 5
    assert data["overall"] == {**wilson(3, 5).as_json(), "floor": pytest.approx(3 / 5)}
    assert data["by_task"]["capitals"]["value"] == 0.5 and data["by_task"]["moons"]["n"] == 1
    assert data["by_task"]["capitals"]["floor"] == 0.5, "always saying Paris"
    assert set(data["by_language"]) == {"en", "pt"}
    assert data["wrong"][0] == {
        "task": "capitals",
        "language": "pt",
        "prompt": "A capital da Itália é",
        "expected": "Roma",
        "answered": "Londres.",
    }
    assert len(result.as_json(wrong=1)["wrong"]) == 1
    sampling = parrot.samplings[0]
    assert sampling.temperature == 0.0 and "\n" in sampling.stop
    assert sampling.max_tokens > len(" the dwarf planet Pluto"), "room to see that a word goes on"


def test_the_floor_is_the_best_answer_that_ignores_the_prompt() -> None:
    assert floor(CAPITALS[:4]) == 0.5
    assert floor(CAPITALS[:3]) == pytest.approx(1 / 3)
    yes_or_no = [Question(str(i), "true", "en", "?", ("yes",) if i < 7 else ("no",)) for i in range(10)]
    assert floor(yes_or_no) == 0.7
    assert floor([*yes_or_no, *CAPITALS[:4]]) == pytest.approx(9 / 14), "tasks have answers of their own"


def test_an_untrained_model_takes_the_worlds_exam_and_fails() -> None:
    items = world("solar").exam(1)[:24]
    shape = {"layers": 1, "width": 32, "heads": 2, "kv_heads": 2, "head_width": 16, "hidden": 64}
    characters = train("char", [item.prompt + " ".join(item.answers) for item in items], 300)
    model = Decoder(DecoderConfig(vocabulary=characters.vocabulary_size, context=128, **shape))
    model.initialise(1)
    result = take_exam(Engine(model.eval(), characters), characters, items)
    assert len(result.answered) == 24
    assert result.overall.value < 0.2
    assert [answered.item.id for answered in result.answered] == [item.id for item in items]
