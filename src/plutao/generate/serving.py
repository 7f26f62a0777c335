"""The engine for people who come one by one, while others are being answered.

Prompts are read in stretches beside the tokens that others are waiting for (chunked prefill; Agrawal et al. 2024,
"Sarathi-Serve"), so that a long one stalls nobody; and what was read before is not read again (prefixes.py). With the
compiled decoder a text is the same, bit by bit, whatever of it was kept and however its prompt was cut: every row of every
pass is computed alone. Without it, it is the same to rounding.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from plutao.errors import UserError
from plutao.generate.answers import Answer, Completion, Piece, PromptScores, Request
from plutao.generate.cache import Chunk, SlotCache
from plutao.generate.engine import Engine, Prompt, most_probable
from plutao.generate.prefixes import PrefixStore
from plutao.generate.sampling import Sampling
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.text.tokenizer import Tokenizer

READERS = 8
"""Prompts that are read at the same time at most; each takes a slot beside those of the answers."""
CHUNK = 128
"""Prompt tokens read in one step at most, of all prompts together."""
PREFIX_MEMORY = 256 * 2**20
"""Bytes that beginnings which were read before may take."""


@dataclass
class Reading:
    """A prompt that is being read, for answers whose slots are reserved."""

    request: Request
    answers: list[Answer]
    slot: int
    read: int = 0
    logprobs: list[float] = field(default_factory=list)
    alternatives: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    last: Tensor | None = None
    """The logits after the last token read, where they say how probable the next one of the prompt was."""


class ServingEngine(Engine):
    """As `Engine`; besides, requests may ask for their prompts' log-probabilities, and steps are timed."""

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        slots: int = 16,
        dtype: torch.dtype = torch.float32,
        end_tokens: Sequence[int] | None = None,
        compiled: bool = True,
        chunk: int = CHUNK,
        prefix_memory: int = PREFIX_MEMORY,
    ) -> None:
        super().__init__(model, tokenizer, slots, dtype, end_tokens, compiled)
        self.chunk, self.readers = chunk, min(READERS, slots)
        self._cache = SlotCache(model.config, slots + self.readers, dtype, self.device)
        tokens = prefix_memory // token_bytes(model.config, dtype)
        self.prefixes = PrefixStore(model.config, tokens, dtype, self.device)
        self._reading: list[Reading] = []
        self.prompt_tokens = self.reused_tokens = self.written_tokens = 0

    @property
    def busy(self) -> bool:
        return bool(self._reading) or super().busy

    @property
    def running(self) -> int:
        """Answers that are being written or whose prompts are being read."""
        return len(self._active) + sum(len(reading.answers) for reading in self._reading)

    @property
    def waiting(self) -> int:
        """Answers that wait for a slot."""
        return sum(len(request.waiting) for request in self._queue)

    def refresh(self) -> None:
        assert not self._reading, "prompts that are being read began with the old weights"
        super().refresh()
        self.prefixes.clear()

    def ask(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        streaming: bool = True,
        truncate_prompt: bool = False,
        scored: bool = False,
        salt: str = "",
    ) -> Request:
        """As `submit`; returns the request itself.

        Args:
            scored: a piece with the prompt's own log-probabilities comes first.
            salt: what was read is shared with requests that have the same one.
        """
        number = self.submit(prompt, sampling, streaming=streaming, truncate_prompt=truncate_prompt)
        request = self._requests[number]
        request.scored, request.salt = scored, salt
        return request

    def _fit(self, tokens: list[int], sampling: Sampling, truncate: bool) -> tuple[list[int], int]:
        tokens, cut = super()._fit(tokens, sampling, truncate)
        if strange := [token for token, _ in sampling.logit_bias if token >= self.vocabulary]:
            raise UserError(
                f"Token {strange[0]} in logit_bias is not in the vocabulary: ids go from 0 to {self.vocabulary - 1}."
            )
        return tokens, cut

    @torch.inference_mode()
    def abort(self, number: int) -> list[Completion]:
        self._reading = [reading for reading in self._reading if reading.request.id != number]
        return super().abort(number)

    # -----------------------------------------------------------------------------------------------------------------
    # Writing

    @torch.inference_mode()
    def step(self) -> list[Piece]:
        """Writes one more token of every text, and reads at most `chunk` tokens of prompts beside them."""
        pieces, self._undelivered = self._undelivered, []
        self._admit()
        chunks = self._plan()
        if not self._active and not chunks:
            return pieces
        begun = time.perf_counter()
        tokens = [answer.tokens[-1] for answer in self._active]
        writing, readings = list(self._active), list(self._reading)
        places = [answer.position for answer in self._active]
        logits, read = self._decoder.mixed(self._cache, tokens, places, [chunk for _, chunk in chunks])
        self._share(time.perf_counter() - begun, writing, chunks)
        if writing:
            pieces += self._advance(0, logits)
        for (reading, chunk), after in zip(chunks, read, strict=True):
            pieces += self._took(reading, chunk, after)
        self.written_tokens += len(writing)
        pieces += self._begin([reading for reading in readings if reading.read == len(reading.request.prompt)])
        if not self._active and not self._queue and not self._reading:
            self._cache.release()
        return pieces

    def _admit(self) -> None:
        """Lets waiting requests read, as far as there are slots for their answers."""
        free = self.slots - self.running
        taken = {reading.slot for reading in self._reading}
        unused = [slot for slot in range(self.slots, self.slots + self.readers) if slot not in taken]
        while self._queue and free and unused:
            request = self._queue[0]
            admitted, request.waiting = request.waiting[:free], request.waiting[free:]
            free -= len(admitted)
            reading = Reading(request, admitted, unused.pop(0))
            if not request.scored:
                reading.read = self.prefixes.restore(request.salt, request.prompt, self._cache, reading.slot)
            request.cached = max(request.cached, reading.read)
            self.prompt_tokens += len(request.prompt)
            self.reused_tokens += reading.read
            self._reading.append(reading)
            if request.waiting:
                break
            self._queue.popleft()

    def _plan(self) -> list[tuple[Reading, Chunk]]:
        """What is read in this step: prompts share the chunk, those that need less leave the others more."""
        plan = []
        left = self.chunk
        open_ones = sorted(self._reading, key=lambda reading: len(reading.request.prompt) - reading.read)
        for place, reading in enumerate(open_ones):
            prompt = reading.request.prompt
            share = max(left // (len(open_ones) - place), 1)
            tokens = prompt[reading.read : reading.read + share]
            left = max(left - len(tokens), 0)
            ends = reading.read + len(tokens) == len(prompt)
            wanted = len(tokens) if reading.request.scored else int(ends)
            plan.append((reading, Chunk(reading.slot, reading.read, tokens, wanted)))
        return plan

    def _took(self, reading: Reading, chunk: Chunk, after: Float[Tensor, "W V"]) -> list[Piece]:
        """A stretch was read; where the prompt is scored, tells so at its end."""
        request = reading.request
        reading.read += len(chunk.tokens)
        if request.scored and not reading.answers[0].index:
            self._score(reading, chunk, after[:, : self.vocabulary])
        if chunk.wanted:
            reading.last = after[-1:, : self.vocabulary]
        if reading.read < len(request.prompt) or not request.scored or reading.answers[0].index:
            return []
        scores = PromptScores(request.prompt, reading.logprobs, reading.alternatives)
        return [Piece(request.id, 0, prompt=scores)]

    def _score(self, reading: Reading, chunk: Chunk, after: Float[Tensor, "W V"]) -> None:
        """The log-probabilities of the prompt's tokens, each from the logits after the one before it."""
        before = after[:-1] if reading.last is None else torch.cat((reading.last, after[:-1]))
        targets = chunk.tokens[1:] if reading.last is None else chunk.tokens
        if not len(before):
            return
        logprobs = before.log_softmax(-1)
        known = torch.tensor(targets, device=self.device).clamp(max=self.vocabulary - 1)
        reading.logprobs += logprobs.gather(1, known.unsqueeze(1)).squeeze(1).tolist()
        wanted = [reading.request.sampling.logprobs] * len(before)
        reading.alternatives += [each for each in most_probable(logprobs, wanted) if each is not None]

    def _begin(self, read: list[Reading]) -> list[Piece]:
        """Prompts are at their ends: their answers move into slots and get their first tokens."""
        if not read:
            return []
        start, logits = len(self._active), []
        for reading in read:
            self._reading.remove(reading)
            request = reading.request
            self.prefixes.keep(request.salt, request.prompt, self._cache, reading.slot)
            assert reading.last is not None, "the last token's logits were asked for"
            for answer in reading.answers:
                slot = len(self._active)
                self._cache.copy(reading.slot, slot, len(request.prompt))
                self._active.append(answer)
                self._adjustments.enter(slot, answer)
                logits.append(reading.last)
        self._settings = None
        self.written_tokens += len(logits)
        return self._advance(start, torch.cat(logits))

    def _free(self, slots: list[int]) -> None:
        """Keeps what was read and written, for the conversation's next turn, and frees the slots."""
        for slot in slots:
            answer = self._active[slot]
            self.prefixes.keep(
                answer.request.salt, [*answer.request.prompt, *answer.tokens][: answer.position], self._cache, slot
            )
        super()._free(slots)

    def _share(self, seconds: float, writing: list[Answer], chunks: list[tuple[Reading, Chunk]]) -> None:
        """Each request pays for its tokens in this pass."""
        each = seconds / (len(writing) + sum(len(chunk.tokens) for _, chunk in chunks))
        for answer in writing:
            answer.request.seconds += each
        for reading, chunk in chunks:
            reading.request.seconds += each * len(chunk.tokens)


def token_bytes(config: DecoderConfig, dtype: torch.dtype) -> int:
    """Memory that the keys and values of one token take."""
    return 2 * config.layers * config.kv_heads * config.head_width * dtype.itemsize


def load_serving_engine(
    folder: Path, slots: int = 16, dtype: torch.dtype = torch.float32, prefix_memory: int = PREFIX_MEMORY
) -> ServingEngine:
    """The engine of a model folder (ours or Hugging Face's)."""
    from plutao.models.interop.huggingface import load_model

    return ServingEngine(load_model(folder), Tokenizer.load(folder), slots, dtype, prefix_memory=prefix_memory)
