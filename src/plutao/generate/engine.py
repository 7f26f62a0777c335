"""The engine: many texts written at once, each joining when a slot is free and leaving at its own end.

Every step computes one more token for all texts that are being written (continuous batching; Yu et al. 2022, "Orca").
A prefix is never computed twice: its keys and values rest in the text's slot.

In fp32 on the CPU a text does not depend on what else is in the batch: every row of a matrix product is computed alike
alone and among others (`Engine.independent` says whether that holds on this machine), prompts are padded by their own
length alone, and each answer has its own random numbers.
"""

import itertools
import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from plutao.errors import UserError
from plutao.generate.adjust import Adjustments
from plutao.generate.answers import Alternatives, Answer, Completion, FinishReason, Piece, Request
from plutao.generate.cache import SlotCache
from plutao.generate.grammar import Forms
from plutao.generate.native import NativeDecoder, serves
from plutao.generate.packed import PackedDecoder, filled_length
from plutao.generate.sampling import RowSettings, Sampling, choose
from plutao.models.decoder import Decoder
from plutao.text.tokenizer import Tokenizer

PREFILL_TOKENS = 4096
"""Prompt tokens computed in one pass at most: bounds the memory that long prompts take."""

Prompt = str | Sequence[int]


class Engine:
    """Writes texts with one model; `slots` of them at once, the others wait their turn.

    A prompt given as text stands at the beginning of a document, as in training: `<|endoftext|>` is put in front of it.
    A prompt given as token ids is taken as it is. Where a C++ compiler is found, steps run as compiled code (native.py,
    built once on a machine, in a second or two) unless `compiled` is False; the attribute says what came of it.
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        slots: int = 16,
        dtype: torch.dtype = torch.float32,
        end_tokens: Sequence[int] | None = None,
        compiled: bool = True,
    ) -> None:
        self.model, self.tokenizer, self.slots, self.dtype = model, tokenizer, slots, dtype
        self.context = model.config.context
        self.end_tokens = frozenset((tokenizer.end_of_text,) if end_tokens is None else end_tokens)
        # A model's table of embeddings may be padded beyond the tokenizer's last token: what lies there is never drawn.
        self.vocabulary = min(model.config.vocabulary, tokenizer.vocabulary_size)
        self.compiled = compiled and serves(model, dtype)
        self._decoder = self._lay_out()
        self.device = self._decoder.device
        self._cache = SlotCache(model.config, slots, dtype, self.device)
        self._active: list[Answer] = []  # the answer at place i writes into slot i
        self._queue: deque[Request] = deque()
        self._requests: dict[int, Request] = {}
        self._numbers = itertools.count()
        self._settings: RowSettings | None = None
        self._adjustments = Adjustments(slots, self.vocabulary, self.device)
        self._forms: dict[frozenset[int], Forms] = {}
        self._undelivered: list[Piece] = []

    @property
    def independent(self) -> bool:
        """Whether a text's logits are, bit by bit, the same whatever else is in the batch."""
        return self._decoder.independent

    @property
    def busy(self) -> bool:
        """Whether anything is being written or waits."""
        return bool(self._active or self._queue or self._undelivered)

    def refresh(self) -> None:
        """Takes over the model's weights as they are now; call it after they were trained. Nothing may be under way."""
        assert not self._active, "texts that are being written began with the old weights"
        self._decoder = self._lay_out()

    def _lay_out(self) -> NativeDecoder | PackedDecoder:
        return NativeDecoder(self.model, self.dtype) if self.compiled else PackedDecoder(self.model, self.dtype)

    # -----------------------------------------------------------------------------------------------------------------
    # Asking

    def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling | None = None, *, truncate_prompt: bool = False
    ) -> list[list[Completion]]:
        """The answers to each prompt, in the order of the prompts: `sampling.n` each.

        Raises:
            UserError: a prompt is longer than the context and `truncate_prompt` does not allow to keep its end.
        """
        ids = [self.submit(prompt, sampling, truncate_prompt=truncate_prompt) for prompt in prompts]
        answers: dict[int, list[Completion]] = {number: [] for number in ids}
        others = []
        try:
            while any(number in self._requests for number in ids):
                for piece in self.step():
                    if piece.request not in answers:
                        others.append(piece)
                    elif piece.completion is not None:
                        answers[piece.request].append(piece.completion)
        finally:
            for number in ids:
                self.abort(number)
            self.keep(others)
        return [answers[number] for number in ids]

    def stream(
        self, prompt: Prompt, sampling: Sampling | None = None, *, truncate_prompt: bool = False
    ) -> Iterator[Piece]:
        """The pieces of one request as they are written; the last piece of each answer brings its completion."""
        number = self.submit(prompt, sampling, streaming=True, truncate_prompt=truncate_prompt)
        others = []
        try:
            while number in self._requests:
                for piece in self.step():
                    if piece.request == number:
                        yield piece
                    else:
                        others.append(piece)
        finally:
            self.abort(number)
            self.keep(others)

    def submit(
        self,
        prompt: Prompt,
        sampling: Sampling | None = None,
        *,
        streaming: bool = False,
        truncate_prompt: bool = False,
    ) -> int:
        """Puts a request into the queue and returns its number, which its pieces carry.

        Raises:
            UserError: the prompt is longer than the context, the grammar is wrong, or best_of is to be streamed.
        """
        sampling = sampling or Sampling()
        if streaming and sampling.drawn > sampling.n:
            raise UserError("best_of can't be streamed: which answers are given is known only when all have ended.")
        tokens, truncated = self._fit(self._encode(prompt), sampling, truncate_prompt)
        end_tokens = self.end_tokens if sampling.end_tokens is None else frozenset(sampling.end_tokens)
        seed = secrets.randbits(53) if sampling.seed is None else sampling.seed
        request = Request(next(self._numbers), tokens, sampling, seed, end_tokens, streaming, truncated)
        return self._enqueue(request)

    def _enqueue(self, request: Request) -> int:
        sampling = request.sampling
        form = None if sampling.grammar is None else self.forms(request.end_tokens).form(sampling.grammar)
        request.waiting = [
            Answer(request, index, self.tokenizer, form.deep_copy() if form else None)
            for index in range(sampling.drawn)
        ]
        self._requests[request.id] = request
        self._queue.append(request)
        return request.id

    def forms(self, end_tokens: frozenset[int]) -> Forms:
        """Where forms of answers that end with these tokens are compiled."""
        ends = end_tokens or self.end_tokens
        return self._forms.setdefault(ends, Forms(self.tokenizer, self.vocabulary, ends))

    @torch.inference_mode()
    def abort(self, number: int) -> list[Completion]:
        """Ends a request, frees its slots and returns what was written of its unfinished answers."""
        request = self._requests.pop(number, None)
        if request is None:
            return []
        if request in self._queue:
            self._queue.remove(request)
        stopped = [slot for slot, answer in enumerate(self._active) if answer.request is request]
        partial = [self._active[slot].completion("aborted") for slot in stopped]
        self._free(stopped)
        return partial

    def _encode(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, str):
            return [self.tokenizer.end_of_text, *self.tokenizer.encode(prompt)]
        tokens = list(prompt) or [self.tokenizer.end_of_text]
        strange = [token for token in tokens if not 0 <= token < self.model.config.vocabulary]
        if strange:
            raise UserError(f"Token {strange[0]} is not in the vocabulary: ids go from 0 to {self.vocabulary - 1}.")
        return tokens

    def _fit(self, tokens: list[int], sampling: Sampling, truncate: bool) -> tuple[list[int], int]:
        """(the prompt as it is read, tokens cut from its beginning). Cutting leaves room for max_tokens, but never takes
        more than half of the context for it.
        """
        if len(tokens) <= self.context:
            return tokens, 0
        if not truncate:
            raise UserError(
                f"The prompt has {len(tokens)} tokens and the model's context holds {self.context}: shorten it by "
                f"{len(tokens) - self.context}, or ask for its end alone to be read (truncate)."
            )
        kept = max(self.context - sampling.max_tokens + 1, self.context // 2, 1)
        return tokens[-kept:], len(tokens) - kept

    # -----------------------------------------------------------------------------------------------------------------
    # Writing

    @torch.inference_mode()
    def step(self) -> list[Piece]:
        """Lets waiting requests into free slots and writes one more token of every text; returns what came of it.

        Pieces with text come for streaming requests; a piece with the completion comes for every answer that is given.
        """
        pieces, self._undelivered = self._undelivered, []
        pieces += self._start()
        if self._active:
            pieces += self._advance(0, self._decode())
        if not self._active and not self._queue:
            self._cache.release()
        return pieces

    def keep(self, pieces: Sequence[Piece]) -> None:
        """Takes pieces back from one who stepped and whose they are not: the next step gives them again."""
        self._undelivered += pieces

    def _decode(self) -> Float[Tensor, "R V"]:
        """The next logits of every active text."""
        tokens = [answer.tokens[-1] for answer in self._active]
        return self._decoder.step(self._cache, tokens, [answer.position for answer in self._active])

    def _start(self) -> list[Piece]:
        """Reads the prompts of requests that find free slots, and writes the first token of their answers."""
        arrived: list[tuple[Request, list[Answer]]] = []
        free = self.slots - len(self._active)
        while self._queue and free:
            request = self._queue[0]
            admitted, request.waiting = request.waiting[:free], request.waiting[free:]
            free -= len(admitted)
            arrived.append((request, admitted))
            if request.waiting:
                break
            self._queue.popleft()
        if not arrived:
            return []
        # One answer of each request reads the prompt, those of equal padded length together; the others copy its slot.
        arrived.sort(key=lambda pair: padded_length(pair[0]))
        start = len(self._active)
        self._active += [admitted[0] for _, admitted in arrived]
        self._settings = None
        requests = [request for request, _ in arrived]
        groups = [list(group) for _, group in itertools.groupby(requests, padded_length)]
        logits = torch.cat([self._prefill(*part) for part in self._place(groups, start)])
        sources = list(range(len(arrived)))
        for place, (request, admitted) in enumerate(arrived):
            for answer in admitted[1:]:
                self._cache.copy(start + place, len(self._active), len(request.prompt))
                self._active.append(answer)
                sources.append(place)
        for slot, answer in enumerate(self._active[start:], start):
            self._adjustments.enter(slot, answer)
        return self._advance(start, logits[sources])

    def _place(self, groups: list[list[Request]], start: int) -> Iterator[tuple[int, list[Request]]]:
        """(first slot, requests) of each pass that reads prompts: equal padded lengths, bounded size."""
        for group in groups:
            most = max(PREFILL_TOKENS // padded_length(group[0]), 1)
            for begin in range(0, len(group), most):
                part = group[begin : begin + most]
                yield start, part
                start += len(part)

    def _prefill(self, start: int, requests: list[Request]) -> Float[Tensor, "R V"]:
        """Reads prompts of equal padded length into the slots from `start` on; the logits after each prompt's end."""
        return self._decoder.read(self._cache, start, [request.prompt for request in requests])

    def _advance(self, start: int, logits: Float[Tensor, "R V"]) -> list[Piece]:
        """Draws the next token of the active answers from `start` on, and ends those that are at their end."""
        answers = self._active[start:]
        logits = logits[:, : self.vocabulary]
        settings = self._settings if start == 0 else None
        if settings is None:
            settings = RowSettings.of([answer.request.sampling for answer in answers], self.vocabulary, self.device)
            self._settings = settings if start == 0 else None
        numbers = torch.tensor([answer.random.random() for answer in answers], dtype=torch.float64, device=self.device)
        adjusted = self._adjustments.apply(start, answers, logits, settings) if settings.adjusted else logits
        chosen = choose(adjusted, settings, numbers, self._adjustments.seen(start, len(answers), settings))
        if settings.formed:
            # Where probabilities add up to a hair less than 1, the walk can end on a token that has none.
            impossible = adjusted.gather(1, chosen.unsqueeze(1)).squeeze(1).isneginf()
            chosen = torch.where(impossible, adjusted.argmax(-1), chosen)
        self._adjustments.wrote(start, chosen, settings)
        return self._take(start, answers, chosen, logits.log_softmax(-1))

    def _take(self, start: int, answers: list[Answer], chosen: Tensor, logprobs: Float[Tensor, "R V"]) -> list[Piece]:
        """Gives each answer its token and its log-probabilities."""
        tokens = chosen.tolist()
        of_tokens = logprobs.gather(1, chosen.unsqueeze(1)).squeeze(1).tolist()
        best = [1.0] * len(answers)
        if any(answer.request.sampling.stop_probability for answer in answers):
            best = logprobs.amax(-1).exp().tolist()
        alternatives = most_probable(logprobs, [answer.request.sampling.logprobs for answer in answers])
        pieces: list[Piece] = []
        ended: list[int] = []
        for row, answer in enumerate(answers):
            written = len(answer.tokens)
            text, reason = answer.add(tokens[row], of_tokens[row], alternatives[row], best[row], self.context)
            if answer.request.streaming and reason is None:
                pieces.append(piece_of(answer, text, written))
            if reason is not None:
                ended.append(start + row)
                pieces += self._end(answer, text, written, reason)
        self._free(ended)
        return pieces

    def _end(self, answer: Answer, text: str, written: int, reason: FinishReason) -> list[Piece]:
        """The last pieces of an answer; where the best of several are wanted, they come when all have ended."""
        request = answer.request
        request.ended[answer.index] = completion = answer.completion(reason)
        whole = len(request.ended) == request.sampling.drawn
        if whole:
            del self._requests[request.id]
        if request.streaming:
            return [piece_of(answer, text, written, completion)]
        if not whole:
            return []
        given = [request.ended[index] for index in sorted(request.ended)]
        if request.sampling.drawn > request.sampling.n:
            given = sorted(given, key=lambda completion: -completion.mean_logprob)[: request.sampling.n]
        return [Piece(request.id, index, completion=completion) for index, completion in enumerate(given)]

    # -----------------------------------------------------------------------------------------------------------------
    # Slots

    def _free(self, slots: list[int]) -> None:
        """Frees slots; the last text moves into each gap, so that those in use stay together."""
        for slot in sorted(slots, reverse=True):
            last = len(self._active) - 1
            moved = self._active.pop()
            if slot != last:
                self._cache.copy(last, slot, moved.position)
                self._adjustments.move(last, slot)
                self._active[slot] = moved
        if slots:
            self._settings = None


def padded_length(request: Request) -> int:
    return filled_length(len(request.prompt))


def most_probable(logprobs: Float[Tensor, "R V"], wanted: list[int]) -> list[Alternatives | None]:
    """Each row's most probable tokens, as many as it wants; None for rows that want none."""
    if not any(wanted):
        return [None] * len(wanted)
    values, tokens = logprobs.topk(min(max(wanted), logprobs.shape[1]), dim=-1)
    rows = zip(wanted, tokens.tolist(), values.tolist(), strict=True)
    return [tuple(zip(row[:count], of_row[:count], strict=True)) if count else None for count, row, of_row in rows]


def piece_of(answer: Answer, text: str, written: int, completion: Completion | None = None) -> Piece:
    """What an answer has gained since it had `written` tokens."""
    return Piece(
        request=answer.request.id,
        answer=answer.index,
        text=text,
        tokens=tuple(answer.tokens[written:]),
        token_logprobs=tuple(answer.token_logprobs[written:]),
        alternatives=tuple(answer.alternatives[written:]),
        completion=completion,
    )


def load_engine(folder: Path, dtype: torch.dtype | None = None, slots: int = 16) -> Engine:
    """The engine of a model folder (ours or Hugging Face's), in fp32 if `dtype` says nothing else."""
    from plutao.models.interop.huggingface import load_model

    return Engine(load_model(folder), Tokenizer.load(folder), slots=slots, dtype=dtype or torch.float32)
