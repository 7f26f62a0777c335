"""Small sums and subtractions, in digits and in words. Some two-digit pairs are kept for the exam."""

import zlib

from plutao.worlds.solar.language import number_in_words
from plutao.worlds.solar.teller import Teller, with_capitals

HELD_OUT = 12


def held_out(i: int, j: int, sign: str) -> bool:
    """Kept for the exam: one in twelve of the sums with a two-digit number; tables of one digit are learned whole."""
    return max(i, j) > 9 and zlib.crc32(f"{i}{sign}{j}".encode()) % HELD_OUT == 0


def operands(teller: Teller) -> tuple[int, int, str, int]:
    """(i, j, sign, result): half of one digit, most others of two, a few of three."""
    size = teller.draw()
    largest = 9 if size < 0.5 else 20 if size < 0.7 else 99 if size < 0.95 else 199
    i, j = teller.between(0, largest), teller.between(0, largest)
    if teller.chance(0.5):
        return i, j, "+", i + j
    return max(i, j), min(i, j), "-", abs(i - j)


def arithmetic(teller: Teller) -> str:
    """A page of exercises, one a line, or a few little tales."""
    cast = teller.cast()
    title = teller.frame("sums", "title", cast)
    lines: list[str] = []
    wanted = teller.between(4, 9)
    while len(lines) < wanted:
        i, j, sign, result = operands(teller)
        if held_out(i, j, sign):
            continue
        slots = {"i": str(i), "j": str(j), "r": str(result)}
        slots |= {f"w{name}": number_in_words(min(int(text), 199), teller.language) for name, text in slots.items()}
        slots |= {"wI": slots["wi"], "I": slots["i"]}
        tale = 2 < j < i < 60 and teller.chance(0.4)
        key = ("tale" if sign == "+" else "taketale") if tale else ("plus" if sign == "+" else "minus")
        if result > 199:
            continue
        lines.append(teller.frame("sums", key, {**with_capitals(cast), **slots}))
    return (f"{title}\n\n" if title else "") + "\n".join(lines)
