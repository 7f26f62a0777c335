"""What the chat's scripts send, checked; and the jobs that it becomes."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from plutao.generate.sampling import Sampling
from plutao.serve.api.common import Asked, Short, storable
from plutao.serve.backend.contract import Job, ModelCard, Prompt
from plutao.serve.settings import ServeSettings

ALTERNATIVES = 12
"""Tokens that the lens shows beside the one that was written."""

Text = Annotated[str, StringConstraints(max_length=2 * 2**20)]
Prompted = Annotated[str, StringConstraints(max_length=20_000), AfterValidator(storable)]


class SamplingAsked(Asked):
    """How the next answer is drawn."""

    temperature: float = Field(0.7, ge=0, le=5)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, le=100_000)
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, ge=0.5, le=2)
    max_tokens: int = Field(400, ge=1, le=100_000)
    seed: int | None = Field(None, ge=0, le=2**53)


class Settings(Asked):
    """What a conversation's drawer changes; what is left out stays."""

    title: Short | None = None
    pinned: bool | None = None
    consent: bool | None = None
    model: Short | None = None
    system: Prompted | None = None
    sampling: SamplingAsked | None = None


class NewTurn(Asked):
    """`models`: several are asked side by side; none named: the conversation's own."""

    text: Text
    parent: int | None = None
    models: list[Short] = Field(default_factory=list, max_length=4)


class Show(Asked):
    message: int


class GoOn(Asked):
    """Another token at a place of an answer, from which it is written anew."""

    place: int = Field(ge=0, le=10**6)
    token: int = Field(ge=0, le=2**31)


class Judged(Asked):
    """`good`: None takes a thumb back."""

    good: bool | None
    reason: Short | None = None
    comment: Annotated[str, StringConstraints(max_length=4000)] = ""


class Compared(Asked):
    verdict: Literal["better", "worse", "same"]


class Corrected(Asked):
    text: Annotated[str, StringConstraints(max_length=200_000)]


class OwnText(Asked):
    text: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    model: Short = "current"


def job_of(settings: ServeSettings, card: ModelCard, prompt: Prompt, asked: dict[str, Any]) -> Job:
    """An answer in the chat: with all that the lens needs, tools run beside the model, old turns cut where it is too long."""
    wished = SamplingAsked.model_validate(asked or {})
    return Job(
        model=card.id,
        prompt=prompt,
        sampling=Sampling(
            temperature=wished.temperature,
            top_p=wished.top_p,
            top_k=wished.top_k,
            min_p=wished.min_p,
            repetition_penalty=wished.repetition_penalty,
            max_tokens=min(wished.max_tokens, card.context),
            seed=wished.seed,
            logprobs=min(ALTERNATIVES, card.vocabulary),
        ),
        logprobs=True,
        run_tools=True,
        truncate=True,
        deadline=settings.request_timeout,
    )


def job_going_on(settings: ServeSettings, card: ModelCard, tokens: list[int], asked: dict[str, Any]) -> Job:
    """An answer that goes on from tokens; a model that never learned to talk ends with the line, as its answers do."""
    job = job_of(settings, card, tuple(tokens), asked)
    stop = () if card.chats else ("\n",)
    return replace(job, run_tools=False, truncate=False, sampling=replace(job.sampling, stop=stop))
