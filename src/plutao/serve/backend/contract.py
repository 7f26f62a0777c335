"""The seam between what people ask of the service and what answers: our own engine, or another one by its address.

A backend is asked for one job at a time, many at once. What comes back of a job, in this order:

    Started                      it stands in the queue; nothing was refused, the prompt's tokens are counted
    Delta, Delta, …              words, tool calls and their results as they come, those of the job's n answers mixed
    Finished                     one for each answer, after its last Delta

Whoever stops reading (`aclose` of the iterator, or the task's cancellation) aborts the job, and its slots are free at once.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from plutao.generate.sampling import Sampling
from plutao.text.chat import Messages, ToolCall

Reason = Literal["stop", "length", "tool_calls", "aborted"]
Prompt = str | tuple[int, ...] | Messages
"""Text to be continued (special tokens typed in it stay text), its token ids, or a conversation to be answered."""


@dataclass(frozen=True)
class ModelCard:
    """A model that can be asked for by its name."""

    id: str
    """RUN/STAGE."""
    created: int
    """Seconds since 1970."""
    context: int
    """Tokens of prompt and answer together."""
    vocabulary: int
    stage: str
    chats: bool
    """Whether it learned to talk; a base model answers conversations by continuing worked examples."""
    fingerprint: str
    """Of the weights: the same for the same numbers, wherever they lie."""
    folder: Path | None
    """None where another engine holds it."""
    parameters: int = 0
    width: int = 0
    """Numbers in an embedding."""
    aliases: tuple[str, ...] = ()
    """Other names that mean it: `current`."""


@dataclass(frozen=True)
class ToolChoice:
    """Whether the model may call the tools (`auto`), may not (`none`), must (`required`), or must call one (`named`)."""

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str = ""


@dataclass(frozen=True)
class Job:
    """One request."""

    model: str
    prompt: Prompt
    sampling: Sampling
    logprobs: bool = False
    """Whether Deltas carry log-probabilities (`sampling.logprobs` says how many alternatives they show)."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """The client's own, each {"name", "description", "parameters": JSON schema}; their calls end the answer."""
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    run_tools: bool = False
    """Whether the model may use our calculator, which runs beside it."""
    echo: bool = False
    """The prompt comes first, as a Delta of kind `echo`, with log-probabilities where asked. Not for conversations."""
    truncate: bool = False
    """Whether a prompt that is too long loses its beginning (Started tells how much) instead of being refused."""
    deadline: float | None = None
    """Seconds from now after which the answers end where they are, with the reason `aborted`."""
    salt: str = ""
    """Prefixes are shared only among jobs with the same one."""


class Alternative(NamedTuple):
    """A token that might have been written."""

    token: int | None
    """None where another engine does not tell its numbers."""
    bytes: bytes
    logprob: float


@dataclass(frozen=True)
class Started:
    """The job was accepted and stands in the queue, or is being read already."""

    prompt_tokens: int
    cut: int = 0
    """Tokens that were cut from the prompt's beginning."""


@dataclass(frozen=True)
class Delta:
    """What one answer gained. Texts of kind `text` join to the answer's text; no half characters, no part of a stop text.

    The four tuples are of equal length and tell the tokens that this text is made of: `pieces` join to its bytes. They are
    empty unless `Job.logprobs` (`alternatives` holds empty tuples where none are wanted).
    """

    index: int
    text: str = ""
    tokens: tuple[int | None, ...] = ()
    pieces: tuple[bytes, ...] = ()
    logprobs: tuple[float | None, ...] = ()
    """Natural logarithms; None for the first token of a prompt that is echoed."""
    alternatives: tuple[tuple[Alternative, ...], ...] = ()
    kind: Literal["text", "tool_call", "tool_result", "echo"] = "text"
    call: ToolCall | None = None
    """Of kinds `tool_call` and `tool_result`; the result is in `text`."""


@dataclass(frozen=True)
class Finished:
    """One answer, ended, with all that is needed to have it again (`replay`)."""

    index: int
    reason: Reason
    text: str
    tokens: tuple[int, ...]
    """All after the prompt: ends of turns, and what tools put between, among them."""
    written: tuple[bool, ...]
    """For each of them, whether the model wrote it."""
    logprobs: tuple[float, ...]
    """The model's own, before temperature, penalties and truncation; 0 for what it did not write."""
    prompt: tuple[int, ...]
    """As it was read; empty where another engine does not tell."""
    prompt_tokens: int
    completion_tokens: int
    """Those that the model wrote."""
    cut: int
    seed: int
    calls: tuple[ToolCall, ...] = ()
    """What the answer ends with where the reason is `tool_calls`."""
    messages: Messages = ()
    """What the conversation gains."""
    cached_tokens: int = 0
    """Of the prompt, that had been read for someone before."""
    seconds: float = 0.0
    """Of the engine's time, its share of every step that served several."""
    replay: "Replay | None" = None


@dataclass(frozen=True)
class Replay:
    """What an answer came from: with it the same engine gives it again, token for token (the book's Figure 55 on)."""

    model: str
    fingerprint: str
    template: str
    """Hash of the form in which conversations are read."""
    precision: str
    compiled: bool
    """Whether steps ran as compiled code; PyTorch's may differ in the last bits."""
    sampling: Mapping[str, Any]
    """Every setting, the seed among them."""
    index: int
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    written: tuple[bool, ...]
    logprobs: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Embedded:
    """Texts as vectors of length 1."""

    vectors: tuple[tuple[float, ...], ...]
    tokens: int
    """Of all inputs together."""


@dataclass(frozen=True)
class Load:
    """How much there is to do now."""

    running: int
    waiting: int
    slots: int
    queue: int
    """Jobs that may wait beyond those; the next is refused with `Busy`."""
    tokens_per_second: float
    """Written, over the last seconds."""
    models: tuple[str, ...] = ()
    """Loaded now."""
    prefix_tokens: int = 0
    """Kept to be used again."""
    prefix_hits: int = 0
    """Prompt tokens that were not read again, since the start."""
    prompt_tokens: int = 0
    """Read or reused since the start."""
    completion_tokens: int = 0
    restarts: int = 0
    """Of an engine process that died."""


class Busy(Exception):
    """The queue is full: 503, try again in `retry_after` seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too many requests wait; try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class Refused(Exception):
    """The job can't be done as it was asked; the caller's to mend.

    Attributes:
        code: `model_not_found` (404), `context_length_exceeded` or `invalid_value` (400).
        param: the field to blame.
    """

    def __init__(self, message: str, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(message)
        self.message, self.code, self.param = message, code, param

    def __reduce__(self) -> tuple[Any, ...]:
        return Refused, (self.message, self.code, self.param)


class EngineFailed(Exception):
    """The engine died or could not be reached: 500 before anything was sent, an error within the stream afterwards."""


class Backend(Protocol):
    """What answers. Every method raises `Refused` for a model it does not know, and `EngineFailed`."""

    async def start(self) -> None:
        """Gets ready; loads nothing yet."""
        ...

    async def stop(self, grace: float) -> None:
        """Takes no more jobs, lets those under way finish for `grace` seconds, and ends."""
        ...

    async def models(self) -> list[ModelCard]: ...

    async def model(self, name: str) -> ModelCard:
        """The model that a name or alias means."""
        ...

    def run(self, job: Job) -> AsyncIterator[Started | Delta | Finished]:
        """The job's events. `Busy`, `Refused` and a first `EngineFailed` come before `Started`."""
        ...

    async def count(self, job: Job) -> Started:
        """What `Started` would tell, without doing the job."""
        ...

    async def embed(self, model: str, inputs: Sequence[str | Sequence[int]]) -> Embedded: ...

    async def tokenize(self, model: str, prompt: Prompt) -> list[int]: ...

    async def detokenize(self, model: str, tokens: Sequence[int]) -> str: ...

    async def tokenizer_info(self, model: str) -> dict[str, Any]:
        """The settings in tokenizer_config.json, with `chat_template`, and `vocabulary_size`, `end_of_text`, `kind`."""
        ...

    def load(self) -> Load: ...


def template_hash(template: str) -> str:
    """Names a chat template by its content."""
    return hashlib.sha256(template.encode()).hexdigest()[:16]


def settings_of(sampling: Sampling, seed: int) -> dict[str, Any]:
    """Every setting as JSON can hold it, with the seed that was used."""
    told: dict[str, Any] = json.loads(json.dumps(asdict(sampling)))
    return {**told, "seed": seed}
