"""A text written by any language model of the family, token by token, with the same settings and draw as the engine's.

The engine (engine.py) writes with decoders, many texts at once and each prefix computed once. Here a model is only asked to
`advance`: an n-gram model, an RNN and a decoder write by the same few lines. A model gives log-probabilities, so it is these
that a repetition penalty multiplies.
"""

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from plutao.errors import UserError
from plutao.generate.answers import Answer, Completion, FinishReason, Piece, Request
from plutao.generate.engine import Engine, Prompt, load_engine, most_probable, piece_of
from plutao.generate.sampling import RowSettings, Sampling, choose
from plutao.models.language import LanguageModel, State, is_decoder, load_language_model
from plutao.text.tokenizer import Tokenizer

NO_END = 1 << 62
"""A context that is never full."""


class Writer:
    """Writes texts with one language model. A prompt that is text stands at the beginning of a document."""

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.vocabulary = min(model.vocabulary, tokenizer.vocabulary_size)

    def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling | None = None, *, truncate_prompt: bool = False
    ) -> list[list[Completion]]:
        """The answers to each prompt, in the order of the prompts: `sampling.n` each.

        Args:
            truncate_prompt: nothing to do here, where a prompt is never too long; as in `Engine.complete`.
        """
        requests = [self._request(number, prompt, sampling, False) for number, prompt in enumerate(prompts)]
        for length in sorted({len(request.prompt) for request in requests}):
            for _ in self._write([request for request in requests if len(request.prompt) == length]):
                pass
        return [best_of(request) for request in requests]

    def stream(
        self, prompt: Prompt, sampling: Sampling | None = None, *, truncate_prompt: bool = False
    ) -> Iterator[Piece]:
        """The pieces of one request as they are written; the last piece of each answer brings its completion.

        Raises:
            UserError: best_of, which is known only when all answers have ended.
        """
        request = self._request(0, prompt, sampling, True)
        if request.sampling.drawn > request.sampling.n:
            raise UserError("best_of can't be streamed: which answers are given is known only when all have ended.")
        yield from self._write([request])

    def _request(self, number: int, prompt: Prompt, sampling: Sampling | None, streaming: bool) -> Request:
        sampling = sampling or Sampling()
        tokens = (
            [self.tokenizer.end_of_text, *self.tokenizer.encode(prompt)] if isinstance(prompt, str) else list(prompt)
        )
        ends = frozenset((self.tokenizer.end_of_text,) if sampling.end_tokens is None else sampling.end_tokens)
        seed = secrets.randbits(53) if sampling.seed is None else sampling.seed
        return Request(number, tokens or [self.tokenizer.end_of_text], sampling, seed, ends, streaming)

    @torch.inference_mode()
    def _write(self, requests: Sequence[Request]) -> Iterator[Piece]:
        """Writes the answers to prompts of one length together, until the last has ended."""
        answers = [
            Answer(request, index, self.tokenizer) for request in requests for index in range(request.sampling.drawn)
        ]
        log_probabilities, state = self._read([answer.request.prompt for answer in answers])
        settings = RowSettings.of([answer.request.sampling for answer in answers], self.vocabulary)
        seen = torch.zeros(len(answers), self.vocabulary, dtype=torch.bool)
        for row, answer in enumerate(answers):
            seen[row, [token for token in answer.request.prompt if token < self.vocabulary]] = True
        wanted = [answer.request.sampling.logprobs for answer in answers]
        ended = [False] * len(answers)
        while True:
            logprobs = log_probabilities[:, : self.vocabulary].log_softmax(-1)
            numbers = torch.tensor([answer.random.random() for answer in answers], dtype=torch.float64)
            chosen = choose(logprobs, settings, numbers, seen)
            seen.scatter_(1, chosen.unsqueeze(1), True)
            alternatives, best = most_probable(logprobs, wanted), logprobs.amax(-1).exp().tolist()
            for row, answer in enumerate(answers):
                if ended[row]:
                    continue
                token, written = int(chosen[row]), len(answer.tokens)
                text, reason = answer.add(token, float(logprobs[row, token]), alternatives[row], best[row], NO_END)
                ended[row] = reason is not None
                piece = take(answer, text, written, reason)
                if answer.request.streaming:
                    yield piece
            if all(ended):
                return
            log_probabilities, state = self.model.advance(chosen, state)

    def _read(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, State]:
        """What comes after prompts of one length. A model of a short reach reads no more than it can look back on."""
        tokens = torch.tensor(prompts)
        if self.model.reach is not None:
            tokens = tokens[:, -max(self.model.reach, 1) :]
        state = self.model.start(len(tokens))
        for place in range(tokens.shape[1]):
            log_probabilities, state = self.model.advance(tokens[:, place], state)
        return log_probabilities, state


def take(answer: Answer, text: str, written: int, reason: FinishReason | None) -> Piece:
    """What an answer has gained; its completion, once it has ended."""
    completion = answer.completion(reason) if reason is not None else None
    if completion is not None:
        answer.request.ended[answer.index] = completion
    return piece_of(answer, text, written, completion)


def best_of(request: Request) -> list[Completion]:
    """The answers that are given of those that were drawn."""
    given = [request.ended[index] for index in sorted(request.ended)]
    if request.sampling.drawn > request.sampling.n:
        given = sorted(given, key=lambda completion: -completion.mean_logprob)[: request.sampling.n]
    return given


def load_writer(folder: Path, dtype: torch.dtype | None = None, slots: int = 16) -> Engine | Writer:
    """What writes with the model in a folder: the engine for decoders, a writer for the other kinds.

    Raises:
        UserError: there is no model that continues texts.
    """
    if is_decoder(folder):
        return load_engine(folder, dtype, slots)
    return Writer(load_language_model(folder), Tokenizer.load(folder))
