"""More tokens for a trained model: rows for them in its tables."""

import torch

from plutao.models.decoder import Decoder, DecoderConfig

SPREAD = 0.1
"""New rows differ from the mean of the old ones by so much of their deviation: alike enough to disturb nothing, and
not the same."""


def grow(model: Decoder, config: DecoderConfig, seed: int) -> Decoder:
    """The model with the table of `config`, which may be longer than its own, and its context and dropout; the weights are
    shared, not copied. New rows start near the mean of the old (Hewitt 2021).
    """
    old = model.config.vocabulary
    assert config.vocabulary >= old, "a table never loses rows"
    with torch.device("meta"):
        grown = Decoder(config)
    generator = torch.Generator().manual_seed(seed)
    rows = {name: tensor for name, tensor in model.state_dict().items() if not (config.tied and name == "head.weight")}
    if config.vocabulary > old:
        for name in ("embedding.weight", "head.weight") if not config.tied else ("embedding.weight",):
            rows[name] = extended(rows[name], config.vocabulary - old, generator)
    grown.load_state_dict({name: rows[name] for name in grown.state_dict() if name in rows}, strict=False, assign=True)
    if config.tied:
        grown.head.weight = grown.embedding.weight
    if grown.rotary is not None:
        grown.rotary.to_empty(device="cpu")
        grown.rotary.reset()
    return grown.requires_grad_().train(model.training)


def extended(table: torch.Tensor, rows: int, generator: torch.Generator) -> torch.Tensor:
    """(V + rows, D) from (V, D)."""
    noise = torch.randn(rows, table.shape[1], generator=generator, dtype=table.dtype)
    return torch.cat([table, table.mean(dim=0) + SPREAD * table.std(dim=0) * noise])
