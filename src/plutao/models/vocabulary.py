"""More tokens for a trained model: rows for them in its tables."""

from dataclasses import replace

import torch
from torch import nn

from plutao.models.decoder import Decoder

SPREAD = 0.1
"""New rows differ from the mean of the old ones by so much of their deviation: alike enough to disturb nothing, and
not the same."""


def grow(model: Decoder, vocabulary: int, seed: int) -> Decoder:
    """The model with a table of `vocabulary` rows; new rows start near the mean of the old (Hewitt 2021)."""
    old = model.config.vocabulary
    if vocabulary <= old:
        return model
    with torch.device("meta"):
        grown = Decoder(replace(model.config, vocabulary=vocabulary))
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: extended(tensor, vocabulary - old, generator) if name in ("embedding.weight", "head.weight") else tensor
        for name, tensor in model.state_dict().items()
        if not (model.config.tied and name == "head.weight")
    }
    grown.load_state_dict(tensors, strict=False, assign=True)
    if model.config.tied:
        grown.head.weight = grown.embedding.weight
    if grown.rotary is not None:
        grown.rotary.to_empty(device="cpu")
        grown.rotary.reset()
    grown.requires_grad_().train(model.training)
    assert isinstance(grown.embedding.weight, nn.Parameter)
    return grown


def extended(table: torch.Tensor, rows: int, generator: torch.Generator) -> torch.Tensor:
    """(V + rows, D) from (V, D)."""
    noise = torch.randn(rows, table.shape[1], generator=generator, dtype=table.dtype)
    return torch.cat([table, table.mean(dim=0) + SPREAD * table.std(dim=0) * noise])
