"""The engine's process: holds the loaded models, writes all their texts in turn, and tells the service what came of it.

It knows no accounts and opens no ports: what it gets are orders (token ids and settings) through a pipe, what it sends are
their events, all of one step together. When the service is gone it ends by itself.
"""

import os
import signal
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plutao.errors import UserError
from plutao.serve.backend.contract import EngineFailed, Refused

if TYPE_CHECKING:
    from plutao.generate.serving import ServingEngine
    from plutao.serve.backend.reader import Order
    from plutao.serve.backend.writing import Writing


@dataclass(frozen=True)
class WorkerSettings:
    """How models are loaded."""

    slots: int
    models_loaded: int
    precision: str
    threads: int | None
    prefix_memory: int


@dataclass(frozen=True)
class Status:
    """Where the process stands, sent with every batch of events."""

    running: int = 0
    waiting: int = 0
    prefix_tokens: int = 0
    prefix_hits: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    compiled: bool = False
    models: tuple[str, ...] = ()


Reply = tuple[int, Any]
"""(number of the job, event or exception). A model's name here is its id with its weights' fingerprint."""


def main(connection: Connection, settings: WorkerSettings) -> None:
    """Runs until the service says so or is gone."""
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # before torch is imported: threads that wait leave the cores alone
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the service says when to end
    import torch

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    try:
        Worker(connection, settings).run()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(0)


class Loaded:
    """A model in memory, and the jobs that it works on."""

    def __init__(self, name: str, engine: "ServingEngine") -> None:
        self.name, self.engine = name, engine
        self.jobs: dict[int, Writing] = {}
        self._jobs_of: dict[int, int] = {}
        self.embeddings: deque[tuple[int, list[list[int]], list[tuple[float, ...]]]] = deque()

    @property
    def busy(self) -> bool:
        return bool(self.jobs or self.embeddings)

    def begin(self, number: int, order: "Order") -> None:
        """Raises UserError where the engine can't do it."""
        from plutao.serve.backend.writing import Writing

        writing = Writing(self.engine, order)
        self.jobs[number] = writing
        self._follow(number, writing)

    def step(self) -> list[Reply]:
        """One more token for every text, or one more embedding."""
        replies: list[Reply] = []
        if self.embeddings:
            replies += self._embed()
        if self.engine.busy:
            for piece in self.engine.step():
                number = self._jobs_of.get(piece.request)
                if number is not None:
                    writing = self.jobs[number]
                    replies += [(number, event) for event in writing.take(piece)]
                    self._follow(number, writing)
                    self._settle(number)
        for number, writing in list(self.jobs.items()):
            if writing.ends_at is not None and time.monotonic() > writing.ends_at:
                replies += [(number, event) for event in writing.stop()]
                self._settle(number)
        return replies

    def abort(self, number: int) -> None:
        if number in self.jobs:
            self.jobs[number].leave()
            self._settle(number)
        self.embeddings = deque(item for item in self.embeddings if item[0] != number)

    def _follow(self, number: int, writing: "Writing") -> None:
        for request in writing.requests:
            self._jobs_of.setdefault(request, number)

    def _settle(self, number: int) -> None:
        if self.jobs[number].done:
            for request in self.jobs.pop(number).requests:
                self._jobs_of.pop(request, None)

    def _embed(self) -> list[Reply]:
        """One input more, so that nobody's tokens wait for a batch of them."""
        from plutao.serve.backend.embedding import embed

        number, inputs, done = self.embeddings[0]
        done.append(embed(self.engine.model, inputs[len(done)]))
        if len(done) < len(inputs):
            return []
        self.embeddings.popleft()
        return [(number, tuple(done))]


class Worker:
    """The process's loop."""

    def __init__(self, connection: Connection, settings: WorkerSettings) -> None:
        self._connection, self._settings = connection, settings
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()  # the one unused for longest first
        self._pending: OrderedDict[str, list[Callable[[Loaded], list[Reply]]]] = OrderedDict()
        self._numbers: dict[str, list[int]] = {}  # of the jobs in `_pending`
        self._folders: dict[str, Path] = {}
        self._loading: tuple[str, threading.Thread] | None = None
        self._arrived: deque[tuple[str, ServingEngine | Exception]] = deque()
        self._wake, self._woken = os.pipe()
        self._gone = [0, 0, 0]  # counts of models that have left

    def run(self) -> None:
        while True:
            replies: list[Reply] = []
            self._rest()
            while self._connection.poll(0):
                message = self._connection.recv()
                if message is None:
                    return
                replies += self._obey(message)
            replies += self._take_arrivals()
            for loaded in list(self._loaded.values()):
                if loaded.busy:
                    self._loaded.move_to_end(loaded.name)
                    replies += self._step(loaded)
            self._load_next()
            if replies:
                self._connection.send((replies, self._status()))

    def _rest(self) -> None:
        """Where there is nothing to do, waits for a message or for a model to be loaded."""
        if any(loaded.busy for loaded in self._loaded.values()) or self._arrived:
            return
        if self._wake in wait([self._connection, self._wake]):
            os.read(self._wake, 1024)

    def _step(self, loaded: Loaded) -> list[Reply]:
        """A step that fails ends the jobs of that model, and nothing else."""
        try:
            return loaded.step()
        except Exception as error:
            failed = [*loaded.jobs, *(number for number, _, _ in loaded.embeddings)]
            self._forget(loaded.name)
            told = EngineFailed(f"{loaded.name} failed while it answered ({type(error).__name__}: {error}).")
            return [(number, told) for number in failed]

    # -----------------------------------------------------------------------------------------------------------------
    # Messages

    def _obey(self, message: tuple[Any, ...]) -> list[Reply]:
        """("run" | "embed" | "load", number, name, folder, what) or ("abort", number)."""
        verb, number, *rest = message
        if verb == "abort":
            for loaded in self._loaded.values():
                loaded.abort(number)
            for name, numbers in self._numbers.items():
                if number in numbers:
                    place = numbers.index(number)
                    del numbers[place], self._pending[name][place]
            return []
        name, folder, what = rest

        def work(loaded: Loaded) -> list[Reply]:
            try:
                if verb == "run":
                    loaded.begin(number, what)
                    return [(number, what.started)]
                if verb == "embed":
                    loaded.embeddings.append((number, what, []))
            except UserError as error:
                return [(number, Refused(str(error)))]
            return []

        if name in self._loaded and self._leaving() != name:
            self._loaded.move_to_end(name)
            return work(self._loaded[name])
        self._folders[name] = folder
        self._pending.setdefault(name, []).append(work)
        self._numbers.setdefault(name, []).append(number)
        return []

    # -----------------------------------------------------------------------------------------------------------------
    # Loading

    def _leaving(self) -> str | None:
        """The model that must leave before the one that waits can come: the one unused for longest."""
        if not self._pending or len(self._loaded) < self._settings.models_loaded:
            return None
        return next(iter(self._loaded))

    def _load_next(self) -> None:
        """Begins to load the model that was asked for first, when there is room."""
        if self._loading is not None or not self._pending:
            return
        leaving = self._leaving()
        if leaving is not None:
            if self._loaded[leaving].busy:
                return
            self._forget(leaving)
        name = next(iter(self._pending))
        thread = threading.Thread(target=self._load, args=(name, self._folders[name]), daemon=True)
        self._loading = (name, thread)
        thread.start()

    def _load(self, name: str, folder: Path) -> None:
        import torch

        from plutao.generate.serving import load_serving_engine

        dtype = torch.bfloat16 if self._settings.precision == "bf16" else torch.float32
        try:
            engine = load_serving_engine(folder, self._settings.slots, dtype, self._settings.prefix_memory)
            self._arrived.append((name, engine))
        except Exception as error:
            self._arrived.append((name, error))
        os.write(self._woken, b"x")

    def _take_arrivals(self) -> list[Reply]:
        """Models that were loaded take up the jobs that waited for them."""
        replies: list[Reply] = []
        while self._arrived:
            name, engine = self._arrived.popleft()
            self._loading = None
            works, numbers = self._pending.pop(name, []), self._numbers.pop(name, [])
            if isinstance(engine, Exception):
                told = EngineFailed(f"{name} could not be loaded: {engine}")
                replies += [(number, told) for number in numbers]
                continue
            self._loaded[name] = Loaded(name, engine)
            for work in works:
                replies += work(self._loaded[name])
        return replies

    def _forget(self, name: str) -> None:
        engine = self._loaded.pop(name).engine
        counts = (engine.reused_tokens, engine.prompt_tokens, engine.written_tokens)
        self._gone = [old + new for old, new in zip(self._gone, counts, strict=True)]

    def _status(self) -> Status:
        engines = [loaded.engine for loaded in self._loaded.values()]
        waiting = sum(len(works) for works in self._pending.values())
        return Status(
            running=sum(engine.running for engine in engines),
            waiting=waiting + sum(engine.waiting for engine in engines),
            prefix_tokens=sum(engine.prefixes.tokens for engine in engines),
            prefix_hits=self._gone[0] + sum(engine.reused_tokens for engine in engines),
            prompt_tokens=self._gone[1] + sum(engine.prompt_tokens for engine in engines),
            completion_tokens=self._gone[2] + sum(engine.written_tokens for engine in engines),
            compiled=all(engine.compiled for engine in engines),
            models=tuple(self._loaded),
        )
