"""Arithmetic that the assistant hands to the calculator: it copies the numbers into a call and the result into its answer."""

from fractions import Fraction

from plutao.worlds.solar.arithmetic import HELD_OUT
from plutao.worlds.solar.arithmetic import held_out as kept_from_documents
from plutao.worlds.solar.chat.talker import Exchange, Talker, exam_phrasings, held_out

SIGNS = {"plus": "+", "minus": "-", "times": "*", "divided": "/"}
LONGEST = 5  # digits
LENGTHS = (1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5)  # long numbers are the hardest to copy
MOST_DECIMALS = 3


def sum_exchange(talker: Talker, digits: int | None = None) -> Exchange:
    """A sum of numbers of up to `digits` digits (drawn where it is not said), never one that is kept for the exam, or always."""
    while True:
        operation = talker.pick(tuple(SIGNS))
        length = digits or talker.pick(LENGTHS)
        i, j = operands(talker, operation, length)
        if kept(i, j, SIGNS[operation]) == talker.exam:
            return written(talker, operation, i, j)


def kept(i: Fraction, j: Fraction, sign: str) -> bool:
    """Whether a sum is the exam's: those that documents leave out, and as many of products and divisions."""
    if sign in "+-" and i.denominator == j.denominator == 1:
        return kept_from_documents(int(i), int(j), sign)
    return held_out(f"{i}{sign}{j}", HELD_OUT)


def operands(talker: Talker, operation: str, digits: int) -> tuple[Fraction, Fraction]:
    """Two numbers, the longer of `digits` digits; the result is never negative and has few decimals."""
    i = Fraction(whole(talker, digits))
    j = Fraction(whole(talker, digits if talker.chance(0.5) else 1 + int(talker.draw() * digits)))
    if operation == "divided":
        j = Fraction(whole(talker, 1 + int(talker.draw() * digits)))
        if not short(i / j) or j < 2:  # a number that divides it instead
            j = Fraction(talker.pick((2, 4, 5, 8, 10)))
        return (i, j) if short(i / j) else (i * j, j)
    if operation != "times" and digits > 1 and talker.chance(0.1):
        i, j = i / 10, j / 10
    if talker.chance(0.3):
        i, j = j, i
    return (j, i) if operation == "minus" and j > i else (i, j)


def whole(talker: Talker, digits: int) -> int:
    low = 10 ** (digits - 1) if digits > 1 else 2
    return low + int(talker.draw() * (10**digits - low))


def short(value: Fraction) -> bool:
    """Whether it can be written with few decimals."""
    return bool(10**MOST_DECIMALS % value.denominator == 0)


def written(talker: Talker, operation: str, i: Fraction, j: Fraction) -> Exchange:
    """The sum in words, the call, the answer; Portuguese writes decimals with a comma, and so does the calculator then."""
    sign = SIGNS[operation]
    value = {"+": i + j, "-": i - j, "*": i * j, "/": i / j if j else Fraction(0)}[sign]
    comma = talker.language == "pt" and (i.denominator, j.denominator) != (1, 1)
    result = decimal(value, comma)
    slots = {"i": decimal(i, comma), "j": decimal(j, comma), "r": decimal(value, talker.language == "pt")}
    if talker.exam:
        core: str = talker.next(f"sums/{operation}", exam_phrasings()["sums"][operation][talker.language])
        ask = talker.ask_plainly(core, slots)
    else:
        ask = talker.ask(talker.chat["sums"][operation], slots)
    good, terse = talker.say("sums", "answer", slots), talker.say("sums", "terse", slots)
    answers = tuple(dict.fromkeys((slots["r"], decimal(value, True), decimal(value, False))))
    digits = max(sum(character.isdigit() for character in slots[name]) for name in "ij")
    call = (f"{slots['i']}{sign}{slots['j']}", result)
    return Exchange(f"arithmetic-{digits}", talker.language, ask, good, terse, answers, call=call)


def decimal(value: Fraction, comma: bool) -> str:
    """12, 2.5 or 2,5."""
    if value.denominator == 1:
        return str(value.numerator)
    text = f"{float(value):.{MOST_DECIMALS}f}".rstrip("0")
    return text.replace(".", ",") if comma else text
