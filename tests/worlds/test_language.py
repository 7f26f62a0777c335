"""Articles, contractions, numbers and agreement in both languages."""

import pytest

from plutao.worlds.solar.language import name_forms, number, number_in_words, quantity, with_a
from plutao.worlds.solar.phrases import fill, parse


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("a Terra", ("da Terra", "na Terra", "à Terra", "pela Terra", "a", "fica")),
        ("o Brasil", ("do Brasil", "no Brasil", "ao Brasil", "pelo Brasil", "o", "fica")),
        (
            "os Estados Unidos",
            ("dos Estados Unidos", "nos Estados Unidos", "aos Estados Unidos", "pelos Estados Unidos", "o", "ficam"),
        ),
        ("Marte", ("de Marte", "em Marte", "a Marte", "por Marte", "o", "fica")),
    ],
)
def test_portuguese_contractions(name: str, forms: tuple[str, ...]) -> None:
    found = name_forms(name, "pt")
    assert tuple(found[slot] for slot in ("dex", "emx", "ax", "porx", "ox", "ficax")) == forms


def test_moons_are_feminine() -> None:
    assert name_forms("Io", "pt", gender="f")["ox"] == "a"
    assert name_forms("a lua", "pt")["umx"] == "uma lua"


def test_english_forms() -> None:
    assert name_forms("the Sun", "en") == {"x": "the Sun", "x0": "Sun", "xs": "the Sun's", "ax": "a Sun"}
    assert name_forms("the United States", "en")["xs"] == "the United States'"
    assert [with_a(noun) for noun in ("asteroid", "planet", "ice giant")] == ["an asteroid", "a planet", "an ice giant"]


def test_numbers() -> None:
    assert (number(139820, "pt"), number(139820, "en")) == ("139.820", "139,820")
    assert (quantity(6.4, "day", "pt"), quantity(1.8, "day", "pt"), quantity(1.8, "day", "en")) == (
        "6,4 dias",
        "1,8 dia",
        "1.8 days",
    )
    assert [number_in_words(n, "pt") for n in (0, 16, 42, 100, 121)] == [
        "zero",
        "dezesseis",
        "quarenta e dois",
        "cem",
        "cento e vinte e um",
    ]
    assert [number_in_words(n, "en") for n in (13, 42, 100, 121)] == [
        "thirteen",
        "forty-two",
        "one hundred",
        "one hundred and twenty-one",
    ]


def test_phrases_choose_and_fill() -> None:
    tree = parse("{x} [gira|anda[ devagar| depressa]] em torno {dey}")
    slots = {"x": "Io", "dey": "de Júpiter"}
    assert fill(tree, slots, lambda: 0.0) == "Io gira em torno de Júpiter"
    assert fill(tree, slots, lambda: 0.99) == "Io anda depressa em torno de Júpiter"
    with pytest.raises(AssertionError, match="never closed"):
        parse("a [b|c")
