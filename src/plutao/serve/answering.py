"""Jobs from their first to their last token: paid for, counted, and ended when nobody listens any more.

A request's jobs run in a task of their own, apart from the connection that asked: however the connection ends, the task
tells the engine to stop, settles the bill for what was written, and is done.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Literal, cast

from plutao.errors import UserError
from plutao.serve.backend.contract import (
    Backend,
    Busy,
    Delta,
    EngineFailed,
    Finished,
    Job,
    ModelCard,
    Refused,
    Started,
)
from plutao.serve.errors import ApiError, bad_request, not_found, overloaded, server_error
from plutao.serve.identity import Caller
from plutao.serve.metering import Meter
from plutao.serve.metrics import Metrics
from plutao.serve.settings import ServeSettings

log = logging.getLogger("plutao.serve")
Event = Delta | Finished
Events = AsyncGenerator[Started | Delta | Finished, None]


@dataclass(frozen=True)
class Services:
    """What endpoints work with; one for an application."""

    settings: ServeSettings
    backend: Backend
    meter: Meter
    metrics: Metrics


async def find_model(services: Services, caller: Caller, name: str) -> ModelCard:
    """The model that a caller means.

    Raises:
        ApiError: 404, there is no such model or the caller's key is not for it; the two look alike from outside.
    """
    missing = not_found(f"The model {name!r} does not exist, or your key is not for it.", "model", "model_not_found")
    try:
        card = await services.backend.model(name)
    except (Refused, EngineFailed) as error:
        raise (missing if isinstance(error, Refused) else in_our_words(error)) from error
    if not (caller.may_use(card.id) or any(caller.may_use(alias) for alias in card.aliases)):
        raise missing
    return card


class Answering:
    """The answers to one request, from all its jobs; to be closed in any case."""

    def __init__(self, services: Services, caller: Caller, card: ModelCard, jobs: Sequence[Job], endpoint: str) -> None:
        """Use `begin`."""
        self._services, self._caller, self._card, self.jobs = services, caller, card, list(jobs)
        self._endpoint = endpoint
        self.headers: dict[str, str] = {}
        """How much the key has left in this minute."""
        self.counted: list[Started] = []
        """What each job's prompt holds."""
        self._texts: dict[tuple[int, int], list[str]] = {}
        self._written: dict[tuple[int, int], int] = {}
        self._came: deque[tuple[int, Event] | ApiError | Literal["end"]] = deque()
        self._news = asyncio.Event()
        self._accepted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def begin(
        cls, services: Services, caller: Caller, card: ModelCard, jobs: Sequence[Job], endpoint: str
    ) -> "Answering":
        """Starts the jobs, once there is money and room for them.

        Raises:
            ApiError: they are refused: too long, too much, or the queue is full.
        """
        new = cls(services, caller, card, jobs, endpoint)
        try:
            new.counted = [await services.backend.count(job) for job in jobs]
        except Exception as error:
            raise in_our_words(error) from error
        new._task = asyncio.create_task(new._run())
        try:
            await new._accepted.wait()
        except BaseException:
            await new.close()
            raise
        if new._came and isinstance(refusal := new._came[0], ApiError):
            raise refusal
        return new

    @property
    def prompt_tokens(self) -> int:
        """Of all jobs together; each prompt is read once, however many answers it gets."""
        return sum(started.prompt_tokens for started in self.counted)

    async def events(self, ping: float | None = None) -> AsyncIterator[tuple[int, Event] | None]:
        """(place of the job, what came of it), and None whenever nothing came for `ping` seconds.

        Raises:
            ApiError: something went wrong on the way.
        """
        while True:
            while self._came:
                item = self._came.popleft()
                if item == "end":
                    return
                if isinstance(item, ApiError):
                    raise item
                yield item
            self._news.clear()
            try:
                async with asyncio.timeout(ping):
                    await self._news.wait()
            except TimeoutError:
                yield None

    async def close(self) -> None:
        """Ends what is still written, and waits until the bill is settled."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.shield(self._task)

    # -----------------------------------------------------------------------------------------------------------------
    # In the task

    async def _run(self) -> None:
        try:
            meter = self._services.meter(
                self._caller, self._card.id, self.prompt_tokens, self._worst_case(), self._endpoint
            )
            async with meter as bill:
                self.headers = bill.headers
                try:
                    await self._all_jobs()
                finally:
                    if self._texts or self._written:  # who left before anything came, or was refused, pays nothing
                        bill.settle(self.prompt_tokens, await self._count_written())
            self._tell("end")
        except Exception as error:
            self._tell(in_our_words(error))
        finally:
            self._accepted.set()

    def _worst_case(self) -> int:
        """Tokens that the answers can have: as many as were asked for, and never more than the context holds."""
        return sum(
            min(job.sampling.max_tokens, max(self._card.context - started.prompt_tokens + 1, 1)) * job.sampling.drawn
            for job, started in zip(self.jobs, self.counted, strict=True)
        )

    async def _all_jobs(self) -> None:
        """A batch's jobs go to the engine as many at a time as it has slots: one request does not fill the queue."""
        gate = asyncio.Semaphore(self._services.settings.slots)
        self._services.metrics.tokens.labels(self._card.id, "prompt").inc(self.prompt_tokens)
        try:
            async with asyncio.TaskGroup() as group:
                for place, job in enumerate(self.jobs):
                    group.create_task(self._one_job(place, job, gate))
        except ExceptionGroup as several:
            raise several.exceptions[0] from several

    async def _one_job(self, place: int, job: Job, gate: asyncio.Semaphore) -> None:
        metrics, name = self._services.metrics, self._card.id
        async with gate:
            begun, first = time.perf_counter(), True
            async with aclosing(cast(Events, self._services.backend.run(job))) as events:
                async for event in events:
                    if isinstance(event, Started):
                        self._accepted.set()
                        continue
                    if first:
                        metrics.first_token.labels(name).observe(time.perf_counter() - begun)
                        first = False
                    if isinstance(event, Delta):
                        if event.kind != "echo":
                            self._texts.setdefault((place, event.index), []).append(event.text)
                    else:
                        self._written[place, event.index] = event.completion_tokens
                        metrics.answers.labels(name, event.reason).inc()
                        metrics.tokens.labels(name, "completion").inc(event.completion_tokens)
                    self._tell((place, event))

    async def _count_written(self) -> int:
        """Tokens to pay for: of ended answers the engine's own count, of those cut off in their middle their text's."""
        cut_off = ["".join(texts) for answer, texts in self._texts.items() if answer not in self._written]
        count = sum(self._written.values())
        for text in filter(None, cut_off):
            try:
                count += len(await self._services.backend.tokenize(self._card.id, text))
            except (Refused, EngineFailed):
                count += len(text.split())
        return count

    def _tell(self, item: "tuple[int, Event] | ApiError | Literal['end']") -> None:
        self._came.append(item)
        self._news.set()


def in_our_words(error: Exception) -> ApiError:
    """What the caller is told of an error that a backend, the bill or we ourselves raised."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Busy):
        return overloaded(error.retry_after)
    if isinstance(error, Refused):
        if error.code == "model_not_found":
            return not_found(error.message, error.param or "model", error.code)
        return bad_request(error.message, error.param, error.code)
    if isinstance(error, UserError):
        return bad_request(str(error))
    if isinstance(error, EngineFailed):
        log.error("the engine failed: %s", error)
        return server_error("The engine failed while it answered; try again.")
    log.error("an answer failed", exc_info=error)
    return server_error()
