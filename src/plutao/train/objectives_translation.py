"""The objective of translation: the next token of the target, with label smoothing."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from plutao.train.cross_entropy import linear_cross_entropy
from plutao.train.objectives import IGNORED, Objective

STEP = 64  # rows of the output layer are filled up to a multiple of it, so that they can be cut into even slabs


def translation(label_smoothing: float = 0.0, compiled: bool = False) -> Objective:
    """Cross-entropy of a sentence's translation, token by token, in nats per token.

    With label smoothing ε the target puts 1 − ε on the token and ε evenly on all (Szegedy et al. 2016, section 7; Vaswani
    et al. 2017, section 5.4). Padding counts for nothing and is not computed. `compiled` as in `linear_cross_entropy`.
    """

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        hidden = model.hidden(batch.source, batch.tokens)
        learned = batch.targets != IGNORED
        rows, targets = hidden[learned], batch.targets[learned]
        more = filled(len(rows), compiled) - len(rows)
        rows, targets = F.pad(rows, (0, 0, 0, more)), F.pad(targets, (0, more), value=IGNORED)
        loss = linear_cross_entropy(rows[None], model.head.weight, targets[None], IGNORED, label_smoothing, compiled)
        return loss, {}

    return objective


def filled(count: int, compiled: bool) -> int:
    """How many rows are computed for `count` that are learned: each number of rows would be compiled anew, so that then it is
    a power of two.
    """
    return max(STEP, 1 << (count - 1).bit_length()) if compiled else -(-count // STEP) * STEP
