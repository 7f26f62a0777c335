"""Conversations as text and as tokens (the book's section 3.1): who speaks, where a turn ends, and what is learned.

The form is ChatML, with tool calls and their results between tokens of their own:

    <|im_start|>user
    How much is 12 + 30?<|im_end|>
    <|im_start|>assistant
    <tool_call>{"name": "calculator", "arguments": {"expression": "12+30"}}</tool_call><|im_end|>
    <|im_start|>tool
    <tool_response>42</tool_response><|im_end|>
    <|im_start|>assistant
    42.<|im_end|>

Only this file writes the special tokens; "<|im_end|>" typed by a person, or in what a tool gives back, stays text. Each
turn's frame and words are encoded apart, so that a conversation's tokens always begin with those of its first turns,
and a model reads in training exactly what it will have before it when it answers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from plutao.text.template import TEMPLATE
from plutao.text.tokenizer import Tokenizer

__all__ = [
    "TEMPLATE",
    "Encoded",
    "Message",
    "Messages",
    "Role",
    "ToolCall",
    "encode",
    "encode_for_learning",
    "encode_many_for_learning",
    "parse_answer",
    "render",
]

Role = Literal["system", "user", "assistant", "tool"]
START, END = "<|im_start|>", "<|im_end|>"
CALL, CALL_END = "<tool_call>", "</tool_call>"
RESPONSE, RESPONSE_END = "<tool_response>", "</tool_response>"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The assistant asks for a tool; `arguments` are what JSON can hold."""

    name: str
    arguments: dict[str, Any] = field(hash=False)

    def text(self) -> str:
        """The call as it stands between its two tokens."""
        return json.dumps({"name": self.name, "arguments": self.arguments}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. The assistant's may hold tool calls, which come after its words; a tool's `content` is its result."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The message in OpenAI's layout, as conversations lie on disk and as `apply_chat_template` takes them."""
        calls = [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in self.tool_calls
        ]
        return {"role": self.role, "content": self.content} | ({"tool_calls": calls} if calls else {})


Messages = tuple[Message, ...]
"""A conversation's turns in their order."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a rendered conversation: one special token, or text without any."""

    text: str
    special: bool = False
    learned: bool = False


@dataclass(frozen=True)
class Encoded:
    """`learned[i]`: token i, as a target, is the assistant's: its words, its tool calls and the end of its turn."""

    tokens: list[int]
    learned: list[bool]


def render(messages: Sequence[Message], generation_prompt: bool = False) -> str:
    """The conversation as text, for people and other programs; `encode` is what models read.

    Args:
        generation_prompt: ends with the opening of the assistant's turn, for it to go on.
    """
    return "".join(piece.text for piece in pieces(messages, generation_prompt))


def encode(tokenizer: Tokenizer, messages: Sequence[Message], generation_prompt: bool = False) -> list[int]:
    """The conversation as ids; special tokens that stand in messages are text like any other.

    Raises:
        UserError: the tokenizer lacks a token of the form.
    """
    return [token for tokens in encode_pieces(tokenizer, pieces(messages, generation_prompt)) for token in tokens]


def encode_for_learning(tokenizer: Tokenizer, messages: Sequence[Message]) -> Encoded:
    """The ids of `encode`, each with whether the assistant is to learn to write it.

    Raises:
        UserError: the tokenizer lacks a token of the form.
    """
    return encode_many_for_learning(tokenizer, [messages])[0]


def encode_many_for_learning(tokenizer: Tokenizer, conversations: Sequence[Sequence[Message]]) -> list[Encoded]:
    """`encode_for_learning` of many conversations at once, several times as fast; some thousands at a time are right."""
    parts = [pieces(messages) for messages in conversations]
    encoded = encode_pieces(tokenizer, [piece for part in parts for piece in part])
    ids = iter(encoded)
    made = []
    for part in parts:
        tokens: list[int] = []
        learned: list[bool] = []
        for piece in part:
            some = next(ids)
            tokens += some
            learned += [piece.learned] * len(some)
        made.append(Encoded(tokens, learned))
    return made


def pieces(messages: Sequence[Message], generation_prompt: bool = False) -> list[Piece]:
    """The conversation taken apart into special tokens and text."""
    parts: list[Piece] = []
    for message in messages:
        parts += [Piece(START, special=True), Piece(f"{message.role}\n"), *turn(message), Piece("\n")]
    if generation_prompt:
        parts += [Piece(START, special=True), Piece("assistant\n")]
    return parts


def turn(message: Message) -> list[Piece]:
    """What stands between a turn's opening and the line end behind it; of the assistant's, all is learned."""
    learned = message.role == "assistant"
    end = Piece(END, special=True, learned=learned)
    if message.role == "tool":
        return [Piece(RESPONSE, special=True), Piece(message.content), Piece(RESPONSE_END, special=True), end]
    parts = [Piece(message.content, learned=learned)]
    for call in message.tool_calls:
        parts += [
            Piece(CALL, special=True, learned=learned),
            Piece(call.text(), learned=learned),
            Piece(CALL_END, special=True, learned=learned),
        ]
    return [*parts, end]


def encode_pieces(tokenizer: Tokenizer, parts: Sequence[Piece]) -> list[list[int]]:
    """The ids of each piece; texts that come again, as the turns' openings do, are encoded once."""
    texts = list(dict.fromkeys(piece.text for piece in parts if not piece.special))
    ids = dict(zip(texts, tokenizer.encode_batch(texts), strict=True))
    special = {piece.text: [tokenizer.special(piece.text)] for piece in parts if piece.special}
    return [(special if piece.special else ids)[piece.text] for piece in parts]


def parse_answer(tokenizer: Tokenizer, tokens: Sequence[int]) -> Message:
    """What a model wrote, up to the end of its turn, as the assistant's message.

    A tool call is one that stands between its tokens and has a name and arguments; anything else stays text.
    """
    ends = {tokenizer.end_of_text} | ({tokenizer.special(END)} if tokenizer.has(END) else set())
    written = list(tokens)
    written = written[: next((place for place, token in enumerate(written) if token in ends), len(written))]
    if not (tokenizer.has(CALL) and tokenizer.has(CALL_END)):
        return Message("assistant", tokenizer.decode(written))
    opening, closing = tokenizer.special(CALL), tokenizer.special(CALL_END)
    text: list[int] = []
    calls: list[ToolCall] = []
    while opening in written:
        start = written.index(opening)
        end = written.index(closing, start) if closing in written[start:] else len(written)
        call = read_call(tokenizer.decode(written[start + 1 : end])) if end < len(written) else None
        if call is None:  # what follows the opening may hold another call
            text += written[: start + 1]
            written = written[start + 1 :]
        else:
            text += written[:start]
            calls.append(call)
            written = written[end + 1 :]
    return Message("assistant", tokenizer.decode(text + written), tuple(calls))


def read_call(text: str) -> ToolCall | None:
    """The call that a text between <tool_call> and </tool_call> makes, if it makes one."""
    try:
        call = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match call:
        case {"name": str(name), "arguments": dict(arguments)} if name:
            return ToolCall(name, arguments)
    return None
