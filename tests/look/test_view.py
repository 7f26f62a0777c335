"""A view can be read without colours, and its colours can be read by all."""

import io

import pytest
from rich.console import Console

from plutao.look.view import View, as_json, cividis, is_light
from plutao.look.words import ENGLISH, PORTUGUESE


def some_view(cell: str = "Sol") -> View:
    def draw() -> None:
        raise AssertionError("nobody asked for the picture")

    return View("id", "Title", "Note", ["name", "p"], [[cell, "40%"], ["x", "60%"]], draw, [0.4, None], 1, marked=0)  # type: ignore[arg-type]


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_cividis_gets_lighter_as_probability_grows() -> None:
    assert cividis(0) == "#00224e"
    assert cividis(1) == "#fee838"
    steps = [luminance(cividis(number / 20)) for number in range(21)]
    assert steps == sorted(steps)
    assert cividis(1.0000001) == cividis(1)
    assert is_light(cividis(1)) and not is_light(cividis(0))


def test_the_table_carries_the_numbers_where_there_is_no_colour() -> None:
    out = io.StringIO()
    Console(file=out, width=60, no_color=True).print(some_view("[red]Sol").terminal())
    lines = out.getvalue().splitlines()
    assert lines[0].strip() == "Title"
    assert any("▶" in line and "[red]Sol" in line and "40%" in line for line in lines)


def test_what_a_text_says_is_escaped_in_a_notebook() -> None:
    shown = some_view("<script>alert(1)</script>")._repr_html_()
    assert "<script>" not in shown
    assert f"background:{cividis(0.4)}" in shown


def test_both_languages_say_the_same_things_with_the_same_gaps() -> None:
    assert ENGLISH.keys() == PORTUGUESE.keys()
    for key, english in ENGLISH.items():
        gaps = {piece.split("}")[0] for piece in english.split("{")[1:]}
        assert gaps == {piece.split("}")[0] for piece in PORTUGUESE[key].split("{")[1:]}, key


def test_json_has_the_fields_and_what_follows_from_them() -> None:
    from plutao.look.chain_rule import ChainRule, Factor

    told = as_json(ChainRule("ab", [Factor(1, "ab", 0.5, -0.6931, -0.6931)], 2))
    assert told["factors"][0]["id"] == 1
    assert told["log_probability"] == pytest.approx(-0.6931)
    assert told["perplexity"] == pytest.approx(2, rel=1e-3)
