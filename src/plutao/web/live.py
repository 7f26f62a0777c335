"""Answers while they are written. Each lives on the server: it goes on and is stored whoever looks, or nobody.

A page that looks tells the last event it has seen and gets what changed since: an event is no piece of text but a
version of the answer, in rendered blocks, so that what was missed is never more than the blocks that differ.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool

from plutao.serve import chats
from plutao.serve.answering import Answering, Services, in_our_words
from plutao.serve.backend.contract import Delta, Finished, Job, ModelCard
from plutao.serve.database import Database
from plutao.serve.errors import ApiError
from plutao.serve.identity import Caller
from plutao.serve.stored import plain
from plutao.serve.tables.chats import ChatMessage
from plutao.web import markdown, words

log = logging.getLogger("plutao.web")
ENDPOINT = "web.chat"
BETWEEN = 0.07
"""Seconds at least between two versions that are told."""
SAVED = 2.0
"""Seconds between two notes of an unfinished answer in the database."""
STATES = {"stop": "whole", "tool_calls": "whole", "length": "length", "aborted": "stopped"}


@dataclass
class Beginning:
    """What an answer begins with, chosen by its reader: tokens as the lens shows them."""

    shown: list[Any]
    calls: list[dict[str, Any]]
    prompt: list[int]
    tokens: list[int]

    @property
    def text(self) -> str:
        return joined(self.shown)


def joined(shown: list[Any]) -> str:
    """The text that tokens are pieces of."""
    return "".join(piece for _, piece, *_ in shown).encode("latin-1").decode("utf-8", "replace")


@dataclass
class Live:
    """An answer that is being written."""

    id: int
    text: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    shown: list[Any] = field(default_factory=list)
    """Tokens for the lens: [id, bytes as latin-1, log-probability, [[id, bytes, log-probability], …]]."""
    blocks: list[str] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    """By block: the version in which it was last another."""
    version: int = 0
    done: bool = False
    task: "asyncio.Task[None] | None" = None
    stop_wanted: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, blocks: list[str]) -> None:
        """A new version."""
        self.version += 1
        same = 0
        while same < min(len(blocks), len(self.blocks)) and blocks[same] == self.blocks[same]:
            same += 1
        self.changed = self.changed[:same] + [self.version] * (len(blocks) - same)
        self.blocks = blocks
        self.wake()

    def wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def versions(self, seen: int, ping: float) -> AsyncIterator[dict[str, Any] | None]:
        """What changed since `seen`, again and again until the answer ends; None when nothing came for a while."""
        while True:
            if self.version > seen:
                first = next((place for place, at in enumerate(self.changed) if at > seen), len(self.blocks))
                seen = self.version
                yield {"id": seen, "from": first, "html": self.blocks[first:], "total": len(self.blocks)}
            elif self.done:
                return
            else:
                try:
                    async with asyncio.timeout(ping):
                        await self._news.wait()
                except TimeoutError:
                    yield None


class Answers:
    """All answers that this process is writing."""

    def __init__(self, services: Services, database: Database) -> None:
        self._services, self._database = services, database
        self.live: dict[int, Live] = {}

    def begin(
        self, caller: Caller, card: ModelCard, job: Job, answer: ChatMessage, beginning: Beginning | None = None
    ) -> Live:
        """Starts to write an answer that stands in the database as `writing`."""
        live = Live(answer.id)
        if beginning is not None:
            live.shown, live.calls, live.text = list(beginning.shown), list(beginning.calls), beginning.text
            live.tell(markdown.blocks(live.text))
        self.live[answer.id] = live
        live.task = asyncio.create_task(self._write(live, caller, card, job, beginning))
        return live

    async def stop(self, id: int) -> None:
        """Ends an answer where it is; the engine's slots are free at once."""
        live = self.live.get(id)
        if live is not None and live.task is not None:
            live.stop_wanted = True
            live.wake()
            live.task.cancel()
            await asyncio.wait([live.task])

    async def _write(self, live: Live, caller: Caller, card: ModelCard, job: Job, beginning: Beginning | None) -> None:
        end: Finished | None = None
        kept: dict[str, Any] = {"state": "stopped"}
        answering: Answering | None = None
        begun = time.monotonic()
        try:
            answering = await Answering.begin(self._services, caller, card, [job], ENDPOINT)
            kept |= {"cut": answering.counted[0].cut, "prompt_tokens": answering.prompt_tokens}
            end = await self._follow(live, answering)
            if end is not None:
                kept |= self._ended(live, end, beginning)
        except asyncio.CancelledError:
            pass  # stopped by its reader, or the service ends: what is there is kept
        except ApiError as error:
            kept |= {"state": "failed", "error": to_keep(error)}
        except Exception as error:
            kept |= {"state": "failed", "error": to_keep(in_our_words(error))}
        finally:
            if answering is not None:
                await asyncio.shield(answering.close())
            kept |= {"text": plain(live.text), "calls": live.calls or None, "fingerprint": card.fingerprint}
            kept |= {"seconds": time.monotonic() - begun, "forced": len(beginning.shown) if beginning else 0}
            if "lens" not in kept and live.shown:
                kept["lens"] = chats.pack({"prompt": [], "tokens": [], "shown": live.shown})
            await asyncio.shield(self._keep(live.id, kept))
            live.done = True
            self.live.pop(live.id, None)
            live.wake()

    async def _follow(self, live: Live, answering: Answering) -> Finished | None:
        """Reads what the engine writes; tells it in blocks, not more often than a reader can see."""
        end: Finished | None = None
        told = saved = 0.0
        stale = False
        async for item in answering.events(ping=BETWEEN):
            if item is not None:
                event = item[1]
                if isinstance(event, Finished):
                    end = event
                else:
                    take(live, event)
                    stale = True
            present = time.monotonic()
            if stale and (end is not None or present - told > BETWEEN):
                live.tell(await run_in_threadpool(markdown.blocks, live.text))
                # rendering a long text takes a while: it gets a tenth of the time at most
                told, stale = time.monotonic() + 9 * (time.monotonic() - present), False
            if present - saved > SAVED:
                saved = present
                await self._keep(live.id, {"text": plain(live.text), "calls": live.calls or None})
        return end

    def _ended(self, live: Live, end: Finished, beginning: Beginning | None) -> dict[str, Any]:
        """What the database keeps of an answer that has ended."""
        if beginning is not None and live.shown:
            live.text = joined(live.shown) if all(piece is not None for _, piece, *_ in live.shown) else live.text
        prompt = beginning.prompt if beginning is not None else list(end.prompt)
        tokens = (beginning.tokens if beginning is not None else []) + list(end.tokens)
        sampling = {**(dict(end.replay.sampling) if end.replay is not None else {}), "seed": end.seed}
        kept: dict[str, Any] = {
            "state": STATES[end.reason],
            "completion_tokens": end.completion_tokens,
            "lens": chats.pack({"prompt": prompt, "tokens": tokens, "shown": live.shown}),
        }
        return kept | {"seed": sampling["seed"]}

    async def _keep(self, id: int, values: dict[str, Any]) -> None:
        def write() -> None:
            with self._database.writing() as db:
                row = db.get(ChatMessage, id)
                if row is None:  # deleted meanwhile
                    return
                seed = values.pop("seed", None)
                for name, value in values.items():
                    setattr(row, name, value)
                if seed is not None:
                    row.sampling = {**(row.sampling or {}), "seed": seed}

        try:
            await run_in_threadpool(write)
        except Exception:
            log.exception("answer %s could not be kept", id)


def to_keep(error: ApiError) -> str:
    """What is kept of a refusal: its code, where the pages have words for that, else what it says."""
    return error.code if error.code and f"base.error_{error.code}" in words.catalogue() else error.message


def take(live: Live, delta: Delta) -> None:
    """What a piece of an answer adds."""
    if delta.kind == "text":
        live.text += delta.text
        for token, piece, logprob, others in zip(
            delta.tokens, delta.pieces, delta.logprobs, delta.alternatives, strict=True
        ):
            alternatives = [[one.token, one.bytes.decode("latin-1"), round(one.logprob, 4)] for one in others]
            value = round(logprob, 4) if logprob is not None else None
            live.shown.append([token, piece.decode("latin-1"), value, alternatives])
    elif delta.kind == "tool_call" and delta.call is not None:
        made = {"name": delta.call.name, "arguments": delta.call.arguments, "result": "", "at": len(live.text)}
        live.calls.append(json.loads(json.dumps(made)))
    elif delta.kind == "tool_result" and live.calls:
        live.calls[-1]["result"] = delta.text
