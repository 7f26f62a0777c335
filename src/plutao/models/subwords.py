"""The parts of words that share vectors, as fastText takes them (Bojanowski et al. 2017, section 3.2)."""


def parts_of(word: str, shortest: int, longest: int) -> list[str]:
    """All pieces of `shortest` to `longest` characters of the word between < and >, which are no pieces by themselves."""
    marked = f"<{word}>"
    return [
        marked[start : start + length]
        for start in range(len(marked))
        for length in range(shortest, longest + 1)
        if start + length <= len(marked) and not (length == 1 and start in (0, len(marked) - 1))
    ]


def bucket(part: str, buckets: int) -> int:
    """Which of the shared vectors is a part's: its FNV-1a hash of 32 bits, bytes taken with their sign as fastText does."""
    value = 2166136261
    for byte in part.encode():
        signed = byte if byte < 128 else byte | 0xFFFFFF00
        value = ((value ^ signed) * 16777619) & 0xFFFFFFFF
    return value % buckets


def buckets_of(word: str, shortest: int, longest: int, buckets: int) -> list[int]:
    """The shared vectors of a word, one for each part; a part that comes twice counts twice."""
    return [bucket(part, buckets) for part in parts_of(word, shortest, longest)]
