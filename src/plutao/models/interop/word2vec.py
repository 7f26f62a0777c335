"""word2vec's two file formats, which gensim, fastText and most others read and write.

Both begin with a line "words width". Text: a line a word, its numbers after it, blanks between. Binary: a word, a blank,
`width` little-endian floats of 32 bits, a line end.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from plutao.errors import UserError
from plutao.files import atomic_path
from plutao.models.word_vectors import Matrix, WordVectors

BLOCK = 1 << 20


def write(vectors: WordVectors, path: Path, binary: bool) -> None:
    """Writes all words with their vectors.

    Raises:
        UserError: the file can't be written, or a word holds a blank, which the format has no way to say.
    """
    for word in vectors.words:
        if not word or any(sign.isspace() for sign in word):
            raise UserError(f"The word {word!r} holds a blank, which word2vec's formats can't write.")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(f"{len(vectors.words)} {vectors.width}\n".encode())
        for word, row in zip(vectors.words, vectors.vectors.astype("<f4"), strict=True):
            numbers = row.tobytes() if binary else " ".join(f"{number:.9g}" for number in row).encode()
            file.write(word.encode() + b" " + numbers + b"\n")


def read(path: Path) -> WordVectors:
    """Reads either format; which one it is, is found out.

    Raises:
        UserError: no such file, or it is damaged; the sentence names the word.
    """
    try:
        with path.open("rb") as file:
            count, width = header(file, path)
            start = file.tell()
            rows = text_rows(file, count, width, path) if is_text(file.read(BLOCK), width) else None
            file.seek(start)
            rows = rows or binary_rows(file, count, width, path)
            words: list[str] = []
            matrix: Matrix = np.empty((count, width), dtype=np.float32)
            for place, (word, numbers) in enumerate(rows):
                words.append(word)
                matrix[place] = numbers
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}.") from error
    return WordVectors(words, matrix, lowercase=all(word == word.lower() for word in words))


def header(file: BinaryIO, path: Path) -> tuple[int, int]:
    parts = file.readline(100).split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts) or int(parts[1]) == 0:
        raise UserError(
            f'{path} is not in word2vec\'s format: its first line must say "words width", as in "50000 100".'
        )
    return int(parts[0]), int(parts[1])


def is_text(block: bytes, width: int) -> bool:
    """Whether the first row is written in signs: a word and `width` numbers that read as numbers."""
    parts = block.split(b"\n", 1)[0].rstrip().split(b" ")[-width:]
    try:
        return len(parts) == width and all(np.isfinite(float(part)) for part in parts)
    except ValueError:
        return False


def text_rows(file: BinaryIO, count: int, width: int, path: Path) -> Iterator[tuple[str, Matrix]]:
    for place in range(count):
        parts = file.readline().rstrip().rsplit(b" ", width)
        try:
            if len(parts) != width + 1:
                raise ValueError
            yield text_of(parts[0], place, path), np.array(parts[1:], dtype=np.float32)
        except ValueError as error:
            raise damaged(path, place, f"a word and {width} numbers were expected") from error


def binary_rows(file: BinaryIO, count: int, width: int, path: Path) -> Iterator[tuple[str, Matrix]]:
    """Rows out of blocks of bytes: a word ends at the first blank, its numbers have a fixed length."""
    buffer, at, size = b"", 0, 4 * width
    for place in range(count):
        while (blank := buffer.find(b" ", at)) < 0 or len(buffer) < blank + 1 + size:
            block = file.read(BLOCK)
            if not block:
                raise damaged(path, place, "the file ends there")
            buffer, at = buffer[at:] + block, 0
        numbers = np.frombuffer(buffer, dtype="<f4", count=width, offset=blank + 1)
        yield text_of(buffer[at:blank].lstrip(b"\n"), place, path), numbers
        at = blank + 1 + size


def text_of(word: bytes, place: int, path: Path) -> str:
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, place, "it is not UTF-8") from error


def damaged(path: Path, place: int, why: str) -> UserError:
    return UserError(f"{path} is damaged at word {place + 1}: {why}. Put back a good copy.")
