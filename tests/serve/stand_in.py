"""A backend that answers with a real model in this process, one job at a time: what the API's tests need of an engine."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from plutao.generate.engine import Engine, load_engine
from plutao.serve.backend.contract import (
    Alternative,
    Delta,
    Embedded,
    Finished,
    Job,
    Load,
    ModelCard,
    Prompt,
    Refused,
    Started,
)
from plutao.text.chat import encode, parse_answer


class StandIn:
    """Implements the contract's Backend."""

    def __init__(self, folder: Path) -> None:
        self.engine: Engine = load_engine(folder, slots=4)
        model = self.engine.model.config
        self.card = ModelCard(
            id="tiny/sft",
            created=1,
            context=model.context,
            vocabulary=model.vocabulary,
            stage="sft",
            chats=True,
            fingerprint="0123456789abcdef",
            folder=folder,
            width=model.width,
            aliases=("current",),
        )
        self.lock = asyncio.Lock()
        self.running = 0
        self.steps = 0

    async def start(self) -> None: ...

    async def stop(self, grace: float) -> None: ...

    async def models(self) -> list[ModelCard]:
        return [self.card]

    async def model(self, name: str) -> ModelCard:
        if name not in (self.card.id, *self.card.aliases):
            raise Refused(f"There is no model {name!r}.", "model_not_found", "model")
        return self.card

    def _read(self, prompt: Prompt) -> list[int]:
        tokenizer = self.engine.tokenizer
        if isinstance(prompt, str):
            return [tokenizer.end_of_text, *tokenizer.encode(prompt)]
        if prompt and isinstance(prompt[0], int):
            return list(prompt)
        return encode(tokenizer, prompt, generation_prompt=True)

    async def count(self, job: Job) -> Started:
        tokens = len(self._read(job.prompt))
        if tokens <= self.card.context:
            return Started(tokens)
        if not job.truncate:
            raise Refused(f"The prompt has {tokens} tokens.", "context_length_exceeded", "messages")
        return Started(self.card.context // 2, tokens - self.card.context // 2)

    async def run(self, job: Job) -> AsyncIterator[Started | Delta | Finished]:
        started = await self.count(job)
        yield started
        prompt = self._read(job.prompt)[-started.prompt_tokens :]
        tokenizer = self.engine.tokenizer
        ends = (tokenizer.special("<|im_end|>"), tokenizer.end_of_text)
        talks = not isinstance(job.prompt, str) and not isinstance(job.prompt[0], int)
        sampling = replace(
            job.sampling,
            end_tokens=ends if talks else ends[1:],
            logprobs=max(job.sampling.logprobs, 0),
            seed=secrets.randbits(50) if job.sampling.seed is None else job.sampling.seed,
        )
        if job.echo:
            yield self._echo(prompt, isinstance(job.prompt, str))
        async with self.lock:
            number = self.engine.submit(prompt, sampling, streaming=True)
            self.running += 1
            try:
                left = sampling.n
                while left:
                    for piece in await asyncio.to_thread(self.engine.step):
                        self.steps += 1
                        tokens = piece.tokens
                        shown = [t for t in tokens if t not in (sampling.end_tokens or ())]
                        if piece.text or shown:
                            yield self._delta(piece, shown, job.logprobs)
                        if piece.completion is not None:
                            left -= 1
                            yield self._finished(piece, prompt, started)
            finally:
                self.running -= 1
                self.engine.abort(number)

    def _delta(self, piece: Any, shown: Sequence[int], logprobs: bool) -> Delta:
        if not logprobs:
            return Delta(piece.answer, piece.text)
        show = self.engine.tokenizer.token_bytes
        others = [tuple(Alternative(t, show(t), lp) for t, lp in alternatives) for alternatives in piece.alternatives]
        return Delta(
            piece.answer,
            piece.text,
            tuple(shown),
            tuple(map(show, shown)),
            piece.token_logprobs[: len(shown)],
            tuple((others or [()] * len(shown))[: len(shown)]),
        )

    def _echo(self, prompt: list[int], framed: bool) -> Delta:
        tokenizer = self.engine.tokenizer
        with torch.inference_mode():
            table = self.engine.model(torch.tensor([prompt]))[0, :, : tokenizer.vocabulary_size].log_softmax(-1)
        shown = prompt[1:] if framed else prompt
        logprobs: list[float | None] = [table[i, t].item() for i, t in enumerate(prompt[1:])]
        if not framed:
            logprobs = [None, *logprobs]
        best = [()] if not framed else []
        for row in table[:-1]:
            value, token = row.max(-1)
            best.append((Alternative(int(token), tokenizer.token_bytes(int(token)), value.item()),))
        pieces = tuple(tokenizer.token_bytes(t) for t in shown)
        return Delta(0, tokenizer.decode(shown), tuple(shown), pieces, tuple(logprobs), tuple(best), "echo")

    def _finished(self, piece: Any, prompt: list[int], started: Started) -> Finished:
        end = piece.completion
        message = parse_answer(self.engine.tokenizer, end.tokens)
        calls = message.tool_calls
        return Finished(
            index=piece.answer,
            reason="tool_calls" if calls else end.finish_reason,
            text=message.content if calls else end.text,
            tokens=tuple(end.tokens),
            written=(True,) * len(end.tokens),
            logprobs=tuple(end.token_logprobs),
            prompt=tuple(prompt),
            prompt_tokens=len(prompt),
            completion_tokens=len(end.tokens),
            cut=started.cut,
            seed=end.seed,
            calls=calls,
            messages=(message,),
        )

    async def embed(self, model: str, inputs: Sequence[str | Sequence[int]]) -> Embedded:
        vectors, count = [], 0
        for one in inputs:
            tokens = self._read(one if isinstance(one, str) else tuple(one))
            count += len(tokens)
            with torch.inference_mode():
                vector = self.engine.model.hidden(torch.tensor([tokens]))[0].mean(0)
            vectors.append(tuple((vector / vector.norm()).tolist()))
        return Embedded(tuple(vectors), count)

    async def tokenize(self, model: str, prompt: Prompt) -> list[int]:
        return self.engine.tokenizer.encode(prompt) if isinstance(prompt, str) else self._read(prompt)

    async def detokenize(self, model: str, tokens: Sequence[int]) -> str:
        return self.engine.tokenizer.decode(tokens)

    async def tokenizer_info(self, model: str) -> dict[str, Any]:
        tokenizer = self.engine.tokenizer
        return {**tokenizer.settings, "end_of_text": tokenizer.end_of_text}

    def load(self) -> Load:
        return Load(running=self.running, waiting=0, slots=4, queue=64, tokens_per_second=0.0)
