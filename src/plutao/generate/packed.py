"""A decoder's weights laid out for writing one token at a time.

`Decoder` is made to be read and trained. At one token per step its time goes into calling some three hundred small
operations, so this form of the same function needs fewer: queries, keys and values are one matrix, gate and up another;
the norms' weights are multiplied into the matrix that follows; the halves of a head are interleaved so that a rotary
position is one complex product (Su et al. 2021, section 3.2.1). Matrices are packed once in the layout that the CPU's
matrix kernel reads (oneDNN), which has a second virtue: a row's result does not depend on the rows beside it.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from plutao.generate.cache import SlotCache
from plutao.models.decoder import Block, Decoder

FEWEST_ROWS = 4
"""Fewer rows are filled up to this many: the packed kernel reads a matrix faster for four rows than for one (2.0 against
2.7 ms for all matrices of a 7M model, on one core of an AMD EPYC with AVX-512)."""
PACKED_FOR = 32
"""Rows the packing has in mind; packed for 1 or 4 the kernel was slower at every number of rows."""
PROBED_ROWS = 48
"""Rows with which a matrix is tried when it is packed."""


class Linear:
    """x·Wᵀ + b for few rows, with weights packed once; a row's result is the same whatever rows stand beside it.

    That is tried out on the spot (`alone_as_together`). Where no packed kernel exists the rows are filled up to the
    smallest multiple with which plain matrix multiplication keeps the promise; `independent` says whether any does.
    """

    def __init__(self, weight: Float[Tensor, "N K"], bias: Float[Tensor, " N"] | None, dtype: torch.dtype) -> None:
        self.weight = weight.to(dtype).contiguous()
        self.bias = None if bias is None else bias.to(dtype)
        self.multiple, self.independent = 1, True
        self.packed = pack(self.weight)
        if self.packed is not None and alone_as_together(self, 1):
            self.weight = self.weight[:0]
            return
        self.packed = None
        if weight.device.type == "cpu":
            works = [multiple for multiple in (1, 4, 8, 16) if alone_as_together(self, multiple)]
            self.multiple, self.independent = (works[0], True) if works else (1, False)
        else:
            self.independent = False

    def __call__(self, x: Float[Tensor, "M K"], added: Float[Tensor, "M N"] | None = None) -> Float[Tensor, "M N"]:
        """`added` joins the result: a residual stream, say."""
        if self.packed is not None:
            kernel = torch.ops.mkldnn._linear_pointwise
            if added is None:
                result: Tensor = kernel(x, self.packed, self.bias, "none", [], "")
            else:
                result = kernel.binary(x, added, self.packed, self.bias, "add")
            return result
        rows = x.shape[0]
        if missing := -rows % self.multiple:
            x = F.pad(x, (0, 0, 0, missing))
        result = F.linear(x, self.weight, self.bias)[:rows]
        return result if added is None else result + added


def pack(weight: Float[Tensor, "N K"]) -> Tensor | None:
    """The matrix in oneDNN's own layout, or None where this machine or this PyTorch has no such kernel."""
    if weight.device.type != "cpu":
        return None
    try:
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR)
        torch.ops.mkldnn._linear_pointwise(weight.new_zeros(1, weight.shape[1]), packed, None, "none", [], "")
    except (AttributeError, RuntimeError):
        return None
    return packed


def alone_as_together(linear: Linear, multiple: int) -> bool:
    """Whether rows computed by few give bit by bit what they give among many."""
    linear.multiple = multiple
    generator = torch.Generator().manual_seed(0)
    stored = linear.weight
    x = torch.randn(PROBED_ROWS, stored.shape[1], generator=generator).to(stored.dtype)
    together = linear(x)
    return all(torch.equal(linear(x[:rows]), together[:rows]) for rows in (1, 2, 3, 5, 8, 17, 32))


@dataclass(frozen=True)
class PackedBlock:
    """One layer's matrices, with what stands in front of them multiplied in."""

    attention_norm: tuple[Tensor, Tensor | None] | None
    """Weight and bias of a LayerNorm; None for RMSNorm, whose weight is in the matrix."""
    queries_keys_values: Linear
    head_norm: Tensor | None
    """(H + Hkv, Dh): weights of the queries' and keys' own norm, where there is one."""
    output: Linear
    feed_forward_norm: tuple[Tensor, Tensor | None] | None
    up: Linear
    """Gate and up in one, for SwiGLU."""
    down: Linear


class PackedDecoder:
    """Computes what `Decoder.hidden` and `Decoder.logits` compute, to rounding, for the engine."""

    def __init__(self, model: Decoder, dtype: torch.dtype = torch.float32) -> None:
        self.config, self.dtype = model.config, dtype
        self.device = model.embedding.weight.device
        c = model.config
        with torch.inference_mode():
            self.embedding = model.embedding.weight.detach().to(dtype)
            learned = model.position_embedding
            self.position_embedding = None if learned is None else learned.weight.detach().to(dtype)
            self.rotations = None
            if model.rotary is not None:
                self.rotations = torch.complex(model.rotary.cosines.float(), model.rotary.sines.float())
            self.blocks = [self._pack_block(block) for block in model.blocks if isinstance(block, Block)]
            assert len(self.blocks) == c.layers, "every block must be packed"
            head, self.norm = fold_norm(model.norm, model.head.weight.detach(), None, c.norm == "rms")
            self.head = Linear(*head, dtype)
            self.smallest = torch.tensor(math.sqrt(c.norm_eps * c.width), device=self.device)
            self.smallest_head = torch.tensor(math.sqrt(c.norm_eps * c.head_width), device=self.device)

    @property
    def independent(self) -> bool:
        """Whether every matrix was found to give a row the same result alone and among others."""
        linears = [part for block in self.blocks for part in vars(block).values() if isinstance(part, Linear)]
        return all(linear.independent for linear in [*linears, self.head])

    def _pack_block(self, block: Block) -> PackedBlock:
        c, attention, feed_forward = self.config, block.attention, block.feed_forward
        weights, biases = [], []
        scale = c.head_width**-0.5
        for layer, heads in ((attention.query, c.heads), (attention.key, c.kv_heads), (attention.value, c.kv_heads)):
            turned = c.positions == "rope" and layer is not attention.value
            factor = scale if layer is attention.query and not c.qk_norm else 1.0
            weights.append(interleave(layer.weight.detach() * factor, heads, turned))
            if layer.bias is not None:
                biases.append(interleave(layer.bias.detach() * factor, heads, turned))
        bias = torch.cat(biases) if biases else None
        rms = c.norm == "rms"
        queries_keys_values, attention_norm = fold_norm(block.attention_norm, torch.cat(weights), bias, rms)
        up_weight: Tensor = feed_forward.up.weight.detach()
        up_bias: Tensor | None = feed_forward.up.bias
        if feed_forward.gate is not None:
            up_weight = torch.cat((feed_forward.gate.weight.detach(), up_weight))
            up_bias = None if up_bias is None else torch.cat((feed_forward.gate.bias.detach(), up_bias.detach()))
        up, feed_forward_norm = fold_norm(block.feed_forward_norm, up_weight, up_bias, rms)
        return PackedBlock(
            attention_norm=attention_norm,
            queries_keys_values=Linear(*queries_keys_values, self.dtype),
            head_norm=self._head_norm(block, scale),
            output=Linear(attention.output.weight.detach(), attention.output.bias, self.dtype),
            feed_forward_norm=feed_forward_norm,
            up=Linear(*up, self.dtype),
            down=Linear(feed_forward.down.weight.detach(), feed_forward.down.bias, self.dtype),
        )

    def _head_norm(self, block: Block, scale: float) -> Tensor | None:
        query, key = block.attention.query_norm, block.attention.key_norm
        if query is None or key is None:
            return None
        c = self.config
        turned = c.positions == "rope"
        root = math.sqrt(c.head_width)
        rows = [interleave(query.weight.detach() * root * scale, 1, turned)] * c.heads
        rows += [interleave(key.weight.detach() * root, 1, turned)] * c.kv_heads
        return torch.stack(rows)

    @torch.inference_mode()
    def hidden(
        self, tokens: Int[Tensor, "R T"], positions: Int[Tensor, "R T"], cache: SlotCache, fresh: bool
    ) -> Float[Tensor, "R T D"]:
        """One pass that reads `tokens` at `positions`, announced to `cache` by `begin`. `fresh`: the texts begin here,
        so they look at nothing but these tokens; otherwise T is 1. What the output layer reads, without its norm.
        """
        rows, length = tokens.shape
        x = F.embedding(tokens.reshape(-1), self.embedding)
        if self.position_embedding is not None:
            x = x + F.embedding(positions.reshape(-1), self.position_embedding)
        x = filled(x)
        rotation = None if self.rotations is None else self.rotations[positions.reshape(-1)].unsqueeze(1)
        bias = None if fresh else self._bias(cache)
        for layer, block in enumerate(self.blocks):
            mixed = self._attention(layer, block, x, rotation, cache, bias, (rows, length))
            x = block.output(filled(mixed), added=x)
            x = block.down(self._inner(block, x), added=x)
        return x[: rows * length].view(rows, length, -1)

    @torch.inference_mode()
    def logits(self, hidden: Float[Tensor, "R D"]) -> Float[Tensor, "R V"]:
        """In single precision, whatever the weights' is."""
        return self.head(self._normalise(filled(hidden), self.norm))[: hidden.shape[0]].float()

    def _bias(self, cache: SlotCache) -> Float[Tensor, "R*Hkv 1 S"]:
        """0 where a slot may look, −∞ where not, for every head."""
        mask = cache.mask.squeeze(1).repeat_interleave(self.config.kv_heads, dim=0)
        return torch.zeros(mask.shape, dtype=self.dtype, device=self.device).masked_fill_(~mask, -math.inf)

    def _normalise(self, x: Float[Tensor, "M D"], layer_norm: tuple[Tensor, Tensor | None] | None) -> Tensor:
        if layer_norm is not None:
            weight, bias = layer_norm
            return F.layer_norm(
                x, x.shape[-1:], weight.to(x.dtype), None if bias is None else bias.to(x.dtype), self.config.norm_eps
            )
        # x ÷ √(Σx² + D·ε); the factor √D and the norm's weight are in the matrix that follows.
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        return (x / torch.hypot(length, self.smallest)).to(x.dtype)

    def _attention(
        self,
        layer: int,
        block: PackedBlock,
        x: Float[Tensor, "M D"],
        rotation: Tensor | None,
        cache: SlotCache,
        bias: Tensor | None,
        shape: tuple[int, int],
    ) -> Float[Tensor, "M H*Dh"]:
        c, (rows, length) = self.config, shape
        heads = block.queries_keys_values(self._normalise(x, block.attention_norm))[: rows * length]
        heads = heads.view(rows * length, -1, c.head_width)
        turning = heads[:, : c.heads + c.kv_heads]
        if block.head_norm is not None:
            norms = torch.linalg.vector_norm(turning, dim=-1, keepdim=True, dtype=torch.float32)
            turning.div_(torch.hypot(norms, self.smallest_head)).mul_(block.head_norm)
        if rotation is not None:
            turn(turning, rotation)
        heads = heads.view(rows, length, -1, c.head_width)
        keys, values = cache.write(layer, heads[:, :, c.heads :])
        if bias is not None:
            # One token per slot; the heads of a group stand as the rows of one product.
            queries = heads[:, 0, : c.heads].reshape(rows * c.kv_heads, -1, c.head_width)
            scores = torch.baddbmm(bias, queries, keys.reshape(queries.shape[0], -1, c.head_width).transpose(1, 2))
            mixed = torch.bmm(scores.softmax(-1), values.reshape(queries.shape[0], -1, c.head_width))
            return mixed.view(rows, -1)
        queries, keys, values = torch.split(heads.transpose(1, 2), [c.heads, c.kv_heads, c.kv_heads], dim=1)
        mixed = F.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, scale=1.0, enable_gqa=c.heads != c.kv_heads
        )
        return mixed.transpose(1, 2).reshape(rows * length, -1)

    def _inner(self, block: PackedBlock, x: Float[Tensor, "M D"]) -> Float[Tensor, "M F"]:
        inner = block.up(self._normalise(x, block.feed_forward_norm))
        if self.config.activation == "swiglu":
            gate, up = inner.chunk(2, dim=-1)
            return F.silu(gate).mul_(up)
        return F.gelu(inner, approximate="tanh" if self.config.activation == "gelu_tanh" else "none")


def filled(x: Float[Tensor, "M D"]) -> Float[Tensor, "M D"]:
    """At least FEWEST_ROWS rows, the last of them zeros."""
    missing = FEWEST_ROWS - x.shape[0]
    return F.pad(x, (0, 0, 0, missing)) if missing > 0 else x


def fold_norm(
    norm: torch.nn.Module, weight: Float[Tensor, "N K"], bias: Tensor | None, rms: bool
) -> tuple[tuple[Tensor, Tensor | None], tuple[Tensor, Tensor | None] | None]:
    """((weight, bias) of the matrix behind a norm, what is left to do of the norm)."""
    scale: Tensor = norm.get_parameter("weight").detach()
    bias = None if bias is None else bias.detach()
    if rms:
        return (weight * (scale * math.sqrt(len(scale))), bias), None
    shift = norm.bias
    return (weight, bias), (scale, shift.detach() if isinstance(shift, Tensor) else None)


def interleave(weight: Tensor, heads: int, turned: bool) -> Tensor:
    """Reorders the rows of each head from (first half, second half) to pairs, the form of complex numbers. Queries and
    keys are reordered alike, so their products stay what they are.
    """
    if not turned:
        return weight
    halves = weight.view(heads, 2, -1, *weight.shape[1:])
    return halves.transpose(1, 2).reshape(weight.shape)


def turn(heads: Float[Tensor, "M H Dh"], rotation: Tensor) -> None:
    """Turns each pair by its position's angle, in place."""
    if heads.dtype == torch.float32:
        torch.view_as_complex(heads.view(*heads.shape[:-1], -1, 2)).mul_(rotation)
    else:
        pairs = torch.view_as_complex(heads.float().view(*heads.shape[:-1], -1, 2))
        heads.copy_(torch.view_as_real(pairs * rotation).flatten(-2))
