"""Truncated backpropagation through time: the state goes on from window to window, the gradient does not (Williams & Peng
1990; Mikolov et al. 2010).

The state that a window ended with is part of what a checkpoint must hold, or a training that was resumed would not be the
one that was stopped. So it rests beside the weights, as buffers of the module that is trained.
"""

from typing import Any

import torch
from torch import Tensor, nn

from plutao.models.recurrent import RecurrentModel, States
from plutao.train.cross_entropy import linear_cross_entropy
from plutao.train.objectives import IGNORED, Objective

WITHOUT_GATES = 0.4
"""Share of the learning rate for a plain RNN: at the rate that suits GRU and LSTM best its states are driven into saturation."""


class Carrying(nn.Module):
    """A recurrent model with the states that each of `rows` rows ended its last window with."""

    memory: Tensor
    """(layers, parts of a state, rows, H)."""

    def __init__(self, model: RecurrentModel, rows: int) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("memory", torch.stack([torch.stack(state) for state in model.start(rows)]).clone())

    def parts(self) -> list[tuple[nn.Module, float]]:
        """What the optimizer sees, and at which multiple of the peak it learns."""
        return [(self.model, WITHOUT_GATES if self.model.config.kind == "rnn" else 1.0)]

    def recall(self, first: int, rows: int) -> States:
        """The states of `rows` rows from `first` on; no gradient leads into them."""
        kept = self.memory[:, :, first : first + rows]
        return tuple(tuple(part.clone() for part in layer) for layer in kept)

    @torch.no_grad()
    def keep(self, first: int, states: States) -> None:
        """What the rows' windows ended with, for the windows that follow."""
        for layer, state in enumerate(states):
            for part, values in enumerate(state):
                self.memory[layer, part, first : first + len(values)] = values.detach()


def truncated(compiled: bool = False) -> Objective:
    """Cross-entropy of the next token, in nats per token, over windows that go on where the last ones ended.

    Its model is `Carrying`, its batches are `data.stretches`. `compiled` as in `linear_cross_entropy`.
    """

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        states = None if batch.begins else model.recall(batch.first, batch.rows)
        hidden, last = model.model.read(batch.tokens, states)
        model.keep(batch.first, last)
        table = model.model.head.weight
        return linear_cross_entropy(hidden, table, batch.targets, IGNORED, compiled=compiled), {}

    return objective
