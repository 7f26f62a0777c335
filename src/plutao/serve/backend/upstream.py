"""Another engine in ours' place: any server that speaks OpenAI's API (vLLM, llama.cpp, Ollama), by its address.

Accounts, budgets and limits stay ours; the texts are written there. What people type goes there with the special tokens
of chat templates broken up: an engine whose tokenizer reads "<|im_end|>" in a message as the end of the turn would let
anybody speak as the system. Such an engine tells no token ids, so answers are not replayable token by token.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import httpx

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
    Started,
)
from plutao.serve.backend.reader import is_conversation
from plutao.serve.backend.upstream_form import (
    Reading,
    card_of,
    chat_body,
    estimate,
    events_of,
    messages_of,
    neutral,
    refusal,
    text_body,
    unit,
    whole,
)

FRESH = 10.0
"""Seconds after which the other engine is asked again which models it has."""
CONNECT, SILENCE = 5.0, 600.0
"""Seconds until a connection must stand, and between two pieces of an answer."""


class UpstreamBackend:
    """Implements `contract.Backend` with another server's engine."""

    def __init__(self, url: str, key: str | None = None, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`url` ends where OpenAI's would: …/v1. `transport` is for tests."""
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(SILENCE, connect=CONNECT)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits, transport=transport)
        self._listed: tuple[float, list[ModelCard]] = (-FRESH, [])
        self._running = 0
        self._counts = [0, 0]
        self._stopping = False

    async def start(self) -> None:
        """Nothing: an engine that is not there yet may come."""

    async def stop(self, grace: float) -> None:
        self._stopping = True
        until = time.monotonic() + grace
        while self._running and time.monotonic() < until:
            await asyncio.sleep(0.05)
        await self._client.aclose()

    # -----------------------------------------------------------------------------------------------------------------
    # Models

    async def models(self) -> list[ModelCard]:
        looked, cards = self._listed
        if time.monotonic() - looked > FRESH:
            listed = await self._get("/models")
            entries = [entry for entry in listed.get("data") or [] if isinstance(entry, dict) and entry.get("id")]
            cards = [card_of(entry, first=place == 0) for place, entry in enumerate(entries)]
            self._listed = (time.monotonic(), cards)
        return cards

    async def model(self, name: str) -> ModelCard:
        for card in await self.models():
            if name == card.id or name in card.aliases:
                return card
        raise Refused(f"There is no model {name!r}.", "model_not_found", "model")

    # -----------------------------------------------------------------------------------------------------------------
    # Answers

    async def run(self, job: Job) -> AsyncGenerator[Started | Delta | Finished, None]:
        if self._stopping:
            raise Busy(5.0)
        card = await self.model(job.model)
        seed = secrets.randbits(31) if job.sampling.seed is None else job.sampling.seed
        chat = is_conversation(job.prompt)
        body = chat_body(job, card, seed) if chat else text_body(job, card, seed)
        path = "/chat/completions" if chat else "/completions"
        self._running += 1
        try:
            async with asyncio.timeout(job.deadline):
                async for event in self._stream(path, body, job, Reading(chat, seed, job.echo)):
                    yield event
        except TimeoutError as error:
            raise EngineFailed("The other engine took longer than the request may.") from error
        finally:
            self._running -= 1

    async def _stream(
        self, path: str, body: dict[str, Any], job: Job, reading: Reading
    ) -> AsyncGenerator[Started | Delta | Finished, None]:
        try:
            async with self._client.stream("POST", self._url + path, json=body) as response:
                if response.status_code >= 400:
                    await response.aread()
                    raise refusal(response)
                started = False
                chunks = events_of(response) if body["stream"] else whole(response)
                async for chunk in chunks:
                    reading.use(chunk)
                    if not started:
                        started = True
                        yield Started(reading.prompt_tokens or estimate(job))
                    for delta in reading.deltas(chunk):
                        yield delta
        except httpx.HTTPError as error:
            raise EngineFailed(f"The other engine can't be reached ({type(error).__name__}).") from error
        if len(reading.reasons) < job.sampling.n:
            raise EngineFailed("The other engine broke off.")
        for finished in reading.finished(estimate(job)):
            self._counts = [self._counts[0] + finished.prompt_tokens, self._counts[1] + finished.completion_tokens]
            yield finished

    async def count(self, job: Job) -> Started:
        """Counted by the other engine where it tokenizes for others, estimated where not."""
        try:
            return Started(len(await self.tokenize(job.model, job.prompt)))
        except (Refused, EngineFailed):
            await self.model(job.model)
            return Started(estimate(job))

    async def embed(self, model: str, inputs: Sequence[str | Sequence[int]]) -> Embedded:
        card = await self.model(model)
        given = [neutral(each) if isinstance(each, str) else list(each) for each in inputs]
        told = await self._post("/embeddings", {"model": card.id, "input": given, "encoding_format": "float"})
        rows = sorted(told.get("data") or [], key=lambda row: row.get("index", 0))
        vectors = tuple(unit(row["embedding"]) for row in rows)
        return Embedded(vectors, int((told.get("usage") or {}).get("prompt_tokens") or 0))

    async def tokenize(self, model: str, prompt: Prompt) -> list[int]:
        """By vLLM's and llama.cpp's endpoint, which stands beside /v1.

        Raises:
            Refused: the other engine has none.
        """
        card = await self.model(model)
        if is_conversation(prompt):
            body: dict[str, Any] = {"messages": messages_of(prompt), "add_generation_prompt": True}
        elif isinstance(prompt, str):
            body = {"prompt": neutral(prompt), "content": neutral(prompt)}
        else:
            return [token for token in prompt if isinstance(token, int)]
        told = await self._post("/tokenize", {"model": card.id, **body}, beside=True)
        tokens = told.get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise Refused("The engine behind this service does not tell its tokens.", "unsupported_value")
        return tokens

    async def detokenize(self, model: str, tokens: Sequence[int]) -> str:
        card = await self.model(model)
        told = await self._post("/detokenize", {"model": card.id, "tokens": list(tokens)}, beside=True)
        return str(told.get("prompt", told.get("content", "")))

    async def tokenizer_info(self, model: str) -> dict[str, Any]:
        await self.model(model)
        return await self._get("/tokenizer_info", beside=True)

    def load(self) -> Load:
        return Load(
            running=self._running,
            waiting=0,
            slots=0,
            queue=0,
            tokens_per_second=0.0,
            prompt_tokens=self._counts[0],
            completion_tokens=self._counts[1],
        )

    # -----------------------------------------------------------------------------------------------------------------

    async def _get(self, path: str, beside: bool = False) -> dict[str, Any]:
        return await self._ask("GET", path, None, beside)

    async def _post(self, path: str, body: dict[str, Any], beside: bool = False) -> dict[str, Any]:
        return await self._ask("POST", path, body, beside)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None, beside: bool) -> dict[str, Any]:
        base = self._url.removesuffix("/v1") if beside else self._url
        try:
            response = await self._client.request(method, base + path, json=body)
            if response.status_code >= 400:
                raise refusal(response)
            told = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise EngineFailed(f"The other engine can't be reached ({type(error).__name__}).") from error
        return told if isinstance(told, dict) else {}
