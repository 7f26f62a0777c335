"""From the tokens of an answer to words that are certain, each with the tokens it is made of.

Half a character, an end that may be the beginning of a stop text, and a tool call are held back until it is clear what
they are; the tokens wait with them, so that the pieces told always join to the text told.
"""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from plutao.generate.answers import Alternatives, StopScanner
from plutao.serve.backend.contract import Alternative, Delta
from plutao.text.chat import CALL, CALL_END, parse_answer
from plutao.text.tokenizer import IncrementalDecoder, Tokenizer


@dataclass(frozen=True)
class Scored:
    """A token with what the model thought of it."""

    token: int
    piece: bytes
    logprob: float | None
    alternatives: tuple[Alternative, ...] = ()


@dataclass
class Gained:
    """Text that has become certain, and its tokens (where they are wanted)."""

    text: str = ""
    tokens: list[Scored] = field(default_factory=list)

    def __iadd__(self, more: "Gained") -> Self:
        self.text += more.text
        self.tokens += more.tokens
        return self

    def delta(self, index: int) -> Delta:
        return delta_of(index, self.text, self.tokens)


class Words:
    """The words of one turn of an answer."""

    def __init__(
        self, tokenizer: Tokenizer, stop: Sequence[str], ends: Sequence[int], scored: bool, calls: bool, trim: bool
    ) -> None:
        """`scored`: tokens are told. `calls`: tool calls are no words. `trim`: blanks at the beginning are left out."""
        self._tokenizer, self._ends, self._wanted, self._trim = tokenizer, frozenset(ends), scored, trim
        self._decoder, self._scanner = IncrementalDecoder(tokenizer), StopScanner(stop)
        calls = calls and tokenizer.has(CALL) and tokenizer.has(CALL_END)
        self._opening, self._closing = (tokenizer.special(CALL), tokenizer.special(CALL_END)) if calls else (-1, -1)
        self._call: list[Scored] = []
        self._pending: list[Scored] = []
        self._shown = ""  # of the pending tokens' text, what was told already
        self._stopped = False
        self._gained = Gained()

    def add(
        self, tokens: Sequence[int], logprobs: Sequence[float | None], alternatives: Sequence[Alternatives]
    ) -> Gained:
        """What is certain now."""
        for place, token in enumerate(tokens):
            others = alternatives[place] if alternatives else ()
            scored = score(self._tokenizer, token, logprobs[place], others, self._wanted)
            if token == self._opening:
                self._no_call()
                self._call = [scored]
            elif self._call and token not in self._ends:
                self._call.append(scored)
                if token == self._closing:
                    if parse_answer(self._tokenizer, [each.token for each in self._call]).tool_calls:
                        self._call = []
                    self._no_call()
            elif token not in self._ends:
                self._feed(scored)
        return self._take()

    def finish(self) -> Gained:
        """What was held back and is text after all."""
        self._no_call()
        if not self._stopped:
            text, self._stopped = self._scanner.add(self._decoder.finish())
            self._show(text if self._stopped else text + self._scanner.finish())
            self._settle(cut=self._stopped)
        return self._take()

    def _take(self) -> Gained:
        gained, self._gained = self._gained, Gained()
        return gained

    def _no_call(self) -> None:
        held, self._call = self._call, []
        for scored in held:
            self._feed(scored)

    def _feed(self, scored: Scored) -> None:
        if self._stopped:
            return
        if self._wanted:
            self._pending.append(scored)
        text, self._stopped = self._scanner.add(self._decoder.add(scored.token))
        self._show(text)
        if self._wanted and (self._stopped or not (self._scanner.holds or self._decoder.holds)):
            self._settle(cut=self._stopped)

    def _show(self, text: str) -> None:
        if self._trim and text:
            left = text.lstrip()
            self._trim = not left
            removed = len(text.encode()) - len(left.encode())
            self._pending = cut_left(self._pending, removed)
            text = left
        self._gained.text += text
        self._shown += text

    def _settle(self, cut: bool) -> None:
        """Tells the pending tokens; where a stop text cut the words, only what stands before it."""
        told = cut_right(self._pending, self._shown) if cut else self._pending
        self._gained.tokens += told
        self._pending, self._shown = [], ""


def score(
    tokenizer: Tokenizer, token: int, logprob: float | None, alternatives: Alternatives, wanted: bool = True
) -> Scored:
    if not wanted:
        return Scored(token, b"", logprob)
    others = tuple(Alternative(other, tokenizer.token_bytes(other), value) for other, value in alternatives)
    return Scored(token, tokenizer.token_bytes(token), logprob, others)


def delta_of(index: int, text: str, tokens: Sequence[Scored], kind: str = "text") -> Delta:
    return Delta(
        index,
        text,
        tokens=tuple(scored.token for scored in tokens),
        pieces=tuple(scored.piece for scored in tokens),
        logprobs=tuple(scored.logprob for scored in tokens),
        alternatives=tuple(scored.alternatives for scored in tokens),
        kind="echo" if kind == "echo" else "text",
    )


def cut_right(tokens: Sequence[Scored], text: str) -> list[Scored]:
    """The tokens that make up `text`, with which theirs begins; the last of them may lose its end."""
    decoder, left = codecs.getincrementaldecoder("utf-8")(errors="replace"), len(text)
    kept: list[Scored] = []
    for scored in tokens:
        size = 0
        while left > 0 and size < len(scored.piece):
            left -= len(decoder.decode(scored.piece[size : size + 1]))
            size += 1
        if size:
            kept.append(replace(scored, piece=scored.piece[:size]))
    return kept


def cut_left(tokens: Sequence[Scored], size: int) -> list[Scored]:
    """The tokens without their first `size` bytes."""
    kept = []
    for scored in tokens:
        if size < len(scored.piece) or not size:
            kept.append(replace(scored, piece=scored.piece[size:]))
        size = max(size - len(scored.piece), 0)
    return kept
