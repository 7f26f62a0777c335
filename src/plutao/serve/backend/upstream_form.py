"""How jobs and answers look on the way to and from another engine: OpenAI's requests and the pieces of its streams."""

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from plutao.serve.backend.contract import (
    Alternative,
    Busy,
    Delta,
    EngineFailed,
    Finished,
    Job,
    ModelCard,
    Reason,
    Refused,
)
from plutao.serve.backend.reader import is_conversation
from plutao.text.chat import Message, Messages, ToolCall

CONTEXT = 4096
"""Where the other engine does not tell its context."""
SPECIAL = re.compile(
    r"<\|[^|<>\s]{1,64}\|>"  # ChatML, Llama 3, Phi, GPT: <|im_end|>, <|eot_id|>
    r"|<｜[^｜<>]{1,64}｜>"  # DeepSeek
    r"|</?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|tool_call|tool_response|think)>"
    r"|\[/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\]"
    r"|<</?SYS>>",
    re.IGNORECASE,
)
"""Texts that tokenizers of other makers read as special tokens."""
BREAK = "\u200b"
"""A blank without width: people see what they typed, tokenizers see something else."""


def neutral(text: str) -> str:
    """The text with every special token broken up behind its first character."""
    return SPECIAL.sub(lambda found: found[0][0] + BREAK + found[0][1:], text)


# ---------------------------------------------------------------------------------------------------------------------
# What is sent


def neutral_json(value: Any) -> Any:
    """The same with every text in it made neutral."""
    if isinstance(value, str):
        return neutral(value)
    if isinstance(value, dict):
        return {neutral(name): neutral_json(inner) for name, inner in value.items()}
    return [neutral_json(inner) for inner in value] if isinstance(value, list | tuple) else value


def arguments_of(call: ToolCall) -> str:
    return json.dumps(neutral_json(call.arguments), ensure_ascii=False)


def messages_of(messages: Messages) -> list[dict[str, Any]]:
    """OpenAI's layout, special tokens broken up; calls get ids, and results those of the calls before them."""
    sent: list[dict[str, Any]] = []
    open_calls: list[str] = []
    for place, message in enumerate(messages):
        told: dict[str, Any] = {"role": message.role, "content": neutral(message.content)}
        if message.tool_calls:
            open_calls = [f"call_{place}_{number}" for number in range(len(message.tool_calls))]
            told["tool_calls"] = [
                {
                    "id": name,
                    "type": "function",
                    "function": {"name": call.name, "arguments": arguments_of(call)},
                }
                for name, call in zip(open_calls, message.tool_calls, strict=True)
            ]
        if message.role == "tool":
            told["tool_call_id"] = open_calls.pop(0) if open_calls else f"call_{place}"
        sent.append(told)
    return sent


def common_body(job: Job, card: ModelCard, seed: int) -> dict[str, Any]:
    """Only what differs from the defaults goes out: engines differ in what they know."""
    sampling = job.sampling
    always = {
        "model": card.id,
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "seed": seed,
        "n": sampling.n,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    optional = {
        "top_p": (sampling.top_p, 1.0),
        "top_k": (sampling.top_k, 0),
        "min_p": (sampling.min_p, 0.0),
        "repetition_penalty": (sampling.repetition_penalty, 1.0),
        "frequency_penalty": (sampling.frequency_penalty, 0.0),
        "presence_penalty": (sampling.presence_penalty, 0.0),
        "logit_bias": ({str(token): bias for token, bias in sampling.logit_bias}, {}),
        "stop": (list(sampling.stop), []),
        "best_of": (sampling.best_of, None),
    }
    return always | {name: value for name, (value, usual) in optional.items() if value != usual}


def text_body(job: Job, card: ModelCard, seed: int) -> dict[str, Any]:
    body = common_body(job, card, seed)
    body["prompt"] = neutral(job.prompt) if isinstance(job.prompt, str) else list(job.prompt)
    if job.echo:  # in one piece: in a stream nobody could tell where the prompt ends
        body |= {"echo": True, "stream": False}
        del body["stream_options"]
    if job.logprobs or job.echo:
        body["logprobs"] = job.sampling.logprobs
    return body


def chat_body(job: Job, card: ModelCard, seed: int) -> dict[str, Any]:
    assert is_conversation(job.prompt)
    body = common_body(job, card, seed) | {"messages": messages_of(job.prompt)}
    if job.logprobs:
        body |= {"logprobs": True, "top_logprobs": job.sampling.logprobs}
    if job.tools:
        body["tools"] = [{"type": "function", "function": neutral_json(dict(tool))} for tool in job.tools]
        named = {"type": "function", "function": {"name": job.tool_choice.name}}
        body["tool_choice"] = named if job.tool_choice.mode == "named" else job.tool_choice.mode
    grammar = job.sampling.grammar
    if grammar is not None and grammar.kind == "json_object":
        body["response_format"] = {"type": "json_object"}
    elif grammar is not None and grammar.kind == "json_schema":
        schema = {"name": "answer", "schema": json.loads(grammar.source), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


# ---------------------------------------------------------------------------------------------------------------------
# What comes back


Score = tuple[bytes, float | None, tuple[Alternative, ...]]
"""A token's bytes, its log-probability, and what else might have stood there."""


@dataclass
class Reading:
    """The answers of one job as their pieces come."""

    chat: bool
    seed: int
    echo: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    texts: dict[int, str] = field(default_factory=dict)
    logprobs: dict[int, list[float]] = field(default_factory=dict)
    pieces: dict[int, int] = field(default_factory=dict)
    calls: dict[int, dict[int, dict[str, str]]] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)

    def use(self, chunk: Mapping[str, Any]) -> None:
        """Takes the usage that a chunk tells.

        Raises:
            EngineFailed: it tells of an error.
        """
        if error := chunk.get("error"):
            said = error.get("message") if isinstance(error, dict) else error
            raise EngineFailed(f"The other engine failed: {said}")
        if isinstance(usage := chunk.get("usage"), dict):
            self.prompt_tokens = int(usage.get("prompt_tokens") or self.prompt_tokens)
            self.completion_tokens = int(usage.get("completion_tokens") or self.completion_tokens)

    def deltas(self, chunk: Mapping[str, Any]) -> list[Delta]:
        """What a chunk adds; tool calls come when their answer ends."""
        found = []
        for choice in chunk.get("choices") or []:
            index = int(choice.get("index") or 0)
            part = choice.get("delta") or {} if self.chat else choice
            text = part.get("content" if self.chat else "text") or ""
            scores = chat_scores(choice) if self.chat else text_scores(choice)
            for call in part.get("tool_calls") or []:
                self._add_call(index, call)
            if text or scores:
                self.texts[index] = self.texts.get(index, "") + text
                self.pieces[index] = self.pieces.get(index, 0) + 1
                self.logprobs.setdefault(index, []).extend(score[1] for score in scores if score[1] is not None)
                found += self._echoed(index, text, scores) if self.echo else [scored_delta(index, text, scores)]
            if reason := choice.get("finish_reason"):
                self.reasons[index] = str(reason)
                found += [Delta(index, kind="tool_call", call=call) for call in self._whole_calls(index)]
        return found

    def finished(self, estimated: int) -> list[Finished]:
        """The ends of all answers; tokens are counted by the other engine, shared out by pieces where it tells a sum."""
        pieces = sum(self.pieces.values()) or 1
        ended = []
        left = self.completion_tokens or sum(self.pieces.values())
        for place, index in enumerate(sorted(self.reasons)):
            share = round((self.completion_tokens or pieces) * self.pieces.get(index, 0) / pieces)
            tokens = left if place == len(self.reasons) - 1 else min(share, left)
            left -= tokens
            calls = tuple(self._whole_calls(index))
            text = self.texts.get(index, "")
            told: Reason = "length" if self.reasons[index] == "length" else "tool_calls" if calls else "stop"
            ended.append(
                Finished(
                    index=index,
                    reason=told,
                    text=text,
                    tokens=(),
                    written=(),
                    logprobs=tuple(self.logprobs.get(index, ())),
                    prompt=(),
                    prompt_tokens=self.prompt_tokens or estimated,
                    completion_tokens=tokens,
                    cut=0,
                    seed=self.seed,
                    calls=calls,
                    messages=(Message("assistant", text, calls),),
                )
            )
        return ended

    def _echoed(self, index: int, text: str, scores: Sequence[Score]) -> list[Delta]:
        """The prompt and what was written behind it, told apart by the number of the prompt's tokens."""
        own = scores[self.prompt_tokens :]
        written = b"".join(score[0] for score in own).decode("utf-8", "replace")
        self.texts[index] = written
        self.pieces[index] = len(own)
        before = text[: len(text) - len(written)] if scores else text
        echo = replace(scored_delta(index, before, scores[: self.prompt_tokens]), kind="echo")
        return [echo, scored_delta(index, written, own)]

    def _add_call(self, index: int, call: Mapping[str, Any]) -> None:
        parts = self.calls.setdefault(index, {}).setdefault(int(call.get("index") or 0), {"name": "", "arguments": ""})
        function = call.get("function") or {}
        parts["name"] = parts["name"] or function.get("name") or ""
        parts["arguments"] += function.get("arguments") or ""

    def _whole_calls(self, index: int) -> list[ToolCall]:
        calls = []
        for _, parts in sorted(self.calls.get(index, {}).items()):
            with suppress(ValueError):
                arguments = json.loads(parts["arguments"] or "{}")
                calls.append(ToolCall(parts["name"], arguments if isinstance(arguments, dict) else {}))
        return calls


def chat_scores(choice: Mapping[str, Any]) -> list[Score]:
    def piece(token: Mapping[str, Any]) -> bytes:
        told = token.get("bytes")
        return bytes(told) if told is not None else str(token.get("token", "")).encode()

    told = (choice.get("logprobs") or {}).get("content") or []
    return [
        (
            piece(token),
            token.get("logprob"),
            tuple(Alternative(None, piece(other), other["logprob"]) for other in token.get("top_logprobs") or []),
        )
        for token in told
    ]


def text_scores(choice: Mapping[str, Any]) -> list[Score]:
    told = choice.get("logprobs") or {}
    tokens, logprobs = told.get("tokens") or [], told.get("token_logprobs") or []
    others = told.get("top_logprobs") or [None] * len(tokens)
    return [
        (
            token.encode(),
            logprob,
            tuple(Alternative(None, text.encode(), value) for text, value in (alternatives or {}).items()),
        )
        for token, logprob, alternatives in zip(tokens, logprobs, others, strict=False)
    ]


def scored_delta(index: int, text: str, scores: Sequence[Score]) -> Delta:
    return Delta(
        index,
        text,
        tokens=(None,) * len(scores),
        pieces=tuple(score[0] for score in scores),
        logprobs=tuple(score[1] for score in scores),
        alternatives=tuple(score[2] for score in scores),
    )


async def events_of(response: httpx.Response) -> AsyncGenerator[dict[str, Any], None]:
    """The chunks of a stream of server-sent events."""
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            return
        try:
            chunk = json.loads(data)
        except ValueError as error:
            raise EngineFailed("The other engine sent what is no JSON.") from error
        if isinstance(chunk, dict):
            yield chunk


async def whole(response: httpx.Response) -> AsyncGenerator[dict[str, Any], None]:
    """An answer that comes in one piece."""
    await response.aread()
    try:
        yield response.json()
    except ValueError as error:
        raise EngineFailed("The other engine sent what is no JSON.") from error


def refusal(response: httpx.Response) -> Exception:
    """The other engine's error as ours: too busy, the caller's fault, or its own."""
    try:
        told = response.json().get("error") or {}
    except (ValueError, AttributeError):
        told = {}
    told = told if isinstance(told, dict) else {"message": str(told)}
    message = str(told.get("message") or f"the engine answered {response.status_code}")[:500]
    if response.status_code in (429, 503):
        wait = response.headers.get("retry-after", "")
        return Busy(min(max(float(wait), 1.0), 60.0) if wait.replace(".", "", 1).isdigit() else 5.0)
    if response.status_code in (400, 404, 413, 422):
        code = "context_length_exceeded" if "context" in message.lower() and "length" in message.lower() else None
        if response.status_code == 404:
            code = "unsupported_value"
        return Refused(message, code or str(told.get("code") or "invalid_value"), told.get("param"))
    return EngineFailed(f"The other engine answered {response.status_code}: {message}")


def card_of(entry: Mapping[str, Any], first: bool) -> ModelCard:
    name = str(entry["id"])
    meta = entry.get("meta") if isinstance(entry.get("meta"), dict) else {}
    context = entry.get("max_model_len") or (meta or {}).get("n_ctx_train") or CONTEXT
    return ModelCard(
        id=name,
        created=int(entry.get("created") or 0),
        context=int(context),
        vocabulary=int((meta or {}).get("n_vocab") or 10**6),
        stage="upstream",
        chats=True,
        fingerprint=f"upstream:{name}",
        folder=None,
        parameters=int((meta or {}).get("n_params") or 0),
        width=int((meta or {}).get("n_embd") or 0),
        aliases=("current",) if first else (),
    )


def estimate(job: Job) -> int:
    """Tokens of a prompt where nobody can count them: never fewer than there are, as budgets need it."""
    if is_conversation(job.prompt):
        return sum(len(message.content.encode()) + 8 for message in job.prompt)
    return len(job.prompt.encode()) + 1 if isinstance(job.prompt, str) else len(job.prompt)


def unit(vector: Sequence[float]) -> tuple[float, ...]:
    size = sum(value * value for value in vector) ** 0.5 or 1.0
    return tuple(value / size for value in vector)
