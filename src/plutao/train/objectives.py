"""Objectives: plain functions (model, batch) → (loss, metrics). A stage is its data and one of these."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

Objective = Callable[[nn.Module, Any], tuple[Tensor, dict[str, float]]]

IGNORED = -100  # a target that is not learned


def next_token(label_smoothing: float = 0.0) -> Objective:
    """Cross-entropy of the next token, in nats per learned token (Bengio et al. 2003; the book, section 3.1, Figure 76).

    With label smoothing ε the target puts 1 − ε on the token and ε evenly on all (Szegedy et al. 2016; Vaswani et al. 2017,
    section 5.4).
    """

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        hidden = model.hidden(batch.tokens)
        return cross_entropy(hidden, model.head.weight, batch.targets, label_smoothing), {}

    return objective


def cross_entropy(
    hidden: Float[Tensor, "B T D"],
    table: Float[Tensor, "V D"],
    targets: Int[Tensor, "B T"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the targets that are not `IGNORED`, from the final hidden states.

    The logits take the autocast's type, and so does their gradient: a fp32 copy of a (B·T, V) matrix costs more than the
    layers below it in a small model. Sums run in fp32 inside the kernel.
    """
    logits = F.linear(hidden, table).flatten(0, 1)
    return F.cross_entropy(logits.float(), targets.flatten(), ignore_index=IGNORED, label_smoothing=label_smoothing)
