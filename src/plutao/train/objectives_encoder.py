"""Objectives of encoders: filling in what is masked, telling what follows, classes, numbers, and spans of text."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from plutao.train.objectives import IGNORED, Objective


def masked_language() -> Objective:
    """Cross-entropy of the masked tokens, in nats per token, and that of next sentences where the batch asks for it
    (Devlin et al. 2019, section 3.1: their sum).

    Scores are computed only where something is to be told.
    """

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        vectors = model.encoder(batch.tokens, None if batch.present.all() else batch.present, batch.segments)
        told = batch.targets != IGNORED
        scores = model.logits(vectors[told])
        loss = F.cross_entropy(scores.float(), batch.targets[told])
        if not (batch.follows != IGNORED).any():
            return loss, {}
        following = F.cross_entropy(model.follows(vectors).float(), batch.follows, ignore_index=IGNORED)
        return loss + following, {"masked_loss": float(loss.detach()), "following_loss": float(following.detach())}

    return objective


def classes(label_smoothing: float = 0.0) -> Objective:
    """Cross-entropy of the right class, in nats an example: of texts, or of images."""

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        scores = model(*batch.inputs())
        return F.cross_entropy(scores.float(), batch.labels, label_smoothing=label_smoothing), {}

    return objective


def numbers() -> Objective:
    """Squared error of a number, as BERT learns similarity (Devlin et al. 2019, section 4.1: STS-B)."""

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        return F.mse_loss(model(*batch.inputs()).squeeze(-1).float(), batch.labels.float()), {}

    return objective


def spans() -> Objective:
    """Mean cross-entropy of where the answer begins and where it ends (Devlin et al. 2019, section 4.2); `labels` (B, 2)."""

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        scores = model(*batch.inputs()).float()
        _, present, segments = batch.inputs()
        scores = scores.masked_fill(~readable(present, segments).unsqueeze(-1), torch.finfo(scores.dtype).min)
        begin = F.cross_entropy(scores[..., 0], batch.labels[:, 0])
        end = F.cross_entropy(scores[..., 1], batch.labels[:, 1])
        return (begin + end) / 2, {}

    return objective


def readable(present: Tensor, segments: Tensor) -> Tensor:
    """(B, T) Where an answer may be marked: in the second text, or at [CLS], which says that there is none."""
    places = (segments == 1) & present
    places[:, 0] = True
    return places
