"""POST /v1/completions: texts continued. Programs that measure models ask here for the log-probabilities of whole texts."""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from plutao.serve import stored
from plutao.serve.answering import Answering, Services, find_model
from plutao.serve.api.asking import (
    DONE,
    PING,
    REFUSALS,
    STREAMED,
    EventStream,
    Gathered,
    Inference,
    Json,
    Serving,
    data,
    failure,
    gather,
    new_id,
    salt_of,
    sampling_of,
    token_text,
    usage_of,
)
from plutao.serve.api.chat import system_fingerprint
from plutao.serve.api.schemas.common import Provenance
from plutao.serve.api.schemas.completions import (
    CompletionChoice,
    CompletionLogprobs,
    CompletionRequest,
    TextCompletion,
)
from plutao.serve.backend.contract import Delta, Finished, Job, ModelCard
from plutao.serve.errors import ApiError, bad_request
from plutao.serve.identity import Caller

router = APIRouter(prefix="/v1/completions", tags=["completions"], responses=REFUSALS)
ENDPOINT = "completions"
MAX_TOKENS = 16
"""OpenAI's own number where none is given."""


@router.post("", response_model=TextCompletion, summary="Continue texts", responses=STREAMED)
async def create(ask: CompletionRequest, request: Request, caller: Inference, services: Serving) -> Response:
    """As OpenAI's. A text stands at the beginning of a document; token ids are taken as they are."""
    card = await find_model(services, caller, ask.model)
    jobs = jobs_of(ask, card, services, caller)
    answering = await Answering.begin(services, caller, card, jobs, ENDPOINT)
    continued = Continuation(ask, card, answering, stored.Keeper(request, caller, card, ENDPOINT, None))
    if ask.stream:
        return EventStream(answering, continued.chunks(services.settings.ping))
    return Json(await continued.whole(await gather(request, answering)), headers=answering.headers)


def jobs_of(ask: CompletionRequest, card: ModelCard, services: Services, caller: Caller) -> list[Job]:
    """One job a prompt.

    Raises:
        ApiError: a field that can't be answered.
    """
    if ask.suffix:
        raise bad_request("suffix is not supported: the models write forwards only.", "suffix", "unsupported_parameter")
    n, best_of = ask.n or 1, ask.best_of
    if best_of is not None and best_of < n:
        raise bad_request(f"best_of is {best_of}, less than n = {n}.", "best_of", "invalid_value")
    if best_of is not None and best_of > n and ask.stream:
        raise bad_request("best_of can't be streamed: the best is known at the end.", "best_of", "invalid_value")
    if ask.max_tokens == 0 and not ask.echo:
        raise bad_request(
            "max_tokens is 0: nothing would come back; that is only for echo.", "max_tokens", "invalid_value"
        )
    most = MAX_TOKENS if ask.max_tokens is None else max(ask.max_tokens, 1)
    sampling = sampling_of(ask, card, services, most, ask.logprobs or 0, best_of=best_of)
    return [
        Job(
            model=card.id,
            prompt=prompt if isinstance(prompt, str) else tuple(prompt),
            sampling=sampling,
            logprobs=ask.logprobs is not None,
            echo=bool(ask.echo),
            truncate=ask.truncation == "auto",
            deadline=services.settings.request_timeout,
            salt=salt_of(caller),
        )
        for prompt in read_prompts(ask.prompt, card, services)
    ]


def read_prompts(prompt: Any, card: ModelCard, services: Services, param: str = "prompt") -> list[str | list[int]]:
    """OpenAI's four forms of a prompt as a list of texts or of token ids."""
    prompts: list[str | list[int]] = [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else list(prompt)
    most = services.settings.max_prompts
    if len(prompts) > most:
        raise bad_request(
            f"{param} holds {len(prompts)} texts; this server reads at most {most} at once.", param, "invalid_value"
        )
    for tokens in prompts:
        if (
            not isinstance(tokens, str)
            and (strange := next((t for t in tokens if t >= card.vocabulary), None)) is not None
        ):
            raise bad_request(
                f"Token {strange} is not in the model's vocabulary of {card.vocabulary}.", param, "invalid_value"
            )
    return prompts


@dataclass
class Columns:
    """The log-probabilities of a choice as OpenAI's four lists; `length` is that of the text so far, in characters."""

    tokens: list[str] = field(default_factory=list)
    token_logprobs: list[float | None] = field(default_factory=list)
    top_logprobs: list[dict[str, float] | None] = field(default_factory=list)
    text_offset: list[int] = field(default_factory=list)
    length: int = 0

    def add(self, delta: Delta) -> None:
        """The tokens of a piece of text. The chosen one is always among its own alternatives."""
        place = self.length
        for piece, logprob, others in zip(delta.pieces, delta.logprobs, delta.alternatives, strict=True):
            shown = token_text(piece)
            self._append(shown, logprob, {token_text(other.bytes): other.logprob for other in others}, place)
            place += len(shown)
        self.length += len(delta.text)

    def add_end(self, name: str, logprob: float) -> None:
        """The token that ended the text and is not part of it: programs that measure count on one token a step."""
        self._append(name, logprob, {}, self.length)

    def _append(self, shown: str, logprob: float | None, others: dict[str, float], place: int) -> None:
        self.tokens.append(shown)
        self.token_logprobs.append(logprob)
        self.top_logprobs.append(None if logprob is None else {**others, shown: logprob})
        self.text_offset.append(place)

    def told(self) -> CompletionLogprobs:
        return CompletionLogprobs(
            tokens=self.tokens,
            token_logprobs=self.token_logprobs,
            top_logprobs=self.top_logprobs,
            text_offset=self.text_offset,
        )


class Continuation:
    """One request's texts in OpenAI's form."""

    def __init__(self, ask: CompletionRequest, card: ModelCard, answering: Answering, keeper: stored.Keeper) -> None:
        self.ask, self.card, self.answering, self.keeper = ask, card, answering, keeper
        self.id, self.created, self.n = new_id("cmpl-"), int(time.time()), ask.n or 1

    async def whole(self, jobs: Sequence[Sequence[Gathered]]) -> TextCompletion:
        """All texts, those of the first prompt first; kept where there is consent."""
        answers = [answer for job in jobs for answer in job]
        ended = [answer.end for answer in answers]
        completion = TextCompletion(
            id=self.id,
            created=self.created,
            model=self.ask.model,
            choices=[self._choice(place, answer) for place, answer in enumerate(answers)],
            usage=usage_of(self.answering, ended),
            system_fingerprint=system_fingerprint(self.card),
            plutao=[self._provenance(end) for end in ended],
        )
        await self.keeper.keep(self.id, self.ask, ended, completion)
        return completion

    def _choice(self, index: int, answer: Gathered) -> CompletionChoice:
        end, columns = answer.end, Columns()
        shown = [
            delta
            for delta in answer.deltas
            if delta.kind == "echo" or (delta.kind == "text" and self.ask.max_tokens != 0)
        ]
        for delta in shown:
            columns.add(delta)
        if self._ended_by_token(answer) and self.ask.max_tokens != 0:
            columns.add_end("<|endoftext|>", end.logprobs[-1])
        return CompletionChoice(
            index=index,
            text="".join(delta.text for delta in shown),
            finish_reason=reason(end),
            logprobs=columns.told() if self.ask.logprobs is not None else None,
        )

    def _ended_by_token(self, answer: Gathered) -> bool:
        """Whether the last token drawn is one that ends texts; those of a stop text are not told either way."""
        told = sum(len(delta.tokens) for delta in answer.deltas if delta.kind == "text")
        return answer.end.reason == "stop" and answer.end.completion_tokens == told + 1 and bool(answer.end.logprobs)

    def _provenance(self, end: Finished) -> Provenance:
        name = self.id if self.keeper.keeps else None
        return Provenance(fingerprint=self.card.fingerprint, seed=end.seed, cut=end.cut, answer=name)

    # The same as a stream

    async def chunks(self, ping: float) -> AsyncIterator[bytes]:
        """Pieces of text with the index of their choice; then each one's reason, the usage, [DONE]."""
        jobs = [[Gathered() for _ in range(self.n)] for _ in self.answering.jobs]
        columns: dict[int, Columns] = {}
        try:
            async for item in self.answering.events(ping):
                if item is None:
                    yield PING
                    continue
                place, event = item
                choice = place * self.n + event.index
                if isinstance(event, Finished):
                    jobs[place][event.index].finished = event
                    yield data(self._frame([self._piece(choice, "", None, reason(event))]))
                elif event.kind == "echo" or (event.kind == "text" and self.ask.max_tokens != 0):
                    so_far = columns.setdefault(choice, Columns())
                    part = Columns(length=so_far.length)
                    part.add(event)
                    so_far.length = part.length
                    yield data(self._frame([self._piece(choice, event.text, part, None)]))
            whole = await self.whole(jobs)
        except ApiError as error:
            yield failure(error)
            return
        if self._with_usage:
            yield data(self._frame([]) | {"usage": whole.usage.model_dump()})
        yield DONE

    @property
    def _with_usage(self) -> bool:
        return bool(self.ask.stream_options and self.ask.stream_options.include_usage)

    def _piece(self, index: int, text: str, part: Columns | None, why: str | None) -> dict[str, Any]:
        logprobs = part.told().model_dump() if part is not None and self.ask.logprobs is not None else None
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": why}

    def _frame(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.ask.model,
            "system_fingerprint": system_fingerprint(self.card),
            "choices": choices,
        } | ({"usage": None} if self._with_usage else {})


def reason(end: Finished) -> Any:
    """`length` also where the time was up: the text is not at its end."""
    return "stop" if end.reason == "stop" else "length"
