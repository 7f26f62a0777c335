"""The engine's process as the service sees it: started when first needed, and again after it died."""

import asyncio
import logging
import multiprocessing
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from plutao.serve.backend import worker
from plutao.serve.backend.contract import EngineFailed
from plutao.serve.backend.worker import Status, WorkerSettings

log = logging.getLogger("plutao.serve.engine")
WINDOW = 5.0
"""Seconds over which the speed is measured."""
PATIENCE = 5.0
"""Seconds that a process gets to end by itself."""


class EngineProcess:
    """Sends orders and hands out what comes back. To be used from one event loop."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._mailboxes: dict[int, asyncio.Queue[Any]] = {}
        self._next = 0
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._speeds: deque[tuple[float, int]] = deque()
        self.status = Status()
        self.restarts = 0
        self._ending = False

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def ask(
        self, verb: str, name: str, folder: Path, what: Any, is_last: Callable[[Any], bool]
    ) -> AsyncGenerator[Any, None]:
        """All that comes back for one order, up to the last of it; closing the generator before aborts the order.

        Raises:
            EngineFailed: the process died, or the model failed.
        """
        self._ready()
        self._next += 1
        number = self._next
        mailbox: asyncio.Queue[Any] = asyncio.Queue()
        self._mailboxes[number] = mailbox
        self._outbox.put((verb, number, name, folder, what))
        try:
            while True:
                event = await mailbox.get()
                if isinstance(event, Exception):
                    self._mailboxes.pop(number, None)
                    raise event
                if is_last(event):
                    self._mailboxes.pop(number, None)
                yield event
                if number not in self._mailboxes and mailbox.empty():
                    return
        finally:
            if self._mailboxes.pop(number, None) is not None:
                self._outbox.put(("abort", number))

    def prepare(self, name: str, folder: Path) -> None:
        """Begins to load a model that will be asked for."""
        self._ready()
        self._outbox.put(("load", 0, name, folder, None))

    @property
    def tokens_per_second(self) -> float:
        """Tokens written, over the last seconds."""
        now = time.monotonic()
        while self._speeds and self._speeds[0][0] < now - WINDOW:
            self._speeds.popleft()
        if len(self._speeds) < 2:
            return 0.0
        (begun, first), (_, last) = self._speeds[0], self._speeds[-1]
        return (last - first) / max(now - begun, 0.1)

    async def stop(self) -> None:
        """Ends the process; orders under way fail."""
        self._ending = True
        process, connection = self._process, self._connection
        if process is None or connection is None:
            return
        self._outbox.put(None)
        await asyncio.to_thread(process.join, PATIENCE)
        if process.is_alive():
            process.kill()
            await asyncio.to_thread(process.join, PATIENCE)
        connection.close()
        self._process = self._connection = None

    # -----------------------------------------------------------------------------------------------------------------
    # The process

    def _ready(self) -> None:
        if self._ending:
            raise EngineFailed("The service is being stopped.")
        if self._process is None:
            self._start(asyncio.get_running_loop())

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=worker.main, args=(theirs, self._settings), name="plutao-engine", daemon=True)
        process.start()
        theirs.close()  # so that the pipe ends when the process does
        self._process, self._connection, self._outbox = process, ours, queue.SimpleQueue()
        threading.Thread(target=speak, args=(ours, self._outbox), daemon=True).start()
        threading.Thread(target=self._listen, args=(loop, process, ours), daemon=True).start()

    def _listen(self, loop: asyncio.AbstractEventLoop, process: SpawnProcess, connection: Connection) -> None:
        """In a thread: brings what comes to the event loop, the end of the process last."""
        try:
            while True:
                replies, status = connection.recv()
                loop.call_soon_threadsafe(self._deliver, replies, status)
        except (EOFError, OSError, RuntimeError):
            process.join(PATIENCE)
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._died, process)

    def _deliver(self, replies: list[tuple[int, Any]], status: Status) -> None:
        self.status = status
        self._speeds.append((time.monotonic(), status.completion_tokens))
        for number, event in replies:
            mailbox = self._mailboxes.get(number)
            if mailbox is not None:
                mailbox.put_nowait(event)

    def _died(self, process: SpawnProcess) -> None:
        """Orders under way fail; the next one starts a new process."""
        if self._process is process:
            self._process = self._connection = None
            self.status = Status()
            self._speeds.clear()
        waiting, self._mailboxes = self._mailboxes, {}
        if self._ending:
            told = EngineFailed("The service was stopped before the answer ended.")
        else:
            self.restarts += 1
            told = EngineFailed(f"The engine's process died (exit code {process.exitcode}); ask again.")
            log.error("the engine's process died with exit code %s; the next request starts it anew", process.exitcode)
        for mailbox in waiting.values():
            mailbox.put_nowait(told)


def speak(connection: Connection, outbox: "queue.SimpleQueue[Any]") -> None:
    """In a thread: sends what is put into the box, in order, until None or the process's end."""
    while True:
        message = outbox.get()
        try:
            connection.send(message)
        except (OSError, ValueError):
            return  # whoever listens notices that the process is dead
        if message is None:
            return
