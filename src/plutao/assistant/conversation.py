"""A conversation between a person and the assistant: asking, asking again, judging, and looking why a word came."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from plutao.assistant import rows
from plutao.assistant.speaker import Speaker
from plutao.errors import UserError
from plutao.files import write_text
from plutao.generate.chat import ChatPiece, Reply
from plutao.generate.sampling import Sampling
from plutao.look.next_token import NextTokens, next_in_answer
from plutao.text.chat import Message, Messages
from plutao.text.tokenizer import IncrementalDecoder, Tokenizer

RATINGS = {
    "good": "good", "+": "good", "👍": "good", "bom": "good", "boa": "good",
    "bad": "bad", "-": "bad", "👎": "bad", "ruim": "bad",
    "better": "better", "melhor": "better",
    "worse": "worse", "pior": "worse",
    "same": "same", "igual": "same",
}  # fmt: skip
"""What people type, and what it means."""
RANKS = {"better": [2, 1], "worse": [1, 2], "same": [1, 1]}
"""Of the answer before and the one that came instead."""


@dataclass(frozen=True)
class Word:
    """A word of an answer."""

    text: str
    places: tuple[int, ...]
    """Where its tokens stand among those of prompt and answer."""
    probability: float
    """Of all its tokens, one after the other."""


@dataclass
class Conversation:
    """What was said so far, and the last answer with the one it replaced."""

    speaker: Speaker
    sampling: Sampling
    system: str = ""
    turns: list[Message] = field(default_factory=list)
    last: Reply | None = None
    before: Reply | None = None
    """The answer to the same question that `again` replaced."""

    @property
    def messages(self) -> Messages:
        """The system prompt, if there is one, and all turns."""
        return (*([Message("system", self.system)] if self.system else []), *self.turns)

    def ask(self, text: str) -> Iterator[ChatPiece]:
        """The answer as it is written. If it is not read to its end, what came of it is kept by `stop`."""
        self.turns.append(Message("user", text))
        self.before = None
        return self._answer(self.sampling)

    def again(self) -> Iterator[ChatPiece]:
        """Another answer to the last question.

        Raises:
            UserError: nothing was asked yet.
        """
        question = next((place for place in reversed(range(len(self.turns))) if self.turns[place].role == "user"), None)
        if question is None:
            raise UserError("Nothing was asked yet, so there is nothing to answer again.")
        del self.turns[question + 1 :]
        self.before = self.last
        seed = None if self.last is None or self.sampling.seed is None else self.last.seed + 1
        return self._answer(replace(self.sampling, seed=seed))

    def _answer(self, sampling: Sampling) -> Iterator[ChatPiece]:
        """The pieces of an answer; when it is whole it becomes part of the conversation. A question that can't be
        answered, because it is too long, is taken back.
        """
        self.last = None
        try:
            for piece in self.speaker.stream(self.messages, sampling):
                if piece.reply is not None:
                    self.last = piece.reply
                    self.turns += piece.reply.messages
                yield piece
        except UserError:
            self.turns.pop()
            raise

    def stop(self, shown: str) -> None:
        """An answer was stopped by the person: what was shown of it is what was said."""
        if self.last is None:
            self.turns.append(Message("assistant", shown.strip()))

    # -----------------------------------------------------------------------------------------------------------------
    # Judging

    def rate(self, word: str, person: str) -> dict[str, Any]:
        """The row that keeps a judgement: of the last answer alone, or of it against the one it replaced.

        Raises:
            UserError: not a judgement, or nothing there to judge.
        """
        judgement = RATINGS.get(word.strip().lower())
        if judgement is None:
            raise UserError("Say good or bad; after /regenerate also better, worse or same.")
        if self.last is None:
            raise UserError("There is no whole answer to judge yet.")
        asked = self.turns[: len(self.turns) - len(self.last.messages)]
        system = [Message("system", self.system)] if self.system else []
        row: dict[str, Any] = {"messages": [message.as_json() for message in (*system, *asked)]}
        if judgement in RANKS:
            row |= {"kind": "comparison", **self._comparison(), "ranks": RANKS[judgement]}
        else:
            row |= {"kind": "rating", "answer": self.last.text, "rating": judgement}
        settings = {"seed": self.last.seed, "temperature": self.sampling.temperature}
        return row | {"labeller": person, "model": self.speaker.name, **settings, "time": rows.now()}

    def _comparison(self) -> dict[str, Any]:
        """The two answers; raises UserError where there are no two."""
        if self.before is None or self.last is None:
            raise UserError("Better, worse and same compare an answer with the one before it: /regenerate first.")
        if self.before.text == self.last.text:
            raise UserError("Both answers are the same text: there is nothing to compare.")
        return {"completions": [self.before.text, self.last.text]}

    # -----------------------------------------------------------------------------------------------------------------
    # Looking

    def words(self) -> list[Word]:
        """The words of the last answer; raises UserError where there is none."""
        if self.last is None:
            raise UserError("There is no whole answer to look at yet.")
        return words_of(self.last, self.speaker.engine.tokenizer)

    def why(self, word: str, top: int = 8) -> list[NextTokens]:
        """For each token of a word of the last answer, given by its number or as it is written: what else might have come.

        Raises:
            UserError: no such word in it.
        """
        found = find_word(self.words(), word)
        assert self.last is not None
        engine, tokens = self.speaker.engine, self.last.prompt + self.last.tokens
        since = start_of_last_turn(self.last)
        return [next_in_answer(engine.model, engine.tokenizer, tokens, place, since, top) for place in found.places]

    def save(self, path: Path) -> None:
        """Writes the conversation: as Markdown, or (.json, .jsonl) as a row that can be trained on.

        Raises:
            UserError: the file is there already, or can't be written.
        """
        if path.exists():
            raise UserError(f"{path} is there already: give another name.")
        if path.suffix in (".json", ".jsonl"):
            row = {"messages": [message.as_json() for message in self.messages], "model": self.speaker.name}
            write_text(path, json.dumps(row, ensure_ascii=False) + "\n")
        else:
            write_text(path, as_markdown(self.messages, self.speaker.name))


def start_of_last_turn(reply: Reply) -> int:
    """Where, among the tokens of prompt and reply, the words of the last turn begin."""
    put = [place for place, written in enumerate(reply.written) if not written]
    return len(reply.prompt) + (put[-1] + 1 if put else 0)


def words_of(reply: Reply, tokenizer: Tokenizer) -> list[Word]:
    """The words of a reply's last turn: tokens up to the next one that brings a blank."""
    start, prompt = start_of_last_turn(reply), len(reply.prompt)
    decoder, words = IncrementalDecoder(tokenizer), list[tuple[str, list[int]]]()
    for place in range(start, prompt + len(reply.tokens)):
        token = reply.tokens[place - prompt]
        if token in tokenizer.special_ids:
            continue
        text = decoder.add(token)
        if not words or text[:1].isspace() or words[-1][0][-1:].isspace():
            words.append(("", []))
        words[-1] = (words[-1][0] + text, [*words[-1][1], place])

    def probability(places: list[int]) -> float:
        from math import exp

        return exp(sum(reply.logprobs[place - prompt] for place in places))

    return [Word(text.strip(), tuple(places), probability(places)) for text, places in words if text.strip()]


def find_word(words: list[Word], wanted: str) -> Word:
    """The word with a number (from 1), or the first that is written so, its case and punctuation aside."""
    plain = wanted.casefold()
    same = [word for word in words if word.text.casefold().strip(".,;:!?…()\"'“”—") == plain]
    if not same and wanted.isdecimal() and 1 <= int(wanted) <= len(words):
        return words[int(wanted) - 1]
    holding = [word for word in words if plain in word.text.casefold()]
    if not plain or not (same or holding):
        raise UserError(f"The last answer has no word {wanted!r}; its words have the numbers 1 to {len(words)}.")
    return (same or holding)[0]


def as_markdown(messages: Messages, name: str) -> str:
    """A conversation for people to read."""
    parts = [f"# {name}"]
    for message in messages:
        calls = [f"`{call.name}({call.text()})`" for call in message.tool_calls]
        said = "\n".join([*([message.content] if message.content else []), *calls])
        parts.append(f"**{message.role}**: {said}")
    return "\n\n".join(parts) + "\n"
