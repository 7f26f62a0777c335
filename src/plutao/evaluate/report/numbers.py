"""Numbers and amounts as people read them, in the report's language."""

from collections.abc import Mapping
from math import floor, isfinite, log10

UNITS = ("B", "kB", "MB", "GB", "TB")
SPACE = "\u00a0"
"""Keeps a number and its unit on one line."""
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Numbers:
    """Formats by a dictionary of words (`report.words`), which names the decimal sign and the words for a million."""

    def __init__(self, say: Mapping[str, str]) -> None:
        self.say = say

    def number(self, value: float, digits: int = 0) -> str:
        """1,234.5 or 1.234,5."""
        return f"{value:,.{digits}f}".translate(str.maketrans(".,", self.say["separators"]))

    def significant(self, value: float, digits: int = 3) -> str:
        """Rounded to `digits` significant digits; very large and very small ones as 1.2 × 10¹⁵."""
        if value == 0 or not isfinite(value):
            return "0" if value == 0 else "∞"
        power = floor(log10(abs(value)))
        if -4 <= power < 7:
            return self.number(value, max(0, digits - 1 - power))
        return f"{self.number(value / 10**power, digits - 1)} × 10{str(power).translate(SUPERSCRIPT)}"

    def big(self, value: float, of: bool = False) -> str:
        """3.4 million; `of` adds what a noun needs after it (Portuguese: 3,4 milhões de)."""
        for size, word in ((1e9, "billion"), (1e6, "million")):
            if value >= size:
                amount = value / size
                name = self.say[word if amount >= 2 else f"{word}_one"]
                return f"{self.number(amount, 1 if amount < 100 else 0)}{SPACE}{name}" + (self.say["of"] if of else "")
        return self.number(value)

    def percent(self, share: float) -> str:
        """55%; below ten per cent with a decimal, 0.3%."""
        digits = 1 if 0 < share < 0.0995 else 0
        return f"{self.number(100 * share, digits)}%"

    def size(self, size: float) -> str:
        """Bytes as 8.1 MB (10⁶ bytes)."""
        unit = 0
        while size >= 1000 and unit < len(UNITS) - 1:
            size, unit = size / 1000, unit + 1
        return f"{self.number(size, 1 if unit and size < 100 else 0)}{SPACE}{UNITS[unit]}"

    def time(self, seconds: float) -> str:
        """12 s, 3 min 20 s, 2 h 5 min, 4 d 3 h."""
        whole = round(seconds)
        if whole < 60:
            parts = [self.number(seconds, 1 if seconds < 10 else 0), "s"]
        elif whole < 3600:
            parts = [f"{whole // 60}", "min", f"{whole % 60}", "s"]
        elif whole < 86400:
            parts = [f"{whole // 3600}", "h", f"{whole % 3600 // 60}", "min"]
        else:
            parts = [f"{whole // 86400}", "d", f"{whole % 86400 // 3600}", "h"]
        return SPACE.join(parts)
