"""How far a model has gone from the one it was trained from, measured on what it writes itself."""

from collections.abc import Sequence
from typing import Any

import torch

from plutao.evaluate.intervals import bootstrap_ratio
from plutao.generate.chat import Reply
from plutao.models.decoder import Decoder

AT_ONCE = 16_384
"""Tokens read in one pass."""


@torch.inference_mode()
def log_ratios(replies: Sequence[Reply], reference: Decoder, vocabulary: int) -> list[float]:
    """log(model ÷ reference) of each answer, in nats, over the tokens that the model wrote (not those of tools).

    The model drew them at temperature 1 from the whole distribution, so their mean is the KL divergence per answer.

    Args:
        vocabulary: tokens that can be drawn; a padded table of embeddings has more.
    """
    ratios = [0.0] * len(replies)
    order = sorted(range(len(replies)), key=lambda place: len(replies[place].prompt) + len(replies[place].tokens))
    device = reference.embedding.weight.device
    while order:
        longest = len(replies[order[-1]].prompt) + len(replies[order[-1]].tokens)
        places = order[-max(1, AT_ONCE // longest) :]
        del order[-len(places) :]
        rows = [replies[place].prompt + replies[place].tokens for place in places]
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
        hidden = reference.hidden(tokens[:, :-1])  # nothing follows the last one
        for number, place in enumerate(places):
            reply = replies[place]
            written = torch.tensor(reply.written, device=device).nonzero().squeeze(1) + len(reply.prompt)
            logits = reference.logits(hidden[number, written - 1])[:, :vocabulary].float()
            theirs = logits.log_softmax(-1).gather(1, tokens[number, written].unsqueeze(1)).sum()
            ratios[place] = sum(reply.logprobs) - float(theirs)
    return ratios


def divergence(replies: Sequence[Reply], reference: Decoder, vocabulary: int) -> dict[str, Any]:
    """The KL divergence from `reference` in nats per answer: value, low, high (95%, drawing the answers again), n."""
    ratios = log_ratios(replies, reference, vocabulary)
    value = sum(ratios) / len(ratios)
    low, high = bootstrap_ratio(ratios, [1.0] * len(ratios)) or (value, value)
    return {"value": value, "low": low, "high": high, "n": len(ratios)}
