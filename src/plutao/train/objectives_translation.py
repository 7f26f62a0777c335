"""The objective of translation: the next token of the target, with label smoothing."""

from typing import Any

from torch import Tensor

from plutao.train.cross_entropy import linear_cross_entropy
from plutao.train.objectives import IGNORED, Objective


def translation(label_smoothing: float = 0.0) -> Objective:
    """Cross-entropy of a sentence's translation, token by token, in nats per token.

    With label smoothing ε the target puts 1 − ε on the token and ε evenly on all (Szegedy et al. 2016, section 7; Vaswani
    et al. 2017, section 5.4). Padding counts for nothing and is not computed.
    """

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        hidden = model.hidden(batch.source, batch.tokens)
        learned = batch.targets != IGNORED
        targets = batch.targets[learned][None]
        return linear_cross_entropy(hidden[learned][None], model.head.weight, targets, IGNORED, label_smoothing), {}

    return objective
