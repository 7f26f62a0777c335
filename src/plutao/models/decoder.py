"""The decoder: one class for GPT-2 and GPT-3, for Llama, Qwen2 and Qwen3, and for our own models.

It reads tokens from left to right and gives, at every position, a score (logit) for each token that may come next.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from plutao.models.parts import (
    Activation,
    Attention,
    FeedForward,
    KeyValueCache,
    Norm,
    RotaryPositions,
    Rotation,
    make_norm,
    within_segments,
)

__all__ = ["Block", "Decoder", "DecoderConfig", "KeyValueCache"]


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder's shape. `decoder_config` (presets.py) makes one from a preset and checks that it can exist."""

    vocabulary: int
    """Tokens it knows."""
    context: int
    """Positions it can look back on (T)."""
    layers: int
    width: int
    """Width of the residual stream (d_model)."""
    heads: int
    kv_heads: int
    """Heads of keys and values; fewer than `heads` is grouped-query attention."""
    head_width: int
    hidden: int
    """Width of the feed-forward layer."""
    norm: Norm = "rms"
    positions: Literal["rope", "learned"] = "rope"
    activation: Activation = "swiglu"
    bias: bool = False
    """Biases in every linear layer and norm (GPT-2); the output layer never has one."""
    qkv_bias: bool = False
    """Biases in the query, key and value layers alone (Qwen2)."""
    qk_norm: bool = False
    """Queries and keys normalised per head (Qwen3)."""
    tied: bool = True
    """The output layer is the table of embeddings (Press & Wolf 2017)."""
    dropout: float = 0.0
    """Share dropped while training: of embeddings and of what each layer adds (Vaswani et al. 2017, section 5.4)."""
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5

    def parameters(self) -> int:
        """How many numbers are learned, counted from the shape alone: nothing is allocated."""
        return sum(self.parameters_by_part().values())

    def parameters_by_part(self) -> dict[str, int]:
        """Parameters of the embeddings, the positions, all attention layers, all feed-forward layers, norms, output."""
        D, queries, keys = self.width, self.heads * self.head_width, self.kv_heads * self.head_width
        qkv_biases = queries + 2 * keys if self.bias or self.qkv_bias else 0
        attention = D * (queries + 2 * keys) + qkv_biases + queries * D + (D if self.bias else 0)
        attention += 2 * self.head_width if self.qk_norm else 0
        matrices = 3 if self.activation == "swiglu" else 2
        feed_forward = matrices * D * self.hidden + ((matrices - 1) * self.hidden + D if self.bias else 0)
        norm = 2 * D if self.norm == "layer" and self.bias else D
        return {
            "embedding": self.vocabulary * D,
            "positions": self.context * D if self.positions == "learned" else 0,
            "attention": self.layers * attention,
            "feed_forward": self.layers * feed_forward,
            "norms": (2 * self.layers + 1) * norm,
            "head": 0 if self.tied else self.vocabulary * D,
        }


class Block(nn.Module):
    """One layer: attention, then the feed-forward layer, each reading a normalised copy of the residual stream and
    adding to it (the order of GPT-2, called pre-norm: Xiong et al. 2020).
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        c = config
        self.attention_norm = make_norm(c.norm, c.width, c.norm_eps, c.bias)
        self.attention = Attention(
            c.width,
            c.heads,
            c.kv_heads,
            c.head_width,
            bias=c.bias,
            qkv_bias=c.bias or c.qkv_bias,
            qk_norm=c.qk_norm,
            norm_eps=c.norm_eps,
        )
        self.feed_forward_norm = make_norm(c.norm, c.width, c.norm_eps, c.bias)
        self.feed_forward = FeedForward(c.width, c.hidden, c.activation, c.bias)
        # Only what is added is dropped, not the attention's weights: that would cost the fused attention kernels.
        self.dropout = c.dropout

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        rotation: Rotation | None,
        cache: KeyValueCache | None = None,
        layer: int = 0,
        mask: Bool[Tensor, "B 1 T T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        x = x + self.drop(self.attention(self.attention_norm(x), rotation, cache, layer, mask))
        return x + self.drop(self.feed_forward(self.feed_forward_norm(x)))

    def drop(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Decoder(nn.Module):
    """Embeddings, blocks, a last norm and an output layer."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.embedding = nn.Embedding(c.vocabulary, c.width)
        self.position_embedding = nn.Embedding(c.context, c.width) if c.positions == "learned" else None
        self.rotary = RotaryPositions(c.head_width, c.context, c.rope_theta) if c.positions == "rope" else None
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = make_norm(c.norm, c.width, c.norm_eps, c.bias)
        self.head = nn.Linear(c.width, c.vocabulary, bias=False)
        if c.tied:
            self.head.weight = self.embedding.weight

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        cache: KeyValueCache | None = None,
        positions: Int[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """The logits of the token after each position.

        `positions` counts from 0 in each row and defaults to 0, 1, 2 …; with a cache, tokens follow those it holds.
        `segments` as in `hidden`.
        """
        return self.logits(self.hidden(tokens, cache, positions, segments))

    def hidden(
        self,
        tokens: Int[Tensor, "B T"],
        cache: KeyValueCache | None = None,
        positions: Int[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The residual stream after the last norm: what the output layer reads.

        `segments`, for rows that hold several texts: each text is a run of one number of its own; tokens see only their
        own text, in which positions start at 0. Not together with a cache or positions.
        """
        length = tokens.shape[1]
        mask = None
        if segments is not None:
            assert cache is None and positions is None, "segments bring their own positions and mask"
            positions, mask = within_segments(segments)
        assert length <= self.config.context, f"{length} tokens do not fit a context of {self.config.context}"
        x = self.embedding(tokens)
        if self.position_embedding is not None:
            places = torch.arange(length, device=tokens.device) if positions is None else positions
            x = x + self.position_embedding(places)
        if self.config.dropout:
            x = F.dropout(x, self.config.dropout, self.training)
        rotation = None if self.rotary is None else self.rotary(length, positions, computing_dtype(x))
        for layer, block in enumerate(self.blocks):
            if cache is None:
                x = block(x, rotation) if mask is None else block(x, rotation, None, 0, mask)
            else:
                # Around __call__, so that a block compiled for training is not compiled again for each cache.
                x = block.forward(x, rotation, cache, layer)
        normalised: Tensor = self.norm(x)
        return normalised

    def logits(self, hidden: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        logits: Tensor = self.head(hidden)
        return logits

    @torch.no_grad()
    def initialise(self, seed: int | torch.Generator) -> None:
        """Fresh weights, the same for the same seed.

        Models with RMSNorm: matrices normal with deviation 1/√fan_in (LeCun et al. 1998), except those that write to
        the residual stream, which start at zero, so that every layer begins as the identity (Goyal et al. 2017,
        section 5.1; Zhang et al. 2019); embeddings with 0.02, so that the first logits are small.
        Models with LayerNorm, as GPT-2 (Radford et al. 2019, section 2.3, and its published code): normal with
        deviation 0.02, 0.01 for positions, and 0.02/√(2·layers) for what writes to the residual stream.
        """
        device = self.embedding.weight.device
        generator = torch.Generator(device).manual_seed(seed) if isinstance(seed, int) else seed
        as_gpt2 = self.config.norm == "layer"
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim == 1:
                parameter.fill_(1.0)
            elif name.startswith(("embedding.", "head.")):
                parameter.normal_(0.0, 0.02, generator=generator)
            elif name.startswith("position_embedding."):
                parameter.normal_(0.0, 0.01, generator=generator)
            elif name.endswith((".output.weight", ".down.weight")):
                parameter.normal_(
                    0.0, 0.02 / math.sqrt(2 * self.config.layers) if as_gpt2 else 0.0, generator=generator
                )
            else:
                parameter.normal_(0.0, 0.02 if as_gpt2 else parameter.shape[1] ** -0.5, generator=generator)


def computing_dtype(x: Tensor) -> torch.dtype:
    """What matrix products are computed in: autocast's choice inside autocast, else x's own type."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
