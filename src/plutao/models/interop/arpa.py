"""ARPA files, the plain-text form of n-gram models that SRILM, KenLM and speech recognisers share, out and in.

A line is `log10 p <tab> words <tab> log10 back-off weight`. `<|endoftext|>` is written `<s>` where it is known (in front) and
`</s>` where it is foretold; `<|unk|>` is `<unk>`. Words are the tokens as the tokenizer's vocabulary has them; spaces and
line breaks, which would end a word in the file, are written %20, %0A …
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from plutao.errors import UserError
from plutao.files import atomic_path
from plutao.models.ngram import NgramLevel, NgramModel
from plutao.text.special import UNKNOWN as UNKNOWN_TOKEN
from plutao.text.tokenizer import Tokenizer

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0
"""log10 p of what is never foretold."""
LINES = 1 << 16
"""Lines made at once."""
LN10 = np.log(10.0)


def words_of(tokenizer: Tokenizer) -> list[str]:
    """How each token is written, `<|endoftext|>` as it is foretold."""
    names = [tokenizer.token_name(token) for token in range(tokenizer.vocabulary_size)]
    words = [re.sub(r"[\s%]", lambda match: quote(match[0]), name) or f"%{token}" for token, name in enumerate(names)]
    words[tokenizer.end_of_text] = END
    if (unknown := unknown_of(tokenizer)) is not None:
        words[unknown] = UNKNOWN
    return words


def unknown_of(tokenizer: Tokenizer) -> int | None:
    """The token for what is no token."""
    return tokenizer.special(UNKNOWN_TOKEN) if tokenizer.has(UNKNOWN_TOKEN) else None


def write_arpa(model: NgramModel, tokenizer: Tokenizer, path: Path) -> None:
    """Writes a model over this tokenizer's tokens.

    Raises:
        UserError: the disk refuses.
    """
    words, sizes = words_of(tokenizer), [len(level) for level in model.levels]
    while len(sizes) > 1 and not sizes[-1]:  # orders that were pruned away whole
        sizes.pop()
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("\\data\\\n")
        for n, size in enumerate(sizes, start=1):
            file.write(f"ngram {n}={size + (n == 1)}\n")  # <s> beside </s>
        for n in range(1, len(sizes) + 1):
            file.write(f"\n\\{n}-grams:\n")
            write_level(model, n, len(sizes), words, file)
        file.write("\n\\end\\\n")


def write_level(model: NgramModel, n: int, order: int, words: Sequence[str], file: IO[str]) -> None:
    level, end = model.levels[n - 1], model.end_of_text
    foretold, known = np.array(words, dtype=object), np.array(words, dtype=object)
    known[end] = START
    if n == 1 and order > 1:
        file.write(f"{NEVER}\t{START}\t{level.backoffs[end] / LN10:.7g}\n")
    elif n == 1:
        file.write(f"{NEVER}\t{START}\n")
    for start in range(0, len(level), LINES):
        nodes = np.arange(start, min(start + LINES, len(level)))
        tokens = tokens_of(model, n, nodes)
        text = [" ".join(row) for row in np.column_stack([known[tokens[:, :-1]], foretold[tokens[:, -1]]])]
        logs = (np.asarray(level.log_probabilities[nodes], np.float64) / LN10).tolist()
        if n < order:
            shares = (np.asarray(level.backoffs[nodes], np.float64) / LN10).tolist()
            last = tokens[:, -1] == end  # nothing follows the end of a text
            lines = [
                f"{log:.7g}\t{ngram}\n" if ends else f"{log:.7g}\t{ngram}\t{share:.7g}\n"
                for log, ngram, share, ends in zip(logs, text, shares, last.tolist(), strict=True)
            ]
        else:
            lines = [f"{log:.7g}\t{ngram}\n" for log, ngram in zip(logs, text, strict=True)]
        file.writelines(lines)


def tokens_of(model: NgramModel, n: int, nodes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The n tokens of each node of a level, found by going up the tree."""
    columns = []
    for level in reversed(model.levels[:n]):
        columns.append(np.asarray(level.words[nodes], np.int64))
        nodes = np.searchsorted(level.first, nodes.astype(level.first.dtype), side="right") - 1
    return np.column_stack(columns[::-1])


# ---------------------------------------------------------------------------------------------------------------------
# In


def read_arpa(path: Path, tokenizer: Tokenizer) -> NgramModel:
    """The model in an ARPA file, over this tokenizer's tokens.

    Tokens that the file does not have share the probability of its `<unk>`.

    Raises:
        UserError: the file is not there or not ARPA, or has words that are no tokens.
    """
    words, end_of_text, unknown = words_of(tokenizer), tokenizer.end_of_text, unknown_of(tokenizer)
    ids = {word: token for token, word in enumerate(words)} | {START: end_of_text}
    try:
        with path.open(encoding="utf-8") as file:
            sections = list(read_sections(file, path))
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there: name an ARPA file.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text, so it is no ARPA file that can be read.") from error
    if not sections:
        raise UserError(f"{path} holds no n-grams: an ARPA file begins with a line \\data\\.")
    levels, keys = [first_level(sections[0], ids, len(words), end_of_text, unknown, path)], list[Any]()
    for n, rows in enumerate(sections[1:], start=2):
        tokens = tokens_in(rows, n, ids, path)
        levels.append(next_level(rows, tokens, levels, keys, path))
    top = levels[-1]
    levels[-1] = NgramLevel(top.words, top.first, top.log_probabilities, np.empty(0, np.float32))
    return NgramModel(levels, end_of_text)


def largest_difference(model: NgramModel, tokenizer: Tokenizer, path: Path) -> float:
    """How far the natural log-probabilities and back-off weights of a file, read back, are from the model's own, at most."""
    back, apart = read_arpa(path, tokenizer), 0.0
    for ours, theirs in zip(model.levels, back.levels, strict=False):
        assert np.array_equal(ours.words, theirs.words), "the file holds the same n-grams"
        for one, other in ((ours.log_probabilities, theirs.log_probabilities), (ours.backoffs, theirs.backoffs)):
            size = min(len(one), len(other))  # the highest order needs no weights
            apart = max(apart, float(np.abs(one[:size] - other[:size]).max(initial=0.0)))
    return apart


Row = tuple[float, tuple[str, ...], float]
"""log10 p, words, log10 back-off weight."""


def read_sections(file: IO[str], path: Path) -> Iterator[list[Row]]:
    """The n-grams of each order."""
    rows: list[Row] | None = None
    n = 0
    for number, line in enumerate(file, start=1):
        line = line.strip("\r\n ")
        if match := re.fullmatch(r"\\(\d+)-grams:", line):
            if rows is not None:
                yield rows
            n, rows = n + 1, []
            if int(match[1]) != n:
                raise UserError(f"{path}, line {number}: {line} stands where \\{n}-grams: belongs.")
        elif line.startswith("\\end\\"):
            break
        elif line and rows is not None:
            rows.append(row_of(line, n, number, path))
    if rows is not None:
        yield rows


def row_of(line: str, n: int, number: int, path: Path) -> Row:
    parts = line.split()
    try:
        if len(parts) not in (n + 1, n + 2):
            raise ValueError
        backoff = float(parts[n + 1]) if len(parts) == n + 2 else 0.0
        return float(parts[0]), tuple(parts[1 : n + 1]), backoff
    except ValueError as error:
        raise UserError(
            f"{path}, line {number}: {line[:60]!r} is not log10 p, {n} words and perhaps a back-off weight."
        ) from error


def tokens_in(rows: Sequence[Row], n: int, ids: dict[str, int], path: Path) -> npt.NDArray[np.int64]:
    try:
        return np.array([[ids[word] for word in words] for _, words, _ in rows], np.int64).reshape(-1, n)
    except KeyError as error:
        strange = sum(word not in ids for _, words, _ in rows for word in words)
        raise UserError(
            f"{path} has words that are no tokens of this tokenizer: {error} and {strange - 1} more. Use the tokenizer that "
            "the file was made with."
        ) from error


def first_level(
    rows: Sequence[Row], ids: dict[str, int], vocabulary: int, end_of_text: int, unknown: int | None, path: Path
) -> NgramLevel:
    """The whole vocabulary, with the back-off weight of `<s>` and the probability of `</s>` for `<|endoftext|>`."""
    given = [row for row in rows if row[1][0] != UNKNOWN or unknown is not None]
    tokens = tokens_in(given, 1, ids, path)[:, 0]
    logs, shares, there = np.zeros(vocabulary), np.zeros(vocabulary), np.zeros(vocabulary, bool)
    for token, (log, (word,), share) in zip(tokens.tolist(), given, strict=True):
        if word != START:
            logs[token], there[token] = log, True
        if word != END:
            shares[token] = share
    nothing = [log for log, (word,), _ in rows if word == UNKNOWN]
    missing = int((~there).sum())
    if missing:
        rest = nothing[0] if nothing else NEVER
        among = missing + (unknown is not None and bool(nothing))
        logs[~there] = rest - np.log10(among)
        if unknown is not None and nothing:
            logs[unknown] = rest - np.log10(among)
    first = np.array([0, vocabulary], np.uint32)
    words = np.arange(vocabulary, dtype=np.uint32)
    return NgramLevel(words, first, (logs * LN10).astype(np.float32), (shares * LN10).astype(np.float32))


def next_level(
    rows: Sequence[Row], tokens: npt.NDArray[np.int64], levels: Sequence[NgramLevel], keys: list[Any], path: Path
) -> NgramLevel:
    """One more level of the tree; `keys` (context's rank << 32 | last token, of the levels from order 2 on) grows by it."""
    context = tokens[:, 0]
    for place, known in enumerate(keys, start=1):
        wanted = context << 32 | tokens[:, place]
        found = np.minimum(np.searchsorted(known, wanted), max(len(known) - 1, 0))
        lost = np.flatnonzero(known[found] != wanted) if len(known) else np.arange(len(wanted))
        if len(lost):
            raise UserError(f"{path}: {' '.join(rows[lost[0]][1])} stands there without its context, so it is damaged.")
        context = found
    names = context << 32 | tokens[:, -1]
    order = np.argsort(names)
    names = names[order]
    keys.append(names)
    sizes = np.bincount((names >> 32).astype(np.int64), minlength=len(levels[-1]))
    logs = np.array([row[0] for row in rows])[order] * LN10
    shares = np.array([row[2] for row in rows])[order] * LN10
    return NgramLevel(
        (names & 0xFFFF_FFFF).astype(np.uint32),
        np.concatenate(([0], np.cumsum(sizes))).astype(np.uint32),
        logs.astype(np.float32),
        shares.astype(np.float32),
    )
