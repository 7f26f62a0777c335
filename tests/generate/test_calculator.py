"""The calculator: what Python computes, written as people write it, and a few words for everything else."""

import decimal
import math
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plutao.generate.tools.calculator import MOST_CHARACTERS, Calculator, calculate
from plutao.generate.tools.mathematics import CannotCompute
from plutao.worlds import world

# ---------------------------------------------------------------------------------------------------------------------
# Against Python, on expressions that nobody thought of


def numbers() -> st.SearchStrategy[tuple[str, str]]:
    """(as the calculator reads it, the same for Python's Fraction)."""
    whole = st.integers(0, 99999).map(str)
    decimals = st.tuples(st.integers(0, 999), st.integers(1, 99)).map(lambda pair: f"{pair[0]}.{pair[1]:02}")
    return (whole | decimals).map(lambda text: (text, f"Fraction('{text}')"))


def combined(inner: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[tuple[str, str]]:
    pairs = st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner)
    signs = {"*": "×", "/": "÷", "-": "−"}
    return (
        pairs.map(lambda p: (f"{p[0][0]} {signs.get(p[1], p[1])} {p[2][0]}", f"{p[0][1]}{p[1]}{p[2][1]}"))
        | inner.map(lambda one: (f"({one[0]})", f"({one[1]})"))
        | inner.map(lambda one: (f"-({one[0]})", f"-({one[1]})"))
        | inner.map(lambda one: (f"({one[0]})^2", f"({one[1]})**2"))
        | inner.map(lambda one: (f"abs({one[0]})", f"abs({one[1]})"))
        | st.tuples(inner, inner).map(lambda p: (f"max({p[0][0]}, {p[1][0]})", f"max({p[0][1]}, {p[1][1]})"))
        | st.tuples(inner, inner).map(lambda p: (f"({p[0][0]}) % ({p[1][0]})", f"({p[0][1]}) % ({p[1][1]})"))
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(numbers(), combined, max_leaves=8))
def test_expressions_have_the_value_that_python_gives_them(expression: tuple[str, str]) -> None:
    ours, theirs = expression
    try:
        expected = eval(theirs, {"Fraction": Fraction, "abs": abs, "max": max})
    except ZeroDivisionError:
        with pytest.raises(CannotCompute, match="division by zero"):
            calculate(ours)
        return
    told = calculate(ours)
    if "10^" not in told:
        assert math.isclose(Fraction(told), expected, rel_tol=1e-11), ours
        assert expected.denominator > 1 or told == str(expected) or abs(expected) >= 10**40


@settings(max_examples=300, deadline=None)
@given(st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15), st.sampled_from("+-*"))
def test_whole_numbers_are_exact(a: int, b: int, sign: str) -> None:
    assert calculate(f"{a} {sign} ({b})") == str({"+": a + b, "-": a - b, "*": a * b}[sign])


@settings(max_examples=200, deadline=None)
@given(st.decimals(-10000, 10000, places=4), st.decimals(-10000, 10000, places=4), st.sampled_from("+-*"))
def test_decimals_are_exact(a: decimal.Decimal, b: decimal.Decimal, sign: str) -> None:
    """No 0.30000000000000004."""
    expected = {"+": a + b, "-": a - b, "*": a * b}[sign]
    assert Fraction(calculate(f"{a} {sign} ({b})")) == Fraction(expected)


@settings(max_examples=200, deadline=None)
@given(st.floats(0.01, 1000), st.sampled_from(["sqrt", "ln", "log", "exp", "sin", "cos", "tan"]))
def test_functions_agree_with_python(x: float, name: str) -> None:
    argument = f"{x if name != 'exp' else x / 20:.6f}"
    python = {"ln": "log", "log": "log10"}.get(name, name)
    told = calculate(f"{name}({argument})")
    expected = getattr(math, python)(float(argument))
    mantissa, _, power = told.partition(" × 10^")
    assert math.isclose(float(mantissa) * 10 ** int(power or 0), expected, rel_tol=1e-9, abs_tol=1e-11)


# ---------------------------------------------------------------------------------------------------------------------
# As people write


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("0.1 + 0.2", "0.3"),
        ("10/4", "2.5"),
        ("1/3", "0.333333333333"),
        ("2/3", "0.666666666667"),
        ("1/7 × 7", "1"),
        ("12 × 3 − 6 ÷ 2", "33"),
        ("3 x 4", "12"),
        ("12 + 30 =", "42"),
        ("-2^2", "-4"),
        ("(-2)^2", "4"),
        ("2^3^2", "512"),
        ("2^-1", "0.5"),
        ("2**10", "1024"),
        ("--3", "3"),
        ("2 - -3", "5"),
        ("17 % 5", "2"),
        ("-7 % 3", "2"),
        ("15% × 80", "12"),
        ("50%", "0.5"),
        ("50% + 1", "1.5"),
        ("2,5 × 2", "5"),
        ("1,5 + 1", "2,5"),
        ("1.234.567,5 + 1", "1234568,5"),
        ("1,234,567.5 + 1", "1234568.5"),
        ("3.125 × 2", "6.25"),
        ("max(1,2)", "2"),
        ("max(1,5; 2)", "2"),
        ("sqrt(2,25)", "1,5"),
        ("min(3, max(1, 2), 5)", "2"),
        ("round(2.5)", "3"),
        ("round(-2.5)", "-3"),
        ("round(3.14159, 2)", "3.14"),
        ("floor(-1.5) + ceil(1.2)", "0"),
        ("sqrt(16)", "4"),
        ("sqrt(2)^2", "2"),
        ("8^(1/3)", "2"),
        ("4^0.5", "2"),
        ("0^0", "1"),
        ("sin(pi)", "0"),
        ("cos(pi/3)", "0.5"),
        ("SEN(π/6)", "0.5"),
        ("ln(e^3)", "3"),
        ("log(1000)", "3"),
        ("log(8, 2)", "3"),
        ("2^100", "1267650600228229401496703205376"),
        ("2^200", "1.60693804426 × 10^60"),
        ("1.5 × 10^40", "1.5 × 10^40"),
        ("1/10^30", "1 × 10^-30"),
        ("1 / 3 / 10^8", "3.33333333333 × 10^-9"),
    ],
)
def test_results_are_written_as_people_write_them(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("1/0", "division by zero"),
        ("5 % 0", "division by zero"),
        ("0^-1", "division by zero"),
        ("sqrt(-4)", "no square root"),
        ("(-8)^(1/3)", "no such power"),
        ("ln(0)", "logarithm"),
        ("log(5, 1)", "logarithm"),
        ("tan(pi/2)", "not defined"),
        ("", "empty"),
        ("2+", "breaks off"),
        ("(1", "not closed"),
        ("1)", "not understood from ')'"),
        ("3(4)", "not understood from '(4)'"),
        ("7 8", "not understood from '8'"),
        ("planeta", "unknown name 'planeta'"),
        ("sqrt 4", "parentheses"),
        ("round()", "not understood"),
        ("sqrt(1; 2)", "does not take 2 arguments"),
        ("round(1; 0.5)", "whole number"),
        ("1.500 + 1", "1500 or 1.5"),
        ("1.23.4", "no number"),
        ("1,234.567.8", "no number"),
        ("5!", "not understood from '!'"),
    ],
)
def test_what_has_no_value_is_said_in_words(expression: str, said: str) -> None:
    told = Calculator().run({"expression": expression})
    assert told.startswith("error: ") and said in told


# ---------------------------------------------------------------------------------------------------------------------
# Hostile input


@pytest.mark.parametrize(
    "expression",
    [
        "9^9^9^9",
        "2^99999999999",
        "(10^2000)^2",
        "1.1^100000",
        "10^2000" + "*10^2000" * 40,
        "exp(exp(exp(10)))",
        "exp(99999)",
        "2^0.1^-99",
        "9" * MOST_CHARACTERS + "9",
        "9" * MOST_CHARACTERS,
        "(" * 250 + "1" + ")" * 249,
        "-" * 499 + "1",
        "2^" * 249 + "2",
        "abs(" * 120 + "1" + ")" * 20,
        "1" + "%" * 499,
        "max(" + "1," * 247 + "1)",
        "max(" * 60 + ";" * 200,
        "+".join(f"1/{prime}" for prime in range(1000003, 1000053)),
        "__import__('os').system('true')",
        "().__class__",
        "1e999999999",
        "0x41",
        "1_000",
        "lambda: 0",
        "٣ + ４",
        "\x00",
        "sin(10^40)",
        "1;2",
        "\ud800",
    ],
)
def test_hostile_expressions_are_short_work(expression: str) -> None:
    start = time.perf_counter()
    told = Calculator().run({"expression": expression})
    assert time.perf_counter() - start < 0.5
    assert told and len(told) < 200


@settings(max_examples=400, deadline=2000)
@given(st.text("0123456789.,+-*/%^()eπx ;abs sqrt max ln×÷−", max_size=60) | st.text(max_size=40))
def test_anything_typed_comes_back_as_text(expression: str) -> None:
    assert isinstance(Calculator().run({"expression": expression}), str)


@given(st.dictionaries(st.text(max_size=12), st.none() | st.integers() | st.lists(st.text(max_size=3)), max_size=3))
def test_arguments_of_the_wrong_form_are_told(arguments: dict[str, object]) -> None:
    assert Calculator().run(arguments).startswith("error: ")


@settings(max_examples=200, deadline=None)
@given(st.recursive(numbers(), combined, max_leaves=6))
def test_a_result_can_be_reckoned_with_again(expression: tuple[str, str]) -> None:
    try:
        told = calculate(expression[0])
    except CannotCompute:
        return
    assert calculate(told) == told


def test_the_worlds_dialogues_show_what_the_calculator_says() -> None:
    """What an assistant learns to expect of the tool is what the tool gives it."""
    called = 0
    for dialogue in world("solar").dialogues(600, seed=8):
        for place, message in enumerate(dialogue.messages):
            for number, call in enumerate(message.tool_calls, 1):
                called += 1
                assert Calculator().run(call.arguments) == dialogue.messages[place + number].content, call
    assert called > 30
