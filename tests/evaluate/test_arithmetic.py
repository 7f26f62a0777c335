"""Sums by digits: the problems are what they say, and the answer is the last number named."""

from collections.abc import Sequence

import pytest

from plutao.evaluate.arithmetic import DIGITS, Problem, is_right, measure, problems
from plutao.text.chat import Messages


def problem(result: int) -> Problem:
    return Problem("addition", 2, "en", "?", result)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("42", 42),
        ("12 + 30 = 42.", 42),
        ("It is 1,234.", 1234),
        ("São 1.234.567.", 1234567),
        ("12 345", 12345),
        ("The answer is −5", -5),
        ("7 - 12 = -5", -5),
    ],
)
def test_the_last_number_counts_however_it_is_grouped(answer: str, result: int) -> None:
    assert is_right(answer, problem(result))


@pytest.mark.parametrize(
    ("answer", "result"), [("", 4), ("forty", 40), ("42 is 12 + 30", 42), ("421", 42), ("1.2345", 12345), ("-5", 5)]
)
def test_other_numbers_do_not(answer: str, result: int) -> None:
    assert not is_right(answer, problem(result))


def test_problems_cover_the_figures_rows_and_are_right() -> None:
    some = problems(("pt", "en"), each=6, seed=3)
    assert some == problems(("pt", "en"), each=6, seed=3) != problems(("pt", "en"), each=6, seed=4)
    cells = {(each.operation, each.digits) for each in some}
    assert cells == {(op, n) for op in ("addition", "subtraction") for n in DIGITS} | {
        ("multiplication", 1), ("multiplication", 2)
    }  # fmt: skip
    for each in some:
        a, sign, b = each.text.rstrip("?").split()[-3:]
        assert eval(f"{a}{sign.replace('×', '*')}{b}") == each.result  # our own three words
        assert {len(a), len(b)} == {each.digits} and each.result >= 0
        assert each.text.startswith("Quanto" if each.language == "pt" else "How much")


class Calculates:
    """Right up to two digits."""

    def answer(self, conversations: Sequence[Messages], seed: int, temperature: float) -> list[str]:
        assert temperature == 0.0
        results = []
        for messages in conversations:
            a, sign, b = messages[-1].content.rstrip("?").split()[-3:]
            results.append(str(eval(f"{a}{sign.replace('×', '*')}{b}")) if len(a) < 3 else "I can't.")
        return results


def test_accuracy_by_digits_and_operation() -> None:
    found = measure(Calculates(), problems(("en",), each=5))
    assert [found["by_digits"][str(n)]["value"] for n in DIGITS] == [1, 1, 0, 0, 0]
    assert found["by_digits"]["1"]["n"] == 10, "addition and subtraction; multiplication has a row of its own"
    assert found["by_operation"]["multiplication"].keys() == {"1", "2"}
    assert found["overall"]["n"] == 60 and found["overall"]["value"] == pytest.approx(30 / 60)
