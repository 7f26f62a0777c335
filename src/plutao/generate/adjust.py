"""What is done to the logits of a text's next token before the draw, because of what it said already or what was asked.

Frequency and presence penalties are OpenAI's: the first grows with every time a token stands in the answer, the second
is taken once. The repetition penalty, which counts the prompt too, is applied by `sampling.choose`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plutao.generate.answers import Answer
from plutao.generate.grammar import allowed
from plutao.generate.sampling import RowSettings


class Adjustments:
    """For each slot: which tokens were seen, how often each was written, what is added to it. Tables are made when needed."""

    def __init__(self, slots: int, vocabulary: int, device: torch.device) -> None:
        self._shape, self._device = (slots, vocabulary), device
        self._seen: Tensor | None = None
        self._counts: Tensor | None = None
        self._bias: Tensor | None = None

    def enter(self, slot: int, answer: Answer) -> None:
        """A text begins in a slot."""
        sampling, vocabulary = answer.request.sampling, self._shape[1]
        if sampling.repetition_penalty != 1:
            if self._seen is None:
                self._seen = torch.zeros(self._shape, dtype=torch.bool, device=self._device)
            self._seen[slot] = False
            self._seen[slot, [token for token in answer.request.prompt if token < vocabulary]] = True
        if sampling.frequency_penalty or sampling.presence_penalty:
            if self._counts is None:
                self._counts = torch.zeros(self._shape, device=self._device)
            self._counts[slot] = 0
        if sampling.logit_bias:
            if self._bias is None:
                self._bias = torch.zeros(self._shape, device=self._device)
            self._bias[slot] = 0
            known = [(token, bias) for token, bias in sampling.logit_bias if token < vocabulary]
            self._bias[slot, [token for token, _ in known]] = torch.tensor(
                [bias for _, bias in known], device=self._device
            )

    def move(self, source: int, target: int) -> None:
        """The text of one slot goes on in another."""
        for table in (self._seen, self._counts, self._bias):
            if table is not None:
                table[target] = table[source]

    def apply(
        self, start: int, answers: Sequence[Answer], logits: Float[Tensor, "R V"], settings: RowSettings
    ) -> Float[Tensor, "R V"]:
        """The logits that the answers in the slots from `start` on draw from; −∞ for what breaks a form."""
        slots = slice(start, start + len(answers))
        if settings.counted:
            assert self._counts is not None
            counts = torch.where(settings.counts, self._counts[slots], 0.0)
            logits = logits - settings.frequency_penalty * counts - settings.presence_penalty * (counts > 0)
        if settings.biased:
            assert self._bias is not None
            logits = logits + torch.where(settings.biases, self._bias[slots], 0.0)
        if settings.formed:
            forms = [answer.form for answer in answers]
            logits = logits.masked_fill(~allowed(forms, logits.shape[1]).to(logits.device), -torch.inf)
        return logits

    def seen(self, start: int, count: int, settings: RowSettings) -> Bool[Tensor, "R V"] | None:
        """The tokens that a repetition penalty counts, where any row has one."""
        return self._seen[start : start + count] if self._seen is not None and settings.penalised else None

    def wrote(self, start: int, chosen: Int[Tensor, " R"], settings: RowSettings) -> None:
        """Every text from slot `start` on has one token more."""
        slots, column = slice(start, start + len(chosen)), chosen.unsqueeze(1)
        if settings.penalised and self._seen is not None:
            self._seen[slots].scatter_(1, column, True)
        if settings.counted and self._counts is not None:
            self._counts[slots].scatter_add_(1, column, torch.ones_like(column, dtype=torch.float32))
