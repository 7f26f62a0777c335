"""A text as one vector: what the decoder makes of its tokens, averaged.

The hidden states after the final norm are averaged over all tokens (mean pooling; Reimers and Gurevych 2019, section 3)
and brought to length 1, so that the product of two vectors is the cosine of the angle between them. A decoder's last state
alone would speak of the next token more than of the text.
"""

from collections.abc import Sequence

import torch

from plutao.models.decoder import Decoder


@torch.inference_mode()
def embed(model: Decoder, tokens: Sequence[int]) -> tuple[float, ...]:
    """The vector of a text, as many numbers as the model is wide."""
    device = model.embedding.weight.device
    states = model.hidden(torch.tensor([list(tokens)], device=device))[0].float()
    mean = states.mean(0)
    return tuple((mean / mean.norm().clamp(min=1e-12)).tolist())
