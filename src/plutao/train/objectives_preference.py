"""Objectives that learn from preferences: the reward model's (the book, section 3.1) and DPO's.

Letters: N answers, P pairs of answers to the same prompt, R rows, T positions, V tokens of the vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from plutao.train.objectives import IGNORED, Objective


def pairwise_loss(
    margins: Float[Tensor, " P"], weights: Float[Tensor, " P"], label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Σ w · −log σ(margin), in nats: the surprise that the better answer of each pair won, if it wins with
    probability σ(margin) (Bradley & Terry 1952).

    `label_smoothing` ε is the share of pairs taken to be labelled the wrong way round: −(1 − ε) log σ(m) − ε log σ(−m).
    """
    losses = -(1 - label_smoothing) * F.logsigmoid(margins) - label_smoothing * F.logsigmoid(-margins)
    return (weights * losses).sum()


def ranking(label_smoothing: float = 0.0) -> Objective:
    """The reward model's loss (Ouyang et al. 2022, equation 1), in nats per pair, each prompt counting the same:

        −1 ÷ C(K, 2) · Σ log σ(r(x, y_better) − r(x, y_worse))  over all pairs of the K answers of a prompt.

    Ties are no pairs, and C(K, 2) counts them still: a prompt with many ties counts less.
    """

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        rewards = model(batch.tokens, batch.segments).float()
        margins = rewards[batch.better] - rewards[batch.worse]
        return pairwise_loss(margins, batch.pair_weights, label_smoothing) / batch.weight, {}

    return objective


def direct_preference(beta: float, label_smoothing: float = 0.0) -> Objective:
    """DPO (Rafailov et al. 2023, equation 7), over all pairs of a prompt as in `ranking`:

        −log σ(β · [log π(y_better)/π_ref(y_better) − log π(y_worse)/π_ref(y_worse)])

    The batch brings the reference model's log-probabilities. Label smoothing as in Mitchell (2023), "conservative DPO".
    """

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        implicit = beta * (answer_logprobs(model, batch) - batch.reference)
        margins = implicit[batch.better] - implicit[batch.worse]
        return pairwise_loss(margins, batch.pair_weights, label_smoothing) / batch.weight, {}

    return objective


def answer_logprobs(model: Any, batch: Any) -> Float[Tensor, " N"]:
    """log π(answer | prompt) of every answer, in nats, the end of its turn included, in the order of the rows."""
    hidden = model.hidden(batch.tokens, segments=batch.segments)
    learned = batch.targets != IGNORED
    logits = model.logits(hidden[learned]).float()
    logprobs = -F.cross_entropy(logits, batch.targets[learned], reduction="none")
    count = int(batch.segments.max())
    return sum_by(logprobs, batch.segments[learned] - 1, count)


def sum_by(values: Float[Tensor, " M"], owners: Int[Tensor, " M"], count: int) -> Float[Tensor, " N"]:
    """The sum of each owner's values."""
    return torch.zeros(count, device=values.device, dtype=values.dtype).index_add(0, owners, values)
