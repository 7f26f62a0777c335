"""One job inside the engine's process: its requests to the engine, its tools, and what is told of it."""

import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace

from plutao.generate.answers import Completion, Piece, Request
from plutao.generate.chat import Chat, Draft, derive
from plutao.generate.sampling import Sampling
from plutao.generate.serving import ServingEngine
from plutao.generate.tools import Calculator
from plutao.serve.backend.contract import Delta, Finished, Reason
from plutao.serve.backend.reader import Order
from plutao.serve.backend.words import Gained, Words, delta_of, score
from plutao.text.chat import Message

REASONS: dict[str, Reason] = {"stop": "stop", "probability": "stop", "aborted": "aborted"}
"""Of the engine's; all others are `length`."""
Event = Delta | Finished
BREATH = 0.05
"""Seconds between two deltas of an answer, at the least: twenty a second are more than anybody reads, and each costs the
service as much as a token costs the engine of a small model.
"""


class Writing:
    """A job from its first request to the end of its last answer."""

    def __init__(self, engine: ServingEngine, order: Order) -> None:
        """Puts the job into the engine's queue.

        Raises:
            UserError: the engine can't do it.
        """
        self.order, self._engine = order, engine
        self.ends_at = None if order.deadline is None else time.monotonic() + order.deadline
        self.seed = secrets.randbits(53) if order.sampling.seed is None else order.sampling.seed
        self._sampling = replace(order.sampling, seed=self.seed)
        self._chat = Chat(engine, (Calculator(),) if order.run_tools else ()) if order.talks else None
        # Conversations draw from numbers of their own, as in `Chat`.
        first = self.seed if self._chat is None else derive(self.seed, order.tokens)
        request = self._ask(list(order.tokens), replace(self._sampling, seed=first), echo=order.echo)
        self.requests: dict[int, Request] = {request.id: request}
        self._index: dict[int, int] = {}  # of requests that go on with one answer: which
        count = self._sampling.n
        self._drafts = [Draft(list(order.tokens), self.seed, place, 0, order.outside) for place in range(count)]
        self._words = [self._new_words() for _ in range(count)]
        self._texts = [""] * count
        self._held = [Gained() for _ in range(count)]  # not told yet
        self._told = [-math.inf] * count  # when something was told last
        self._spent = [0.0] * count
        self._cached = [0] * count
        self._open = set(range(count))

    @property
    def done(self) -> bool:
        return not self._open

    def take(self, piece: Piece) -> list[Event]:
        """What a piece from the engine means to whoever reads."""
        if piece.prompt is not None:
            return [self._echo(piece)]
        index = self._index.get(piece.request, piece.answer)
        completion = piece.completion
        if self._sampling.drawn > self._sampling.n and completion is not None:  # they come whole, when all have ended
            gained = self._words[index].add(completion.tokens, completion.token_logprobs, completion.alternatives)
        else:
            gained = self._words[index].add(piece.tokens, piece.token_logprobs, piece.alternatives)
        if completion is not None:
            gained += self._words[index].finish()
        self._texts[index] += gained.text
        self._held[index] += gained
        events = self._tell(index, completion is not None)
        if completion is not None:
            events += self._turn(index, completion, piece.request)
        return events

    def stop(self) -> list[Event]:
        """Ends the job where it is; frees its slots."""
        partial: dict[int, Completion] = {}
        for number in self.requests:
            indices = [self._index[number]] if number in self._index else sorted(self._open)
            partial |= dict(zip(indices, self._engine.abort(number), strict=False))
        events: list[Event] = []
        for index in sorted(self._open):
            words = self._words[index].finish()
            self._texts[index] += words.text
            self._held[index] += words
            events += self._tell(index, True)
            draft = self._drafts[index]
            if (completion := partial.get(index)) is not None:
                draft.tokens += completion.tokens
                draft.written += [True] * len(completion.tokens)
                draft.logprobs += completion.token_logprobs
            events.append(self._finished(index, "aborted", ()))
        self._open.clear()
        return events

    def leave(self) -> None:
        """Nobody reads any more."""
        for number in self.requests:
            self._engine.abort(number)
        self._open.clear()

    def _tell(self, index: int, at_once: bool) -> list[Event]:
        """What an answer gained since it was last heard of, if it is time."""
        held, present = self._held[index], time.monotonic()
        if not (held.text or held.tokens) or not (at_once or present - self._told[index] >= BREATH):
            return []
        self._held[index], self._told[index] = Gained(), present
        return [held.delta(index)]

    # -----------------------------------------------------------------------------------------------------------------
    # Turns

    def _ask(self, tokens: list[int], sampling: Sampling, echo: bool = False) -> Request:
        best_of = sampling.drawn > sampling.n
        return self._engine.ask(tokens, sampling, streaming=not best_of, scored=echo, salt=self.order.salt)

    def _new_words(self) -> Words:
        order = self.order
        sampling = order.sampling
        return Words(
            self._engine.tokenizer, sampling.stop, sampling.end_tokens or (), order.scored, order.talks, order.trim
        )

    def _turn(self, index: int, completion: Completion, number: int) -> list[Event]:
        """A turn has ended: tools are run and the answer goes on, or it has ended too."""
        self._spent[index] += completion.seconds
        if number not in self._index:
            self._cached[index] = completion.cached
        draft = self._drafts[index]
        if self._chat is None:
            draft.tokens += completion.tokens
            draft.written += [True] * len(completion.tokens)
            draft.logprobs += completion.token_logprobs
            return [self._finished(index, completion.finish_reason, ())]
        before = len(draft.added)
        follow_up, reason = self._chat.take(draft, completion, self._sampling)
        message, *results = draft.added[before:]
        events: list[Event] = []
        for place, call in enumerate(message.tool_calls):
            events.append(Delta(index, kind="tool_call", call=call))
            if results:
                events.append(Delta(index, results[place].content, kind="tool_result", call=call))
        if follow_up is None:
            return [*events, self._finished(index, reason, draft.added[-1:])]
        request = self._ask(draft.prompt + draft.tokens, follow_up)
        self.requests[request.id], self._index[request.id] = request, index
        self._words[index] = self._new_words()
        return events

    def _finished(self, index: int, reason: str, last: Sequence[Message]) -> Finished:
        self._open.discard(index)
        draft, order = self._drafts[index], self.order
        calls = last[0].tool_calls if last else ()
        told: Reason = REASONS.get(reason, "length")
        return Finished(
            index=index,
            reason="tool_calls" if calls and told == "stop" else told,
            text=self._texts[index],
            tokens=tuple(draft.tokens),
            written=tuple(draft.written),
            logprobs=tuple(draft.logprobs),
            prompt=order.tokens,
            prompt_tokens=len(order.tokens),
            completion_tokens=sum(draft.written),
            cut=order.cut,
            seed=self.seed,
            calls=calls if told == "stop" else (),
            messages=tuple(draft.added) or (Message("assistant", self._texts[index]),),
            cached_tokens=self._cached[index],
            seconds=self._spent[index],
        )

    def _echo(self, piece: Piece) -> Delta:
        """The prompt, repeated with what the model thought of each token."""
        scores, tokenizer = piece.prompt, self._engine.tokenizer
        assert scores is not None
        first = 1 if self.order.framed else 0
        tokens = scores.tokens[first:]
        logprobs: list[float | None] = [None, *scores.logprobs][first:]
        others = [(), *scores.alternatives] if scores.alternatives else [()] * len(scores.tokens)
        told = [
            score(tokenizer, token, logprob, alternatives)
            for token, logprob, alternatives in zip(tokens, logprobs, others[first:], strict=True)
        ]
        return delta_of(0, tokenizer.decode(tokens), told if self.order.scored else [], "echo")
