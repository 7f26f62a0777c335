"""Sums by number of digits, with the calculator and without it: the table of the book's Figure 10 (Brown et al. 2020, table 3.9),
and what the first plugin is for (section 3.4).
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from plutao.evaluate.intervals import Share, wilson
from plutao.evaluate.responders import Responder
from plutao.text.chat import Message, Messages

DIGITS = (1, 2, 3, 4, 5)
OPERATIONS: dict[str, tuple[str, Callable[[int, int], int]]] = {
    "addition": ("+", lambda a, b: a + b),
    "subtraction": ("-", lambda a, b: a - b),
    "multiplication": ("×", lambda a, b: a * b),
}
ASKED = {"en": "How much is {a} {sign} {b}?", "pt": "Quanto é {a} {sign} {b}?"}


@dataclass(frozen=True)
class Problem:
    """A calculation in words."""

    operation: str
    digits: int
    """Of each of the two numbers."""
    language: str
    text: str
    result: int

    @property
    def messages(self) -> Messages:
        return (Message("user", self.text),)


def problems(languages: Sequence[str], each: int = 20, seed: int = 1) -> list[Problem]:
    """`each` problems for every operation and number of digits, the languages in turn; no multiplication beyond two
    digits, as in the book's table. Subtractions do not go below zero.
    """
    chance = random.Random(f"arithmetic/{seed}")
    spoken = [language for language in languages if language in ASKED] or ["en"]
    found = []
    for operation, (sign, compute) in OPERATIONS.items():
        for digits in DIGITS if operation != "multiplication" else (1, 2):
            for place in range(each):
                low, high = (0 if digits == 1 else 10 ** (digits - 1)), 10**digits - 1
                a, b = chance.randint(low, high), chance.randint(low, high)
                if operation == "subtraction":
                    a, b = max(a, b), min(a, b)
                language = spoken[place % len(spoken)]
                text = ASKED[language].format(a=a, b=b, sign=sign)
                found.append(Problem(operation, digits, language, text, compute(a, b)))
    return found


def is_right(answer: str, problem: Problem) -> bool:
    """The last number that the answer names is the result, however its thousands are grouped."""
    numbers = re.findall(r"(?<![\w.,])[-−]?\d{1,3}(?:[.,\u00a0\u202f ]\d{3})+(?!\d)|[-−]?\d+", answer)
    return bool(numbers) and int(re.sub(r"[^\d-]", "", numbers[-1].replace("−", "-"))) == problem.result


def measure(responder: Responder, some: Sequence[Problem], seed: int = 1) -> dict[str, Any]:
    """Shares of right answers, greedy: overall, by_digits and by_operation ({operation: {digits: share}})."""
    said = responder.answer([problem.messages for problem in some], seed, 0.0)
    right = [is_right(answer, problem) for answer, problem in zip(said, some, strict=True)]

    def share(wanted: Callable[[Problem], bool]) -> Share | None:
        chosen = [ok for ok, problem in zip(right, some, strict=True) if wanted(problem)]
        return wilson(sum(chosen), len(chosen)) if chosen else None

    def table(wanted: Callable[[Problem], bool]) -> dict[str, Any]:
        shares = {digits: share(lambda p, d=digits: p.digits == d and wanted(p)) for digits in DIGITS}  # type: ignore[misc]
        return {str(digits): found.as_json() for digits, found in shares.items() if found is not None}

    return {
        "overall": wilson(sum(right), len(right)).as_json(),
        "by_digits": table(lambda problem: problem.operation != "multiplication"),
        "by_operation": {name: table(lambda p, name=name: p.operation == name) for name in OPERATIONS},  # type: ignore[misc]
    }
