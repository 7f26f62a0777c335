"""Looking at a file once, whole, before any long work: is it readable, what encoding is it in, what is its SHA-256.

The encoding is the recipe's if it names one; else UTF-8 if the whole file decodes as such (with or without a byte order
mark), UTF-16 or UTF-32 by their marks, UTF-16 without a mark by its pattern of zero bytes, and otherwise what
`charset-normalizer` makes of the stretch where UTF-8 failed. A file that is UTF-8 but for a few bytes is called
damaged, not taken for something else: guessing would turn every accent of it into two wrong characters.
"""

import codecs
from dataclasses import dataclass
from typing import IO

import charset_normalizer

from plutao.data.sources.compressed import BLOCK, BROKEN, open_file
from plutao.data.sources.find import KINDS, READABLE, Found
from plutao.errors import UserError
from plutao.files import sha256

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
BINARY = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a ZIP archive (or an office document)",
    b"\x1f\x8b": "gzip data without .gz in its name",
    b"\x28\xb5\x2f\xfd": "zstandard data without .zst in its name",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ": "xz data",
    b"PAR1": "Parquet without .parquet in its name",
    b"\x7fELF": "a program",
}


@dataclass(frozen=True)
class Facts:
    """What is known of a file; `problem` says why it can't be read ("" if it can), `kind_of_problem` in few words."""

    sha256: str
    encoding: str = ""
    problem: str = ""
    kind_of_problem: str = ""


class Unreadable(Exception):
    """A file that can't be read as text: (kind of problem, the whole sentence)."""


def inspect_file(file: Found, encoding: str | None) -> Facts:
    """Reads a file to its end, in constant memory; `encoding` is the recipe's, if it names one."""
    digest = sha256(file.path)
    try:
        if file.kind not in KINDS:
            kind = file.kind or "without an ending"
            raise Unreadable("not a text file", f"{file.path} ({kind}) is none of {READABLE}.")
        if file.kind == ".parquet":
            check_unpacks(file)
            return Facts(digest)
        with open_file(file.path) as opened:
            return Facts(digest, encoding=find_encoding(file, opened.stream, encoding))
    except Unreadable as error:
        return Facts(digest, problem=error.args[1], kind_of_problem=error.args[0])
    except BROKEN as error:
        return Facts(digest, problem=f"{file.path} is damaged: {error}.", kind_of_problem="damaged archive")


def check_unpacks(file: Found) -> None:
    """Reads a compressed Parquet file to its end; a plain one says itself whether it is whole."""
    if file.compression:
        with open_file(file.path) as opened:
            while opened.stream.read(BLOCK):
                pass


def find_encoding(file: Found, stream: IO[bytes], named: str | None) -> str:
    """The encoding in which the whole file decodes."""
    head = stream.read(BLOCK)
    for start, what in BINARY.items():
        if head.startswith(start):
            raise Unreadable("not a text file", f"{file.path} is {what}, not text.")
    supposed = named or next((name for mark, name in MARKS if head.startswith(mark)), None) or wide_encoding(head)
    sample = undecodable(head, stream, supposed or "utf-8", refuse_nul=supposed is None)
    if sample is None:
        return supposed or "utf-8"
    if supposed is not None:
        raise Unreadable("wrong encoding", f"{file.path} is not valid {supposed}: {sample.reason}.")
    if sample.nul:
        raise Unreadable("not a text file", f"{file.path} is not text: {sample.reason}.")
    if mostly_utf8(sample.text):
        if file.kind == ".jsonl":
            return "utf-8"  # rows are decoded one by one, and the bad one will be named
        remedy = 'Mend that place, or name the file\'s encoding if it is another (encoding = "latin-1").'
        raise Unreadable("invalid UTF-8", f"{file.path} is not valid UTF-8: {sample.reason}. {remedy}")
    return guess(file, sample)


@dataclass(frozen=True)
class Undecodable:
    """A stretch of a file that did not decode."""

    text: bytes
    reason: str
    nul: bool


def undecodable(head: bytes, stream: IO[bytes], encoding: str, refuse_nul: bool) -> Undecodable | None:
    """The first stretch that does not decode as `encoding`, looking on to the end of the file; None where all does."""
    decoder = codecs.getincrementaldecoder(encoding)()
    block, before, line = head, 0, 1
    while True:
        if refuse_nul and (nul := block.find(0)) >= 0:
            return Undecodable(block, f"it has a zero byte at byte {before + nul + 1:,}", nul=True)
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            place = block.find(error.object[error.start : error.end])
            line += block[: max(place, 0)].count(b"\n")
            reason = f"byte 0x{error.object[error.start]:02X} in line {line:,} does not fit"
            return Undecodable(block or error.object, reason, nul=False)
        if not block:
            return None
        line += block.count(b"\n")
        before += len(block)
        block = stream.read(BLOCK)


def wide_encoding(head: bytes) -> str | None:
    """UTF-16 without a mark: in Western text, every other byte is zero."""
    pairs = len(head) // 2
    if pairs and head[1::2].count(0) > 0.4 * pairs and head[::2].count(0) < 0.1 * pairs:
        return "utf-16-le"
    if pairs and head[::2].count(0) > 0.4 * pairs and head[1::2].count(0) < 0.1 * pairs:
        return "utf-16-be"
    return None


def mostly_utf8(sample: bytes) -> bool:
    """Whether characters beyond ASCII decode as UTF-8 far more often than they fail."""
    text = sample.decode("utf-8", errors="replace")
    failed = text.count("\ufffd")
    return sum(character > "\x7f" for character in text) - failed > 4 * failed


def guess(file: Found, sample: Undecodable) -> str:
    """The most likely encoding of text that is not UTF-8; the whole file must decode in it."""
    telling = b"\n".join(line for line in sample.text.split(b"\n") if not line.isascii())
    encoding = likely_encoding(telling[: 1 << 18])
    if encoding is None:
        reason = f"it is in no encoding that could be found ({sample.reason} in UTF-8)"
        raise Unreadable("not a text file", f"{file.path} is not text: {reason}.")
    with open_file(file.path) as again:
        failed = undecodable(again.stream.read(BLOCK), again.stream, encoding, refuse_nul=True)
    if failed is not None:
        where = f"it looks like {encoding}, but {failed.reason}"
        remedy = 'Name its encoding in the recipe (encoding = "latin-1").'
        raise Unreadable("wrong encoding", f"{file.path} is not UTF-8; {where}. {remedy}")
    return encoding


def likely_encoding(sample: bytes) -> str | None:
    """What `charset-normalizer` finds, but Western (cp1252) where it finds that nearly as likely as another Latin alphabet.

    Short Portuguese texts fit Eastern Europe's alphabets as well (ã would be ă), and those are the rarer ones here.
    """
    matches = charset_normalizer.from_bytes(sample)
    best = matches.best()
    if best is None:
        return None
    rivals = ("cp1250", "cp1254", "cp1257", "cp1258", "iso8859")
    western = any("cp1252" in match.could_be_from_charset and match.chaos < best.chaos + 0.1 for match in matches)
    return "cp1252" if western and best.encoding.startswith(rivals) else best.encoding


def refuse(facts: Facts) -> UserError:
    """The sentence for a file that can't be read."""
    return UserError(f'{facts.problem} Move it away, or set data.bad_rows = "skip" to count such files and go on.')
