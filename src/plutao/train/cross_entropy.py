"""The output layer and its cross-entropy as one operation, a few hundred rows at a time.

In a small model most of a step's time and memory would otherwise go into the (B·T, V) matrix of logits, written and read
again by every operation of the softmax and its gradient. Here a slab of it is computed, turned into its own gradient while
it is still in the cache, and given up: the idea of Wijmans et al. 2025 ("Cut Your Losses in Large-Vocabulary Language
Models"), without their skipping of small gradients.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

SLAB = 4_194_304  # logits at once


def slab_gradient(
    logits: Float[Tensor, "N V"], targets: Int[Tensor, "N"], scale: Tensor, ignored: int, smoothing: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "N V"]]:
    """Summed loss of a slab and its gradient by the logits, times `scale`; softmax in fp32, gradient in the logits' type."""
    learned = targets != ignored
    safe = torch.where(learned, targets, 0)
    scores = logits.float()
    log_partition = torch.logsumexp(scores, dim=-1)
    picked = scores.gather(1, safe[:, None])[:, 0]
    losses = log_partition - (1 - smoothing) * picked
    if smoothing:
        losses = losses - smoothing * scores.mean(dim=-1)
    gradient = torch.exp(scores - log_partition[:, None]) - smoothing / logits.shape[1]
    places = torch.arange(logits.shape[1], device=logits.device)
    gradient = gradient - (1 - smoothing) * (places == safe[:, None])
    gradient = gradient * (learned * scale)[:, None]
    return torch.where(learned, losses, 0.0).sum(), gradient.to(logits.dtype)


def linear_cross_entropy(
    hidden: Float[Tensor, "B T D"],
    table: Float[Tensor, "V D"],
    targets: Int[Tensor, "B T"],
    ignored: int,
    smoothing: float = 0.0,
    compiled: bool = False,
) -> Float[Tensor, ""]:
    """Mean cross-entropy, in nats, of softmax(hidden · tableᵀ) over the targets that are not `ignored`.

    Matrix products run in autocast's type, sums and the softmax in fp32. `compiled` fuses the softmax and its gradient
    into one pass, which is worth its few seconds of compiling in any training that lasts a minute.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    with torch.autocast(device, enabled=False):
        rows, weights = hidden.flatten(0, 1).to(dtype), table.to(dtype)
        apply: Any = LinearCrossEntropy.apply
        loss: Tensor = apply(rows, weights, targets.flatten(), ignored, smoothing, compiled)
    return loss


def rows_at_once(count: int, vocabulary: int) -> int:
    """Rows of a slab: `count` halved until it fits, so that all slabs are alike and one compilation serves them all."""
    while count * vocabulary > SLAB and count % 2 == 0:
        count //= 2
    return count


@cache
def compiled_slab_gradient() -> Any:
    return torch.compile(slab_gradient, fullgraph=True, dynamic=False)


class LinearCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of softmax(hidden · tableᵀ); its gradients are computed on the way forward."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, table: Tensor, targets: Tensor, ignored: int, smoothing: float, compiled: bool
    ) -> Tensor:
        rows = rows_at_once(len(hidden), len(table))
        scale = 1.0 / (targets != ignored).sum().clamp(min=1).float()
        into = compiled_slab_gradient() if compiled else slab_gradient
        loss = torch.zeros((), device=hidden.device)
        by_hidden = torch.empty_like(hidden)
        by_table: Tensor | None = None
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            logits = F.linear(hidden[part], table)
            summed, gradient = into(logits, targets[part], scale, ignored, smoothing)
            loss += summed * scale
            by_hidden[part] = gradient @ table
            piece = (gradient.t() @ hidden[part]).float()
            by_table = piece if by_table is None else by_table.add_(piece)
        ctx.save_for_backward(by_hidden, by_table)
        return loss

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        by_hidden, by_table = ctx.saved_tensors
        return by_hidden * upstream[0].to(by_hidden.dtype), by_table * upstream[0], None, None, None, None
