"""Objectives: plain functions (model, batch) → (loss, metrics). A stage is its data and one of these."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from plutao.train.cross_entropy import linear_cross_entropy

Objective = Callable[[nn.Module, Any], tuple[Tensor, dict[str, float]]]

IGNORED = -100  # a target that is not learned


def next_token(label_smoothing: float = 0.0, compiled: bool = False) -> Objective:
    """Cross-entropy of the next token, in nats per learned token (Bengio et al. 2003; the book, section 3.1, Figure 76).

    With label smoothing ε the target puts 1 − ε on the token and ε evenly on all (Szegedy et al. 2016; Vaswani et al.
    2017, section 5.4). `compiled` as in `linear_cross_entropy`. Batches whose rows hold several texts bring `segments`.
    """

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        hidden = model.hidden(batch.tokens, segments=getattr(batch, "segments", None))
        table = model.head.weight
        return linear_cross_entropy(hidden, table, batch.targets, IGNORED, label_smoothing, compiled), {}

    return objective
