"""Text as words, for models that know nothing smaller: what stands between blanks and signs (the book's section 2.5)."""

import re
import unicodedata

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
"""Letters and digits of any script; an apostrophe may stand inside (don't, d'água). Hyphens cut: disse-lhe is two words."""


def words_of(text: str, lowercase: bool = True) -> list[str]:
    """The words of a text in order, in Unicode's composed form (NFC); signs and blanks are gone.

    Args:
        lowercase: capital letters become small ones.
    """
    composed = unicodedata.normalize("NFC", text)
    return WORD.findall((composed.lower() if lowercase else composed).replace("’", "'"))
