"""What Transformers are made of: norms, positions, attention and the feed-forward layer.

Letters: B rows of a batch, T positions, S positions that may be looked at (S = T without a cache), D the width of the
residual stream, H heads, Hkv heads of keys and values, Dh the width of a head, F the width of the feed-forward layer.
"""

from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Norm = Literal["rms", "layer"]
Activation = Literal["swiglu", "gelu", "gelu_tanh"]
SHORT = 256
"""Positions up to which attention is computed plainly where `plain_is_faster`."""
Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, broadcastable to (B, T, H, Dh/2)."""


class KeyValueCache(Protocol):
    """Where generation keeps the keys and values of the positions it has already read."""

    def update(
        self, layer: int, keys: Float[Tensor, "B Hkv T Dh"], values: Float[Tensor, "B Hkv T Dh"]
    ) -> tuple[Float[Tensor, "B Hkv S Dh"], Float[Tensor, "B Hkv S Dh"], Bool[Tensor, "B 1 T S"]]:
        """Stores the new keys and values; returns all that there is to attend to, and who may look (True) at whom."""
        ...


class RMSNorm(nn.Module):
    """x ÷ √(mean(x²) + ε) · weight: a LayerNorm without centring or bias (Zhang & Sennrich 2019)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*rest D"]) -> Float[Tensor, "*rest D"]:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def make_norm(kind: Norm, width: int, eps: float, bias: bool) -> nn.Module:
    """RMSNorm, or LayerNorm (Ba, Kiros & Hinton 2016)."""
    return RMSNorm(width, eps) if kind == "rms" else nn.LayerNorm(width, eps=eps, bias=bias)


class RotaryPositions(nn.Module):
    """Rotary position embedding (Su et al. 2021): a query at m and a key at n meet at an angle that depends on m − n.

    Element i of a head's first half is paired with element i of its second half (the layout of Llama's published
    weights in Hugging Face form), and the pair turns by position · theta^(−2i/Dh).
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, head_width: int, context: int, theta: float) -> None:
        super().__init__()
        self.head_width, self.context, self.theta = head_width, context, theta
        self.register_buffer("cosines", torch.empty(context, head_width // 2), persistent=False)
        self.register_buffer("sines", torch.empty(context, head_width // 2), persistent=False)
        self.reset()

    def reset(self) -> None:
        """Fills the tables: for a model built on the meta device, call it once the tables have memory."""
        # In double precision: in single, position · frequency is off by 1e-4 already at position 2000.
        device = self.cosines.device
        powers = torch.arange(0, self.head_width, 2, device=device, dtype=torch.float64) / self.head_width
        angles = torch.outer(torch.arange(self.context, device=device, dtype=torch.float64), self.theta**-powers)
        self.cosines.copy_(angles.cos())
        self.sines.copy_(angles.sin())

    def forward(self, length: int, positions: Int[Tensor, "B T"] | None, dtype: torch.dtype) -> Rotation:
        """The tables' rows for `positions` (0, 1, 2 … `length` − 1 where None), cast once for every layer to share."""
        if positions is None:
            cosines, sines = self.cosines[:length], self.sines[:length]
        else:
            cosines, sines = self.cosines[positions], self.sines[positions]
        return cosines.to(dtype).unsqueeze(-2), sines.to(dtype).unsqueeze(-2)


def rotate(x: Float[Tensor, "B T H Dh"], rotation: Rotation) -> Float[Tensor, "B T H Dh"]:
    """Turns each pair of elements by its position's angle."""
    cosines, sines = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)


class Attention(nn.Module):
    """Causal attention of several heads (Vaswani et al. 2017), with groups of heads that share keys and values where
    kv_heads < heads (Ainslie et al. 2023), and queries and keys normalised per head where `qk_norm`
    (Henry et al. 2020).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        head_width: int,
        *,
        bias: bool = False,
        qkv_bias: bool = False,
        qk_norm: bool = False,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.head_width = head_width
        self.grouped = kv_heads != heads
        self.query = nn.Linear(width, heads * head_width, bias=qkv_bias)
        self.key = nn.Linear(width, kv_heads * head_width, bias=qkv_bias)
        self.value = nn.Linear(width, kv_heads * head_width, bias=qkv_bias)
        self.output = nn.Linear(heads * head_width, width, bias=bias)
        self.query_norm = RMSNorm(head_width, norm_eps) if qk_norm else None
        self.key_norm = RMSNorm(head_width, norm_eps) if qk_norm else None

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        rotation: Rotation | None,
        cache: KeyValueCache | None = None,
        layer: int = 0,
        mask: Bool[Tensor, "B 1 T T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """`layer` is where `cache` keeps these keys and values; without a cache each position sees those before it, or
        those that `mask` allows (True).
        """
        queries = self.query(x).unflatten(-1, (-1, self.head_width))
        keys = self.key(x).unflatten(-1, (-1, self.head_width))
        values = self.value(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        if self.query_norm is not None and self.key_norm is not None:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        if rotation is not None:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        queries, keys = queries.transpose(1, 2), keys.transpose(1, 2)
        if cache is not None:
            keys, values, mask = cache.update(layer, keys, values)
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, enable_gqa=self.grouped)
        elif plain_is_faster(queries):
            mixed = attend_in_halves(queries, keys, values, mask)
        else:
            mixed = F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=self.grouped
            )
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


def attention_weights(
    queries: Float[Tensor, "B H T Dh"], keys: Float[Tensor, "B Hkv S Dh"], mask: Bool[Tensor, "B 1 T S"] | None = None
) -> Float[Tensor, "B H T S"]:
    """How much each position takes from each other one: softmax(q · k ÷ √Dh) over those it may see.

    `mask` None is causal. The softmax is taken in fp32.
    """
    scores = queries @ repeat_heads(keys, queries.shape[1]).transpose(-1, -2) * queries.shape[-1] ** -0.5
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    weights: Tensor = scores.float().masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return weights


def attend_in_halves(
    queries: Float[Tensor, "B H T Dh"],
    keys: Float[Tensor, "B Hkv T Dh"],
    values: Float[Tensor, "B Hkv T Dh"],
    mask: Bool[Tensor, "B 1 T T"] | None = None,
) -> Float[Tensor, "B H T Dh"]:
    """Causal attention by plain products, or a causal `mask` that hides more. The first half of the queries is not
    multiplied with the second half of the keys, which none of it may see: a quarter of the work is spared.
    """
    keys, values = repeat_heads(keys, queries.shape[1]), repeat_heads(values, queries.shape[1])
    length = queries.shape[2]
    half = length // 2
    before = None if mask is None else mask[:, :, :half, :half]
    early = attention_weights(queries[:, :, :half], keys[:, :, :half], before)
    if mask is None:
        ahead = torch.ones(length - half, length, dtype=torch.bool, device=queries.device).tril(half)
    else:
        ahead = mask[:, :, half:]
    late = attention_weights(queries[:, :, half:], keys, ahead)
    mixed = [early.to(values.dtype) @ values[:, :, :half], late.to(values.dtype) @ values]
    return torch.cat(mixed, dim=2)


def within_segments(segments: Int[Tensor, "B T"]) -> tuple[Int[Tensor, "B T"], Bool[Tensor, "B 1 T T"]]:
    """For rows that hold several texts, each a run of equal numbers in `segments`: positions that start again at 0 with
    each text, and a mask that lets every token see itself and what stands before it in its own text.
    """
    length = segments.shape[1]
    places = torch.arange(length, device=segments.device)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    starts = torch.where(begins, places, 0).cummax(dim=1).values
    mask = (starts.unsqueeze(2) == starts.unsqueeze(1)) & (places.unsqueeze(1) >= places)
    return places - starts, mask.unsqueeze(1)


def repeat_heads(x: Float[Tensor, "B Hkv S Dh"], heads: int) -> Float[Tensor, "B H S Dh"]:
    """Each head of keys or values once for every query head of its group."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


def plain_is_faster(queries: Float[Tensor, "B H T Dh"]) -> bool:
    """On CPUs in bf16, the backward of the fused kernel is slow: up to 256 positions plain products and a softmax take
    15% less of a training step (7M parameters, T = 256; even at 512, 45% more at 1,024, and in fp32 never less).
    """
    return queries.device.type == "cpu" and queries.dtype == torch.bfloat16 and queries.shape[2] <= SHORT


class FeedForward(nn.Module):
    """Two matrices and a GELU between them (Hendrycks & Gimpel 2016; `gelu_tanh` is its approximation, as in GPT-2), or
    SwiGLU: down(SiLU(gate(x)) · up(x)) (Shazeer 2020).
    """

    def __init__(self, width: int, hidden: int, activation: Activation, bias: bool) -> None:
        super().__init__()
        self.activation = activation
        self.gate = nn.Linear(width, hidden, bias=bias) if activation == "swiglu" else None
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        if self.gate is not None:
            inner = F.silu(self.gate(x)) * self.up(x)
        else:
            inner = F.gelu(self.up(x), approximate="tanh" if self.activation == "gelu_tanh" else "none")
        output: Tensor = self.down(inner)
        return output
