"""The calculator: the book's first plugin (M. Galvão, *Conversa entre o Sol e Plutão*, v1.5 (2024), section 3.4).

A recursive-descent parser reads the expression and computes on the way; nothing is ever evaluated as a program.

    sum      = product { ("+" | "-") product }
    product  = signed { ("*" | "/" | "%") signed }         % with a number after it: the remainder of the division
    signed   = ["+" | "-"] signed | power
    power    = percent [ "^" signed ]                      2^3^2 is 2^9; -2^2 is -4
    percent  = atom { "%" }                                % with no number after it: hundredths
    atom     = number | constant | function "(" arguments ")" | "(" sum ")"

Numbers are fractions, so 0.1 + 0.2 is 0.3. What no fraction can say (the root of 2, a sine) is computed to many more digits
than are shown. A comma is read as a decimal comma, except between the arguments of a function that takes several and
where points or other commas show that it parts thousands. Limits on length, depth and size keep every expression short
work, whoever wrote it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

from plutao.generate.tools.mathematics import CONSTANTS, EXACT, FUNCTIONS, CannotCompute, bounded, raised, show

MOST_CHARACTERS = 500
MOST_DEPTH = 40
"""Parentheses, signs and powers within one another."""

OPERATORS = str.maketrans({"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", ":": "/", "[": "(", "]": ")"})
NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*|[.,][0-9]+")
NUMBER_WITHOUT_COMMA = re.compile(r"[0-9]+(?:\.[0-9]+)*|\.[0-9]+")
NAME = re.compile(r"[^\W\d_]+")


class Calculator:
    """The tool `calculator`: an expression in, its value out."""

    name = "calculator"
    description = (
        "Computes an expression exactly: + - × ÷ ^ % (percent, or remainder between two numbers), parentheses, sqrt, abs, "
        "round, floor, ceil, min, max, ln, log, exp, sin, cos, tan (radians), pi, e."
    )
    parameters: dict[str, Any] = {  # noqa: RUF012
        "type": "object",
        "properties": {"expression": {"type": "string", "description": "for example (12 + 30) × 2"}},
        "required": ["expression"],
    }

    def run(self, arguments: dict[str, Any]) -> str:
        """The value as people write it, or `error: ` and why there is none."""
        expression = arguments.get("expression")
        if not isinstance(expression, str):
            return 'error: the calculator needs an "expression"'
        try:
            return calculate(expression)
        except CannotCompute as error:
            return f"error: {error}"


def calculate(expression: str) -> str:
    """The value of an expression as people write it: `2.5`, `-7`, `0.333333333333`, `1.5 × 10^40`; with a decimal comma
    where the expression has one.

    Raises:
        CannotCompute: it is no expression, has no value, or is larger than the limits.
    """
    if len(expression) > MOST_CHARACTERS:
        raise CannotCompute(f"the expression is longer than {MOST_CHARACTERS} characters")
    parser = Parser(expression.translate(OPERATORS).replace("**", "^").strip().removesuffix("=").rstrip())
    value = parser.read()
    shown = show(value, parser.approximate)
    return shown.replace(".", ",") if parser.decimal_comma else shown


class Parser:
    """Reads one expression from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self.place, self.depth = text, 0, 0
        self.comma_separates = False
        self.decimal_comma = False
        """Whether a number was written with a decimal comma."""
        self.approximate = False
        """Whether anything was computed that no fraction can say."""

    def read(self) -> Fraction:
        """The value of the whole text."""
        if not self.text:
            raise CannotCompute("the expression is empty")
        value = self.sum()
        if self.next():
            raise self.unexpected()
        return value

    # -----------------------------------------------------------------------------------------------------------------
    # The grammar, one method a line

    def sum(self) -> Fraction:
        value = self.product()
        while self.next() in ("+", "-"):
            sign = self.take()
            other = self.product()
            value = bounded(value + other if sign == "+" else value - other)
        return value

    def product(self) -> Fraction:
        value = self.signed()
        while self.next() in ("*", "/", "%") or self.times():
            operator = self.take()
            other = self.signed()
            if operator in "*xX":
                value = bounded(value * other)
            elif other == 0:
                raise CannotCompute("division by zero")
            else:
                value = bounded(value / other if operator == "/" else value % other)
        return value

    def signed(self) -> Fraction:
        with_sign = self.next() in ("+", "-")
        if not with_sign:
            return self.power()
        negative = self.take() == "-"
        with self.level():
            value = self.signed()
        return -value if negative else value

    def power(self) -> Fraction:
        base = self.percent()
        if self.next() != "^":
            return base
        self.take()
        with self.level():
            exponent = self.signed()
        self.approximate |= exponent.denominator > 1
        return bounded(raised(base, exponent))

    def percent(self) -> Fraction:
        value = self.atom()
        while self.next() == "%" and not self.operand_follows():
            self.take()
            value = bounded(value / 100)
        return value

    def atom(self) -> Fraction:
        if self.next() == "(":
            with self.parentheses(comma_separates=False):
                return self.sum()
        form = NUMBER_WITHOUT_COMMA if self.comma_separates else NUMBER
        if number := form.match(self.text, self.place):
            self.place = number.end()
            return self.number(number[0])
        if name := NAME.match(self.text, self.place):
            self.place = name.end()
            return self.named(name[0])
        raise self.unexpected()

    def named(self, name: str) -> Fraction:
        """A constant, or a function of what follows in parentheses."""
        known = name.lower()
        if known in CONSTANTS:
            self.approximate = True
            return CONSTANTS[known]
        if known not in FUNCTIONS:
            raise CannotCompute(f"unknown name {name!r}")
        fewest, most, function = FUNCTIONS[known]
        if self.next() != "(":
            raise CannotCompute(f"{name} needs its argument in parentheses")
        with self.parentheses(comma_separates=most > 1 and not self.semicolon_within()):
            values = self.arguments()
        if not fewest <= len(values) <= most:
            raise CannotCompute(f"{name} does not take {len(values)} argument{'s' * (len(values) != 1)}")
        self.approximate |= known not in EXACT
        return bounded(function(*values))

    def arguments(self) -> list[Fraction]:
        values = [self.sum()]
        while self.next() == ";" or (self.comma_separates and self.next() == ","):
            self.take()
            values.append(self.sum())
        return values

    # -----------------------------------------------------------------------------------------------------------------
    # Reading

    def next(self) -> str:
        """The next character that is no blank; empty at the end."""
        while self.place < len(self.text) and self.text[self.place].isspace():
            self.place += 1
        return self.text[self.place : self.place + 1]

    def take(self) -> str:
        self.place += 1
        return self.text[self.place - 1]

    def times(self) -> bool:
        """Whether a multiplication written as the letter x comes: nothing else could be called so here."""
        name = NAME.match(self.text, self.place)
        return name is not None and name[0] in ("x", "X")

    def operand_follows(self) -> bool:
        """Whether the % that comes stands before a number, a name or a parenthesis, and so between two numbers."""
        rest = self.text[self.place + 1 :].lstrip()
        name = NAME.match(rest)
        return bool(NUMBER.match(rest)) or rest[:1] == "(" or (name is not None and name[0] not in ("x", "X"))

    def semicolon_within(self) -> bool:
        """Whether the arguments in the parentheses that come are parted by ";": then a comma in them is a decimal comma."""
        depth = 0
        for character in self.text[self.place :]:
            depth += (character == "(") - (character == ")")
            if depth == 1 and character == ";":
                return True
            if depth == 0:
                break
        return False

    @contextmanager
    def level(self) -> Iterator[None]:
        """One level deeper, within the limit."""
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise CannotCompute(f"more than {MOST_DEPTH} levels of parentheses, signs and powers")
        yield
        self.depth -= 1

    @contextmanager
    def parentheses(self, comma_separates: bool) -> Iterator[None]:
        """What stands between the parenthesis that comes and the one that closes it."""
        outside, self.comma_separates = self.comma_separates, comma_separates
        self.take()
        with self.level():
            yield
        if self.next() != ")":
            raise self.unexpected() if self.next() else CannotCompute("a parenthesis is not closed")
        self.take()
        self.comma_separates = outside

    def number(self, written: str) -> Fraction:
        """A number with a decimal point or comma, and with points or commas between thousands where that is certain."""
        signs = [character for character in written if character in ".,"]
        decimal = signs[-1] if len(set(signs)) == 2 or len(signs) == 1 else ""
        whole, _, decimals = written.rpartition(decimal) if decimal else (written, "", "")
        groups = re.split("[.,]", whole)
        if len(groups) > 1:
            uneven = not 1 <= len(groups[0]) <= 3 or any(len(group) != 3 for group in groups[1:])
            if uneven or len(set(re.findall("[.,]", whole))) > 1 or decimal in whole:
                raise CannotCompute(f"{written} is no number")
        elif decimal and len(decimals) == 3 and decimals[-1] == "0" and re.fullmatch("[1-9][0-9]{0,2}", whole):
            # Results never end in zeros, so only a person's thousands look like this, or a zero too many.
            raise CannotCompute(
                f"{written} may be {whole}{decimals} or {whole}.{decimals.rstrip('0') or '0'}: write it so"
            )
        self.decimal_comma |= decimal == ","
        digits = "".join(groups) or "0"
        return bounded(Fraction(f"{digits}.{decimals}" if decimals else digits))

    def unexpected(self) -> CannotCompute:
        rest = self.text[self.place : self.place + 12]
        return CannotCompute(f"not understood from {rest!r} on" if rest else "the expression breaks off")
