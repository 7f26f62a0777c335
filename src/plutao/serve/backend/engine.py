"""Our own engine as a backend: what is asked is read here, the texts are written in the engine's process."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from plutao.errors import UserError
from plutao.generate.serving import PREFIX_MEMORY
from plutao.serve.backend.catalogue import CURRENT, Catalogue
from plutao.serve.backend.contract import (
    Busy,
    Delta,
    Embedded,
    EngineFailed,
    Finished,
    Job,
    Load,
    ModelCard,
    Prompt,
    Refused,
    Replay,
    Started,
    settings_of,
)
from plutao.serve.backend.process import EngineProcess
from plutao.serve.backend.reader import Order, Reader
from plutao.serve.backend.worker import WorkerSettings

FRESH = 2.0
"""Seconds after which the project's folders are looked at again."""
LONG = 20_000
"""Characters from which a text is tokenized in a thread, so that nobody waits for it."""


class EngineBackend:
    """Implements `contract.Backend` with the models of a project."""

    def __init__(
        self,
        root: Path,
        slots: int = 16,
        queue: int = 64,
        models_loaded: int = 2,
        precision: str = "fp32",
        threads: int | None = None,
        prefix_memory: int = PREFIX_MEMORY,
    ) -> None:
        """
        Args:
            root: a project's folder, or a model's.
            slots: answers that one model writes at the same time.
            queue: answers that may wait for each model beyond those.
            models_loaded: models in memory at once; the one unused for longest leaves.
            precision: "fp32" or "bf16".
            threads: of the engine's process; None: as many as there are cores.
            prefix_memory: bytes of each model that beginnings which were read before may take.
        """
        self._catalogue, self.slots, self.queue, self.precision = Catalogue(root), slots, queue, precision
        self._process = EngineProcess(WorkerSettings(slots, models_loaded, precision, threads, prefix_memory))
        self._readers: dict[str, Reader] = {}
        self._reading = asyncio.Lock()
        self._listed: tuple[float, list[ModelCard]] = (-FRESH, [])
        self._under_way: Counter[str] = Counter()  # answers asked for and not ended, by model
        self._seconds_each = 1.0  # how long an answer took lately
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Of the engine's process, while there is one."""
        return self._process.pid

    async def start(self) -> None:
        """Starts the process, which begins to load the project's current model; nobody waits for it."""
        for card in await self.models():
            if CURRENT in card.aliases and card.folder is not None:
                self._process.prepare(f"{card.id}@{card.fingerprint}", card.folder)

    async def stop(self, grace: float) -> None:
        self._stopping = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace)
        await self._process.stop()

    # -----------------------------------------------------------------------------------------------------------------
    # Models

    async def models(self) -> list[ModelCard]:
        looked, cards = self._listed
        if time.monotonic() - looked > FRESH:
            cards = await asyncio.to_thread(self._catalogue.cards)
            self._listed = (time.monotonic(), cards)
        return cards

    async def model(self, name: str) -> ModelCard:
        for card in await self.models():
            if name == card.id or name in card.aliases:
                return card
        if name == CURRENT:
            raise Refused("There is no trained model yet.", "model_not_found", "model")
        raise Refused(f"There is no model {name!r}.", "model_not_found", "model")

    async def _reader(self, name: str) -> Reader:
        """Reads for the model as it is now; one for each set of weights."""
        card = await self.model(name)
        async with self._reading:
            reader = self._readers.get(card.id)
            if reader is None or reader.card.fingerprint != card.fingerprint:
                try:
                    reader = await asyncio.to_thread(Reader, card)
                except UserError as error:
                    raise EngineFailed(str(error)) from error
                self._readers[card.id] = reader
        return reader

    # -----------------------------------------------------------------------------------------------------------------
    # Answers

    async def run(self, job: Job) -> AsyncGenerator[Started | Delta | Finished, None]:
        if self._stopping:
            raise Busy(5.0)
        reader = await self._reader(job.model)
        order = await self._order(reader, job)
        name, count = reader.card.id, job.sampling.drawn
        if self._under_way[name] >= self.slots + self.queue:
            raise Busy(self._wait(name))
        self._under_way[name] += count
        self._idle.clear()
        begun, left = time.monotonic(), job.sampling.n

        def is_last(event: Any) -> bool:
            nonlocal left
            left -= isinstance(event, Finished)
            return left == 0

        try:
            async with aclosing(self._ask("run", reader, order, is_last)) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        yield replace(event, replay=self._replay(reader, order, event))
                    else:
                        yield event
            self._seconds_each += 0.2 * (time.monotonic() - begun - self._seconds_each)
        finally:
            self._under_way[name] -= count
            if not any(self._under_way.values()):
                self._idle.set()

    async def count(self, job: Job) -> Started:
        return (await self._order(await self._reader(job.model), job)).started

    async def embed(self, model: str, inputs: Sequence[str | Sequence[int]]) -> Embedded:
        reader = await self._reader(model)
        rows = await asyncio.to_thread(lambda: [reader.fit_input(each) for each in inputs])
        async with aclosing(self._ask("embed", reader, rows, lambda _: True)) as replies:
            async for vectors in replies:
                return Embedded(vectors, sum(map(len, rows)))
        raise EngineFailed("The engine ended without an embedding.")

    async def tokenize(self, model: str, prompt: Prompt) -> list[int]:
        """A text's own tokens; a conversation with all that frames it, as a model reads it before it answers."""
        reader = await self._reader(model)
        if isinstance(prompt, str):
            return await asyncio.to_thread(reader.tokenizer.encode, prompt)
        return reader.tokens(prompt)

    async def detokenize(self, model: str, tokens: Sequence[int]) -> str:
        reader = await self._reader(model)
        known = reader.tokenizer.vocabulary_size
        if strange := [token for token in tokens if not 0 <= token < known]:
            raise Refused(f"Token {strange[0]} is not in the vocabulary of {known}.", param="tokens")
        return reader.tokenizer.decode(tokens)

    async def tokenizer_info(self, model: str) -> dict[str, Any]:
        tokenizer = (await self._reader(model)).tokenizer
        described = {"vocabulary_size": tokenizer.vocabulary_size, "kind": tokenizer.kind}
        return {**tokenizer.settings, **described, "end_of_text": tokenizer.end_of_text}

    def load(self) -> Load:
        status = self._process.status
        return Load(
            running=status.running,
            waiting=max(sum(self._under_way.values()) - status.running, status.waiting, 0),
            slots=self.slots,
            queue=self.queue,
            tokens_per_second=self._process.tokens_per_second,
            models=tuple(name.partition("@")[0] for name in status.models),
            prefix_tokens=status.prefix_tokens,
            prefix_hits=status.prefix_hits,
            prompt_tokens=status.prompt_tokens,
            completion_tokens=status.completion_tokens,
            restarts=self._process.restarts,
        )

    # -----------------------------------------------------------------------------------------------------------------

    async def _order(self, reader: Reader, job: Job) -> Order:
        """What the engine's process gets to do. Short texts are read at once: a thread would take longer."""
        if size_of(job.prompt) > LONG:
            return await asyncio.to_thread(reader.read, job)
        return reader.read(job)

    def _ask(self, verb: str, reader: Reader, what: Any, is_last: Any) -> AsyncGenerator[Any, None]:
        card = reader.card
        assert card.folder is not None
        return self._process.ask(verb, f"{card.id}@{card.fingerprint}", card.folder, what, is_last)

    def _wait(self, name: str) -> float:
        """Seconds until there may be room: as long as the queue's first answers take."""
        rounds = 1 + max(self._under_way[name] - self.slots, 0) / self.slots / 4
        return min(max(self._seconds_each * rounds, 1.0), 60.0)

    def _replay(self, reader: Reader, order: Order, finished: Finished) -> Replay:
        return Replay(
            model=reader.card.id,
            fingerprint=reader.card.fingerprint,
            template=reader.template,
            precision=self.precision,
            compiled=self._process.status.compiled,
            sampling=settings_of(order.sampling, finished.seed),
            index=finished.index,
            prompt=order.tokens,
            tokens=finished.tokens,
            written=finished.written,
            logprobs=finished.logprobs,
        )


def size_of(prompt: Prompt) -> int:
    if isinstance(prompt, str):
        return len(prompt)
    return sum(1 if isinstance(part, int) else len(part.content) for part in prompt)
