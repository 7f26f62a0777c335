"""What the calculator computes with: fractions, and what no fraction can say to many more digits than are shown."""

import math
from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction

MOST_BITS = 8192
"""Size of a numerator or denominator, about 2,400 digits."""
MOST_EXPONENT = 5000
"""e to this power, or its inverse, is the largest or smallest number that is not a fraction."""
DIGITS = 50
"""Significant digits of what no fraction can say."""
SHOWN = 12
"""Significant digits shown of what has no end."""
WRITTEN_OUT = 40
"""Digits of a whole number that are written out; longer ones are shown as 1.23 × 10^45."""
MOST_DECIMALS = 20
"""Digits after the point shown where the result is exact."""

PRECISE = Context(prec=DIGITS + 15, Emax=10**6, Emin=-(10**6))
PI = Fraction(
    Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
)
E = Fraction(PRECISE.exp(Decimal(1)))


class CannotCompute(ValueError):
    """Why an expression has no result, in a few words for the model and whoever reads along."""


# ---------------------------------------------------------------------------------------------------------------------
# Powers and functions


def bounded(value: Fraction) -> Fraction:
    """The value, if it is within the limit of size."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
        raise CannotCompute("a number is too large or has too many digits")
    return value


def raised(base: Fraction, exponent: Fraction) -> Fraction:
    """base^exponent; 0^0 is 1, as in Python."""
    if base == 0 and exponent < 0:
        raise CannotCompute("division by zero")
    if exponent.denominator > 1:
        return real_power(base, exponent)
    if abs(base) in (0, 1):
        return base ** (min(exponent.numerator, 1) if base == 0 else exponent.numerator % 2)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length()) - 1
    if bits * abs(exponent.numerator) > MOST_BITS:
        raise CannotCompute("a power is too large")
    return Fraction(base**exponent.numerator)


def real_power(base: Fraction, exponent: Fraction) -> Fraction:
    if base < 0:
        raise CannotCompute("a negative number has no such power")
    if base == 0:
        return base
    if exponent.denominator == 2:
        return raised(root(base), Fraction(exponent.numerator))
    return exponential(exponent * logarithm(base))


def decimal(value: Fraction) -> Decimal:
    return PRECISE.divide(Decimal(value.numerator), Decimal(value.denominator))


def fraction(value: Decimal) -> Fraction:
    """What was computed to some digits more, rounded to `DIGITS`."""
    return Fraction(Context(prec=DIGITS).plus(value))


def root(value: Fraction) -> Fraction:
    if value < 0:
        raise CannotCompute("a negative number has no square root")
    above, below = math.isqrt(value.numerator), math.isqrt(value.denominator)
    if above**2 == value.numerator and below**2 == value.denominator:
        return Fraction(above, below)
    return fraction(PRECISE.sqrt(decimal(value)))


def exponential(value: Fraction) -> Fraction:
    if abs(value) > MOST_EXPONENT:
        raise CannotCompute("a power is too large")
    return fraction(PRECISE.exp(decimal(value)))


def logarithm(value: Fraction, base: Fraction | None = None) -> Fraction:
    """The natural logarithm, or that of another base."""
    if value <= 0 or (base is not None and (base <= 0 or base == 1)):
        raise CannotCompute("only positive numbers have a logarithm, and its base is positive and not 1")
    natural = PRECISE.ln(decimal(value))
    return fraction(natural if base is None else PRECISE.divide(natural, PRECISE.ln(decimal(base))))


def turn(value: Fraction) -> float:
    """An angle in radians brought to between -π and π."""
    if abs(value) > 10**30:
        raise CannotCompute("an angle is too large")
    return float(value - 2 * PI * round(value / (2 * PI)))


def of_angle(function: Callable[[float], float]) -> Callable[[Fraction], Fraction]:
    """A trigonometric function; 14 decimals, so that the sine of π is 0."""
    return lambda value: Fraction(Decimal(repr(round(function(turn(value)), 14))))


def tangent(value: Fraction) -> Fraction:
    if abs(math.cos(turn(value))) < 1e-14:
        raise CannotCompute("the tangent is not defined there")
    return of_angle(math.tan)(value)


def rounded(value: Fraction, digits: Fraction = Fraction(0)) -> Fraction:
    """To so many digits after the point; halves go away from zero, as people round."""
    if digits.denominator != 1 or abs(digits) > 50:
        raise CannotCompute("round takes a whole number of digits up to 50")
    scale = Fraction(10) ** digits.numerator
    size = math.floor(abs(value) * scale + Fraction(1, 2)) / scale
    return size if value >= 0 else -size


CONSTANTS = {"pi": PI, "π": PI, "e": E}
FUNCTIONS: dict[str, tuple[int, int, Callable[..., Fraction]]] = {
    "sqrt": (1, 1, root),
    "raiz": (1, 1, root),
    "abs": (1, 1, abs),
    "round": (1, 2, rounded),
    "floor": (1, 1, lambda value: Fraction(math.floor(value))),
    "ceil": (1, 1, lambda value: Fraction(math.ceil(value))),
    "min": (1, 100, min),
    "max": (1, 100, max),
    "exp": (1, 1, exponential),
    "ln": (1, 1, logarithm),
    "log": (1, 2, lambda value, base=Fraction(10): logarithm(value, base)),
    "sin": (1, 1, of_angle(math.sin)),
    "sen": (1, 1, of_angle(math.sin)),
    "cos": (1, 1, of_angle(math.cos)),
    "tan": (1, 1, tangent),
    "tg": (1, 1, tangent),
}
"""(fewest arguments, most, function); some by their Portuguese name too."""
EXACT = frozenset(("abs", "round", "floor", "ceil", "min", "max"))
"""Functions whose result is as exact as what they are given."""


# ---------------------------------------------------------------------------------------------------------------------
# Writing the result


def show(value: Fraction, approximate: bool) -> str:
    """A value as people write it."""
    if approximate and abs(value) < Fraction(1, 10 ** (DIGITS - 10)):
        return "0"  # what is left where digits beyond those computed would cancel
    if value == 0:
        return "0"
    number = decimal(value)
    if number.adjusted() >= WRITTEN_OUT:
        return scientific(number)
    decimals = exact_decimals(value)
    if decimals is None or decimals > MOST_DECIMALS or (approximate and decimals):
        if number.adjusted() < -7:
            return scientific(number)
        decimals = max(SHOWN - 1 - number.adjusted(), 0)
    return plain(PRECISE.quantize(number, Decimal(1).scaleb(-decimals)))


def exact_decimals(value: Fraction) -> int | None:
    """Digits after the point that write the value exactly; None where no number of digits does."""
    rest, counts = value.denominator, []
    for prime in (2, 5):
        count = 0
        while rest % prime == 0:
            rest, count = rest // prime, count + 1
        counts.append(count)
    return max(counts) if rest == 1 else None


def scientific(number: Decimal) -> str:
    mantissa = PRECISE.scaleb(number, -number.adjusted())
    mantissa = PRECISE.quantize(mantissa, Decimal(1).scaleb(1 - SHOWN))
    exponent = number.adjusted() + mantissa.adjusted()  # 9.9999… may have become 10
    return f"{plain(PRECISE.scaleb(mantissa, -mantissa.adjusted()))} × 10^{exponent}"


def plain(number: Decimal) -> str:
    """Without zeros at the end of the decimals."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
