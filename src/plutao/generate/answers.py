"""What is asked of the engine, what it is writing, and what it gives back."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from plutao.generate.sampling import Sampling, generator
from plutao.text.tokenizer import IncrementalDecoder, Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher

FinishReason = Literal["stop", "length", "probability", "aborted"]
Alternatives = tuple[tuple[int, float], ...]
"""The most probable tokens with their natural log-probabilities, the most probable first."""


@dataclass(frozen=True)
class Completion:
    """One answer, ended. Log-probabilities are the model's own, in nats, before penalty, temperature and truncation."""

    text: str
    """Without the stop text or end token that ended it."""
    tokens: list[int]
    """All that were drawn: an end token is the last of them, and a stop text's tokens are among them."""
    token_logprobs: list[float]
    alternatives: list[Alternatives]
    """One for each token where `logprobs` asked for them, else empty."""
    finish_reason: FinishReason
    """`stop`: an end token or stop text; `length`: max_tokens or the context's end; `probability`: stop_probability."""
    prompt_tokens: int
    truncated: int
    """Tokens cut from the prompt's beginning, on request, to make it fit the context."""
    seed: int
    """Draws the same answer again."""
    cached: int = 0
    """Tokens of the prompt that had been read before, for another request."""
    seconds: float = 0.0
    """Of the engine's time, where it is measured (serving.py): the answer's share of the request's."""

    @property
    def mean_logprob(self) -> float:
        """Mean log-probability per token: what best_of ranks by."""
        return sum(self.token_logprobs) / max(len(self.token_logprobs), 1)


@dataclass(frozen=True)
class Piece:
    """What came of one answer in one step: new text while it is written (streaming), and its completion at its end."""

    request: int
    answer: int
    """Which of the request's answers, from 0."""
    text: str = ""
    tokens: tuple[int, ...] = ()
    token_logprobs: tuple[float, ...] = ()
    alternatives: tuple[Alternatives, ...] = ()
    completion: Completion | None = None
    prompt: "PromptScores | None" = None
    """Once for a request that asked for it, before its answers' first tokens."""


@dataclass(frozen=True)
class PromptScores:
    """How probable the model found each token of a prompt after those before it; the first has none."""

    tokens: list[int]
    logprobs: list[float]
    """Of the tokens from the second on."""
    alternatives: list[Alternatives]
    """As many, where asked for."""


@dataclass
class Request:
    """A prompt and how it is to be continued."""

    id: int
    prompt: list[int]
    sampling: Sampling
    seed: int
    end_tokens: frozenset[int]
    streaming: bool
    truncated: int = 0
    scored: bool = False
    """Whether the prompt's own log-probabilities are wanted."""
    salt: str = ""
    """Prefixes are shared among requests with the same one."""
    cached: int = 0
    seconds: float = 0.0
    waiting: list["Answer"] = field(default_factory=list)
    ended: dict[int, Completion] = field(default_factory=dict)


class StopScanner:
    """Lets text through up to the first stop text; holds back an end that may be the beginning of one."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._held = ""

    def add(self, text: str) -> tuple[str, bool]:
        """(text that is certain, whether a stop text came)."""
        self._held += text
        places = [place for stop in self._stop if (place := self._held.find(stop)) >= 0]
        if places:
            certain, self._held = self._held[: min(places)], ""
            return certain, True
        cut = len(self._held) - self._beginning()
        certain, self._held = self._held[:cut], self._held[cut:]
        return certain, False

    @property
    def holds(self) -> bool:
        """Whether anything is held back."""
        return bool(self._held)

    def finish(self) -> str:
        """What was held back and turned out to be text."""
        held, self._held = self._held, ""
        return held

    def _beginning(self) -> int:
        """Length of the longest end of the held text that begins a stop text."""
        longest = min(len(self._held), max((len(stop) - 1 for stop in self._stop), default=0))
        for length in range(longest, 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0


class Answer:
    """One text that is being written, in one slot."""

    def __init__(self, request: Request, index: int, tokenizer: Tokenizer, form: "LLMatcher | None" = None) -> None:
        self.request, self.index, self.form = request, index, form
        self.random: random.Random = generator(request.seed, index)
        self.tokens: list[int] = []
        self.token_logprobs: list[float] = []
        self.alternatives: list[Alternatives] = []
        self._tokenizer = tokenizer
        live = request.streaming or bool(request.sampling.stop)
        # Text is made on the way only for those who read along or must be stopped by it.
        self._decoder = IncrementalDecoder(tokenizer) if live else None
        self._scanner = StopScanner(request.sampling.stop)
        self._text = ""

    @property
    def position(self) -> int:
        """Where the last token stands: the position that the next step computes."""
        return len(self.request.prompt) + len(self.tokens) - 1

    def add(
        self, token: int, logprob: float, alternatives: Alternatives | None, best: float, context: int
    ) -> tuple[str, FinishReason | None]:
        """Takes a drawn token; returns the text that is certain now and why the answer ends, if it does.

        `best` is the probability of the most probable token; a `context` full of tokens ends the answer.
        """
        sampling = self.request.sampling
        if best < sampling.stop_probability:
            return self._last_text(), "probability"
        self.tokens.append(token)
        self.token_logprobs.append(logprob)
        if self.form is not None:
            self.form.consume_token(token)
        if alternatives is not None:
            self.alternatives.append(alternatives)
        if token in self.request.end_tokens:
            return self._last_text(), "stop"
        text = ""
        if self._decoder is not None:
            text, stopped = self._scanner.add(self._decoder.add(token))
            self._text += text
            if stopped:
                return text, "stop"
        if len(self.tokens) >= sampling.max_tokens or self.position >= context:
            return text + self._last_text(), "length"
        return text, None

    def completion(self, reason: FinishReason) -> Completion:
        text = self._text
        if self._decoder is None:
            ended = reason == "stop" and self.tokens[-1] in self.request.end_tokens
            text = self._tokenizer.decode(self.tokens[:-1] if ended else self.tokens)
        return Completion(
            text=text,
            tokens=self.tokens,
            token_logprobs=self.token_logprobs,
            alternatives=self.alternatives,
            finish_reason=reason,
            prompt_tokens=len(self.request.prompt),
            truncated=self.request.truncated,
            seed=self.request.seed,
            cached=self.request.cached,
            seconds=self.request.seconds / self.request.sampling.drawn,
        )

    def _last_text(self) -> str:
        """Halves of characters and what was held back as a possible stop text."""
        if self._decoder is None:
            return ""
        text, stopped = self._scanner.add(self._decoder.finish())
        if not stopped:
            text += self._scanner.finish()
        self._text += text
        return text
