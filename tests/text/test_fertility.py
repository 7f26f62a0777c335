"""Bytes per token, the measure of a vocabulary's economy in a language."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from plutao.text.fertility import fertility, fertility_by_language
from plutao.text.tokenizer import Tokenizer, train


def test_characters_carry_as_many_bytes_as_they_have() -> None:
    char = train("char", ["aé☃"], 99)
    assert fertility(char, ["aaa"]) == 1
    assert fertility(char, ["éé", "aa"]) == (4 + 2) / 4
    assert fertility(char, iter([])) == 0


def test_each_language_is_counted_apart_and_tokenizers_stand_side_by_side() -> None:
    char, word = train("char", ["o sol nasce the sun rises"], 99), train("word", ["o sol nasce"], 19)
    samples = [("pt", "o sol"), ("en", "the sun"), ("pt", "nasce")]
    table = fertility_by_language({"char": char, "word": word}, iter(samples))
    assert table == {"en": {"char": 1, "word": 7 / 2}, "pt": {"char": 1, "word": 10 / 3}}
    assert list(table) == ["en", "pt"]


def test_a_long_stream_is_measured_in_pieces() -> None:
    char = train("char", ["sol "], 99)

    def texts() -> Iterator[str]:
        for _ in range(30):
            yield "sol " * 20_000

    assert fertility(char, texts()) == 1


def test_an_empty_language_is_left_out() -> None:
    assert fertility_by_language({"char": train("char", ["sol"], 99)}, [("pt", "")]) == {}


@pytest.mark.real_data
def test_gpt2_cuts_portuguese_finer_than_english(real_data: Path) -> None:
    gpt2 = Tokenizer.load(real_data / "assets")
    samples = [
        ("en", "The Moon is the only natural satellite of the Earth, and people walked on it."),
        ("pt", "A Lua é o único satélite natural da Terra, e pessoas já caminharam sobre ela."),
    ]
    table = fertility_by_language({"gpt2": gpt2}, samples)
    assert table["en"]["gpt2"] > 1.5 * table["pt"]["gpt2"]
