"""Talking: a model's answers to conversations, with the tools it calls on the way.

The same code answers in the terminal, over the API, in exams and in the rollouts of reinforcement learning. What it gives
back is exact for learning: every token the model wrote with its log-probability, and those that tools put between.
"""

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from plutao.errors import UserError
from plutao.files import read_json
from plutao.generate.answers import Completion, Piece, StopScanner
from plutao.generate.engine import Engine, load_engine
from plutao.generate.sampling import Sampling
from plutao.generate.tools import Calculator, Tool
from plutao.text.chat import CALL, CALL_END, END, Message, Messages, ToolCall, encode, parse_answer
from plutao.text.tokenizer import IncrementalDecoder, Tokenizer

MOST_CALLS = 4
"""Tool calls in one reply; a model that wants more goes in circles."""


@dataclass(frozen=True)
class Reply:
    """An answer, ended: as messages for people and as tokens for learning."""

    messages: Messages
    """What the conversation gains: the assistant's turn, or its calls and their results up to its last turn."""
    text: str
    """What the last turn says."""
    prompt: list[int]
    """The conversation as the model read it, up to the opening of the assistant's turn."""
    tokens: list[int]
    """All that came after the prompt: what the model wrote, ends of turns included, and what tools put between."""
    written: list[bool]
    """For each token, whether the model wrote it."""
    logprobs: list[float]
    """Of each written token, as the model gave it (at temperature 1, before truncation), in nats; 0 for the others."""
    finish_reason: str
    """`stop`: the turn was ended; `length`: max_tokens or the context's end; `tools`: more calls than are allowed;
    `probability`, `aborted`: as in completions."""
    seed: int
    """With it, the same conversation and the same settings give the same replies again."""
    dropped: int = 0
    """Messages at the conversation's beginning that did not fit into the context and were not read."""


@dataclass(frozen=True)
class ChatPiece:
    """What came of an answer in one step: words, a tool call with its result, or (at the end) the whole reply."""

    text: str = ""
    call: ToolCall | None = None
    result: str | None = None
    """None for a call that was not run: the reply ended with it."""
    reply: Reply | None = None


@dataclass
class Draft:
    """A reply that is being written."""

    prompt: list[int]
    seed: int
    """The caller's."""
    index: int
    """Which of the conversation's answers, from 0."""
    dropped: int
    outside: frozenset[str] = frozenset()
    """Tools that whoever asked runs: a call of one of them ends the reply."""
    tokens: list[int] = field(default_factory=list)
    written: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    added: list[Message] = field(default_factory=list)
    calls: int = 0

    def reply(self, finish_reason: str) -> Reply:
        return Reply(
            messages=tuple(self.added),
            text=self.added[-1].content,
            prompt=self.prompt,
            tokens=self.tokens,
            written=self.written,
            logprobs=self.logprobs,
            finish_reason=finish_reason,
            seed=self.seed,
            dropped=self.dropped,
        )


class Chat:
    """An assistant: an engine whose model learned to talk, and the tools it may call.

    A reply depends on its conversation, the settings and the seed alone, not on what else is answered at the same time
    (as far as the engine is independent). `Sampling.max_tokens` counts what the model writes in all turns of a reply.
    """

    def __init__(self, engine: Engine, tools: Sequence[Tool] = ()) -> None:
        """Raises UserError where the tokenizer has no tokens for turns."""
        self.engine, self.tokenizer = engine, engine.tokenizer
        self.tools = {tool.name: tool for tool in tools}
        self.end_of_turn = self.tokenizer.special(END)
        self._line_end = self.tokenizer.encode("\n")

    # -----------------------------------------------------------------------------------------------------------------
    # Asking

    def answer(self, conversations: Sequence[Messages], sampling: Sampling | None = None) -> list[list[Reply]]:
        """The replies to each conversation, in order, `sampling.n` each; all are written side by side.

        Raises:
            UserError: a last message alone is longer than the context, or best_of is asked for.
        """
        sampling = self.settings(sampling)
        pending: dict[int, list[Draft]] = {}
        replies: list[dict[int, Reply]] = [{} for _ in conversations]
        places: dict[int, int] = {}
        others: list[Piece] = []
        try:
            for place, messages in enumerate(conversations):
                number, drafts = self._begin(messages, sampling)
                pending[number], places[number] = drafts, place
            while pending:
                for piece in self.engine.step():
                    if piece.request not in pending or piece.completion is None:
                        others += [piece] if piece.request not in pending else []
                        continue
                    place, drafts = places[piece.request], pending[piece.request]
                    draft = drafts[piece.answer]
                    follow_up, reason = self.take(draft, piece.completion, sampling)
                    if follow_up is None:
                        replies[place][draft.index] = draft.reply(reason)
                    else:
                        number = self.engine.submit(draft.prompt + draft.tokens, follow_up)
                        pending[number], places[number] = [draft], place
                    if piece.answer == len(drafts) - 1:
                        del pending[piece.request]
        finally:
            for number in pending:
                self.engine.abort(number)
            self.engine.keep(others)
        return [[of_one[index] for index in range(sampling.n)] for of_one in replies]

    def stream(self, messages: Messages, sampling: Sampling | None = None) -> Iterator[ChatPiece]:
        """One reply as it is written; its tool calls come as such, and the last piece brings the reply.

        The pieces' texts join to the reply's text, where it calls no tool.

        Raises:
            UserError: as `answer`, or more than one reply is asked for.
        """
        sampling = self.settings(sampling)
        if sampling.n > 1:
            raise UserError("Only one answer at a time can be streamed: leave n at 1.")
        draft, first = self._draft(messages, sampling)
        follow_up: Sampling | None = first
        reason = ""
        while follow_up is not None:
            turn, before = Turn(self.tokenizer, follow_up), len(draft.added)
            for piece in self.engine.stream(draft.prompt + draft.tokens, follow_up):
                yield ChatPiece(
                    turn.add(piece.tokens)
                )  # empty while a call is written: whoever reads along may stop it
                if piece.completion is not None:
                    follow_up, reason = self.take(draft, piece.completion, sampling)
            if text := turn.finish():
                yield ChatPiece(text)
            message, *results = draft.added[before:]
            for place, call in enumerate(message.tool_calls):
                yield ChatPiece(call=call, result=results[place].content if results else None)
        yield ChatPiece(reply=draft.reply(reason))

    def prompt(self, messages: Messages, max_tokens: int) -> tuple[list[int], int]:
        """(the conversation as the model reads it, messages left out at its beginning to make it fit).

        System prompt and last message are always read. What is dropped leaves room for an answer of `max_tokens`, but at
        most a quarter of the context.

        Raises:
            UserError: system prompt and last message alone are longer than the context.
        """
        if not messages or messages[-1].role == "assistant":
            raise UserError("A conversation to be answered ends with a message that waits for an answer.")
        context = self.engine.context
        room = context - min(max_tokens, context // 4)
        system = messages[:1] if messages[0].role == "system" else ()
        rest = messages[len(system) :]
        begin = 0
        tokens = encode(self.tokenizer, messages, generation_prompt=True)
        while len(tokens) > room:
            later = next((place for place in range(begin + 1, len(rest)) if rest[place].role == "user"), None)
            if later is None:
                break
            begin = later
            tokens = encode(self.tokenizer, (*system, *rest[begin:]), generation_prompt=True)
        if len(tokens) >= context:
            raise UserError(
                f"The message has {len(tokens)} tokens with what frames it, and the model's context holds {context}: shorten "
                f"it by at least {len(tokens) - context + 1}."
            )
        return tokens, begin

    # -----------------------------------------------------------------------------------------------------------------
    # Writing

    def settings(self, sampling: Sampling | None) -> Sampling:
        """The caller's settings with the ends of a turn, unless they name their own."""
        sampling = sampling or Sampling()
        if sampling.drawn > sampling.n:
            raise UserError("best_of is for completions; for answers ask for n and choose among them.")
        if sampling.end_tokens is not None:
            return sampling
        return replace(sampling, end_tokens=(self.end_of_turn, self.tokenizer.end_of_text))

    def _draft(self, messages: Messages, sampling: Sampling) -> tuple[Draft, Sampling]:
        """An empty reply, and the settings of its first turn."""
        tokens, dropped = self.prompt(messages, sampling.max_tokens)
        seed = secrets.randbits(53) if sampling.seed is None else sampling.seed
        return Draft(tokens, seed, 0, dropped), replace(sampling, seed=derive(seed, tokens))

    def _begin(self, messages: Messages, sampling: Sampling) -> tuple[int, list[Draft]]:
        """Submits a conversation: the engine's number for it, and its empty replies."""
        draft, first = self._draft(messages, sampling)
        drafts = [Draft(draft.prompt, draft.seed, index, draft.dropped) for index in range(sampling.n)]
        return self.engine.submit(draft.prompt, first), drafts

    def take(self, draft: Draft, completion: Completion, sampling: Sampling) -> tuple[Sampling | None, str]:
        """Adds a turn to its reply and runs the tools it calls. Returns the settings for writing on, or None where the
        reply is at its end, and why it ended.
        """
        draft.tokens += completion.tokens
        draft.written += [True] * len(completion.tokens)
        draft.logprobs += completion.token_logprobs
        message = self._message(completion, sampling.end_tokens)
        draft.added.append(message)
        ended = completion.finish_reason == "stop" and completion.tokens[-1:] == [self.end_of_turn]
        elsewhere = any(call.name in draft.outside for call in message.tool_calls)
        if elsewhere or not (message.tool_calls and ended and self.tools):
            return None, completion.finish_reason
        draft.calls += len(message.tool_calls)
        if draft.calls > MOST_CALLS:
            return None, "tools"
        results = [Message("tool", self._run(call)) for call in message.tool_calls]
        between = self._line_end + encode(self.tokenizer, results, generation_prompt=True)
        left = sampling.max_tokens - sum(draft.written)
        if left < 1 or len(draft.prompt) + len(draft.tokens) + len(between) >= self.engine.context:
            return None, "length"
        draft.added += results
        draft.tokens += between
        draft.written += [False] * len(between)
        draft.logprobs += [0.0] * len(between)
        seed = derive(draft.seed, draft.prompt + draft.tokens, draft.index)
        return replace(sampling, n=1, max_tokens=left, seed=seed), ""

    def _message(self, completion: Completion, ends: Sequence[int] | None) -> Message:
        """A turn as a message, without the end token or stop text that ended it."""
        tokens = completion.tokens
        if completion.finish_reason == "stop":
            if tokens[-1] not in (ends or ()):
                return Message("assistant", completion.text)
            tokens = tokens[:-1]
        return parse_answer(self.tokenizer, tokens)

    def _run(self, call: ToolCall) -> str:
        if call.name not in self.tools:
            return f"error: there is no tool {call.name!r}; there is: {', '.join(self.tools)}"
        return self.tools[call.name].run(call.arguments)


class Turn:
    """The words of a turn as its tokens come; a tool call is held back, and shown as text only if it is none."""

    def __init__(self, tokenizer: Tokenizer, sampling: Sampling) -> None:
        self._tokenizer, self._ends = tokenizer, sampling.end_tokens or ()
        self._decoder, self._scanner = IncrementalDecoder(tokenizer), StopScanner(sampling.stop)
        has_calls = tokenizer.has(CALL) and tokenizer.has(CALL_END)
        self._opening, self._closing = (tokenizer.special(CALL), tokenizer.special(CALL_END)) if has_calls else (-1, -1)
        self._held: list[int] = []

    def add(self, tokens: Sequence[int]) -> str:
        """The text that is certain now."""
        text = ""
        for token in tokens:
            if token == self._opening:
                text += self._as_text()
                self._held = [token]
            elif self._held and token not in self._ends:
                self._held.append(token)
                if token == self._closing:
                    call = parse_answer(self._tokenizer, self._held).tool_calls
                    text += "" if call else self._as_text()
                    self._held = []
            elif token not in self._ends:
                text += self._scanner.add(self._decoder.add(token))[0]
        return text

    def finish(self) -> str:
        """What was held back and is text after all."""
        text = self._as_text() + self._scanner.add(self._decoder.finish())[0]
        return text + self._scanner.finish()

    def _as_text(self) -> str:
        """The tokens held back, as text."""
        held, self._held = self._held, []
        return "".join(self._scanner.add(self._decoder.add(token))[0] for token in held)


def derive(seed: int, tokens: Sequence[int], answer: int = 0) -> int:
    """The seed of one turn, from the reply's and what stands before it: other conversations get other random numbers."""
    name = f"{seed}/{answer}/{','.join(map(str, tokens))}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6])


def load_chat(folder: Path, dtype: torch.dtype | None = None, slots: int = 16) -> Chat:
    """The assistant in a model folder (ours or Hugging Face's), with the calculator.

    Raises:
        UserError: the model there never learned to talk.
    """
    if not converses(folder):
        raise UserError(
            f"The model in {folder} continues texts and never learned to talk: use `plutao complete`, or a stage sft, rl or dpo."
        )
    return Chat(load_engine(folder, dtype, slots), (Calculator(),))


def converses(folder: Path) -> bool:
    """Whether the model in a folder learned to end its turns: `<|im_end|>` is one of the tokens its texts end with."""
    tokenizer = Tokenizer.load(folder)
    if not tokenizer.has(END):
        return False
    files = (folder / "generation_config.json", folder / "config.json")
    ends = [read_json(file).get("eos_token_id") for file in files if file.is_file()]
    return any(tokenizer.special(END) in (end if isinstance(end, list) else [end]) for end in ends)
