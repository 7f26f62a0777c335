"""A decoder's weights laid out for writing one token at a time.

`Decoder` is made to be read and trained. At one token per step its time goes into calling some three hundred small
operations, so this form of the same function needs fewer: queries, keys and values are one matrix, gate and up another;
the norms' weights are multiplied into the matrix that follows; the halves of a head are interleaved so that a rotary
position is one complex product (Su et al. 2021, section 3.2.1). Matrices are packed once in the layout that the CPU's
matrix kernel reads (oneDNN), which has a second virtue: a row's result does not depend on the rows beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from plutao.generate.cache import Chunk, SlotCache
from plutao.models.decoder import Block, Decoder, DecoderConfig

FEWEST_ROWS = 4
"""Fewer rows are filled up to this many: the packed kernel reads a matrix faster for four rows than for one (2.0 against
2.7 ms for all matrices of a 7M model, on one core of an AMD EPYC with AVX-512)."""
PACKED_FOR = 32
"""Rows the packing has in mind; packed for 1 or 4 the kernel was slower at every number of rows."""
PROBED_ROWS = 48
"""Rows with which a matrix is tried when it is packed."""
READ_STEP = 32
"""A prompt is filled up to a multiple of this many tokens: its shape depends on its own length alone."""


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


Folded = tuple[Tensor, Tensor | None]
"""A matrix (N, K) and its bias (N)."""


@dataclass(frozen=True)
class FoldedBlock:
    """One layer's matrices, with what stands in front of them multiplied in; for SwiGLU `up` is gate and up in one."""

    attention_norm: Folded | None
    """Weight and bias of a LayerNorm; None for RMSNorm, whose weight is in the matrix."""
    queries_keys_values: Folded
    head_norm: Float[Tensor, "heads Dh"] | None
    """Weights of the queries' and keys' own norm, where there is one, with √Dh; the scale of attention is in here or in
    the queries' matrix."""
    output: Folded
    feed_forward_norm: Folded | None
    up: Folded
    down: Folded


def fold_block(block: Block, config: DecoderConfig) -> FoldedBlock:
    attention, feed_forward = block.attention, block.feed_forward
    scale, rms = config.head_width**-0.5, config.norm == "rms"
    head_norm, in_matrix = None, scale
    if attention.query_norm is not None and attention.key_norm is not None:
        root, in_matrix = math.sqrt(config.head_width), 1.0
        queries = attention.query_norm.weight.detach() * (root * scale)
        keys = attention.key_norm.weight.detach() * root
        head_norm = torch.stack([queries] * config.heads + [keys] * config.kv_heads)
    weight, bias = join([attention.query, attention.key, attention.value])
    scales = torch.ones(len(weight), device=weight.device)
    scales[: config.heads * config.head_width] = in_matrix
    scaled = (weight * scales.unsqueeze(1), None if bias is None else bias * scales)
    layers = [feed_forward.up] if feed_forward.gate is None else [feed_forward.gate, feed_forward.up]
    qkv_folded, attention_norm = fold_norm(block.attention_norm, *scaled, rms)
    up, feed_forward_norm = fold_norm(block.feed_forward_norm, *join(layers), rms)
    return FoldedBlock(
        attention_norm=attention_norm,
        queries_keys_values=qkv_folded,
        head_norm=head_norm,
        output=join([attention.output]),
        feed_forward_norm=feed_forward_norm,
        up=up,
        down=join([feed_forward.down]),
    )


@dataclass(frozen=True)
class PackedBlock:
    """A folded layer, its matrices packed and its heads interleaved."""

    attention_norm: Folded | None
    queries_keys_values: Linear
    head_norm: Tensor | None
    output: Linear
    feed_forward_norm: Folded | None
    up: Linear
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
        """Whether a row's result is the same alone and among others: in fp32, if every matrix was found to keep that."""
        linears = [part for block in self.blocks for part in vars(block).values() if isinstance(part, Linear)]
        return self.dtype == torch.float32 and all(linear.independent for linear in [*linears, self.head])

    def _pack_block(self, block: Block) -> PackedBlock:
        c, folded = self.config, fold_block(block, self.config)
        turned = (c.heads + c.kv_heads) * c.head_width if c.positions == "rope" else 0
        queries_keys_values = [
            None if part is None else torch.cat((interleave(part[:turned], c.head_width), part[turned:]))
            for part in folded.queries_keys_values
        ]
        assert queries_keys_values[0] is not None
        head_norm = folded.head_norm
        if head_norm is not None and turned:
            head_norm = interleave(head_norm.flatten(), c.head_width).view_as(head_norm)
        return PackedBlock(
            attention_norm=folded.attention_norm,
            queries_keys_values=Linear(queries_keys_values[0], queries_keys_values[1], self.dtype),
            head_norm=head_norm,
            output=Linear(*folded.output, self.dtype),
            feed_forward_norm=folded.feed_forward_norm,
            up=Linear(*folded.up, self.dtype),
            down=Linear(*folded.down, self.dtype),
        )

    def read(self, cache: SlotCache, start: int, rows: Sequence[Sequence[int]]) -> Float[Tensor, "R V"]:
        """Reads each row into the slot `start`, `start` + 1 …; the logits after the last token of each. Rows are filled
        up to a common length that is a multiple of READ_STEP.
        """
        length = filled_length(max(len(row) for row in rows))
        tokens = torch.tensor([[*row, *([0] * (length - len(row)))] for row in rows], device=self.device)
        positions = torch.arange(length, device=self.device).expand(len(rows), -1)
        cache.reserve(length)
        cache.begin(start, positions)
        hidden = self.hidden(tokens, positions.clamp(max=self.config.context - 1), cache, fresh=True)
        last = torch.tensor([len(row) - 1 for row in rows], device=self.device)
        return self.logits(hidden[torch.arange(len(rows), device=self.device), last])

    def step(self, cache: SlotCache, tokens: Sequence[int], places: Sequence[int]) -> Float[Tensor, "R V"]:
        """Reads one token into each of the first slots, at its place; the logits after it."""
        positions = torch.tensor(places, device=self.device).unsqueeze(1)
        cache.reserve(max(places) + 1)
        cache.begin(0, positions)
        hidden = self.hidden(torch.tensor(tokens, device=self.device).unsqueeze(1), positions, cache, fresh=False)
        return self.logits(hidden[:, 0])

    def mixed(
        self, cache: SlotCache, tokens: Sequence[int], places: Sequence[int], chunks: Sequence[Chunk]
    ) -> tuple[Float[Tensor, "R V"], list[Float[Tensor, "W V"]]]:
        """As `step`, and each chunk into its slot, in a pass of its own: (the logits of the first slots, those that each
        chunk wants).
        """
        empty = torch.empty(0, self.config.vocabulary, device=self.device)
        first = self.step(cache, tokens, places) if tokens else empty
        others = []
        for chunk in chunks:
            positions = torch.arange(chunk.start, chunk.start + len(chunk.tokens), device=self.device).unsqueeze(0)
            cache.reserve(chunk.start + len(chunk.tokens))
            cache.begin(chunk.slot, positions)
            row = torch.tensor([list(chunk.tokens)], device=self.device)
            hidden = self.hidden(row, positions, cache, fresh=False)[0]
            others.append(self.logits(hidden[len(hidden) - chunk.wanted :]) if chunk.wanted else empty)
        return first, others

    @torch.inference_mode()
    def hidden(
        self, tokens: Int[Tensor, "R T"], positions: Int[Tensor, "R T"], cache: SlotCache, fresh: bool
    ) -> Float[Tensor, "R T D"]:
        """One pass that reads `tokens` at `positions`, announced to `cache` by `begin`. `fresh`: the texts begin here,
        so they look at nothing but these tokens. What the output layer reads, without its norm.
        """
        rows, length = tokens.shape
        x = F.embedding(tokens.reshape(-1), self.embedding)
        if self.position_embedding is not None:
            x = x + F.embedding(positions.reshape(-1), self.position_embedding)
        x = filled(x)
        rotation = None if self.rotations is None else self.rotations[positions.reshape(-1)].unsqueeze(1)
        bias = None if fresh else cache.mask if length > 1 else self._bias(cache)
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
        if bias is not None and length == 1:
            # One token per slot; the heads of a group stand as the rows of one product.
            queries = heads[:, 0, : c.heads].reshape(rows * c.kv_heads, -1, c.head_width)
            scores = torch.baddbmm(bias, queries, keys.reshape(queries.shape[0], -1, c.head_width).transpose(1, 2))
            mixed = torch.bmm(scores.softmax(-1), values.reshape(queries.shape[0], -1, c.head_width))
            return mixed.view(rows, -1)
        if bias is None:
            queries, keys, values = torch.split(heads.transpose(1, 2), [c.heads, c.kv_heads, c.kv_heads], dim=1)
        else:
            queries = heads[:, :, : c.heads].transpose(1, 2)
        mixed = F.scaled_dot_product_attention(
            queries, keys, values, bias, is_causal=bias is None, scale=1.0, enable_gqa=c.heads != c.kv_heads
        )
        return mixed.transpose(1, 2).reshape(rows * length, -1)

    def _inner(self, block: PackedBlock, x: Float[Tensor, "M D"]) -> Float[Tensor, "M F"]:
        inner = block.up(self._normalise(x, block.feed_forward_norm))
        if self.config.activation == "swiglu":
            gate, up = inner.chunk(2, dim=-1)
            return F.silu(gate).mul_(up)
        return F.gelu(inner, approximate="tanh" if self.config.activation == "gelu_tanh" else "none")


def join(layers: Sequence[torch.nn.Linear]) -> Folded:
    """One layer that computes what several compute of the same input."""
    biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
    return torch.cat([layer.weight.detach() for layer in layers]), torch.cat(biases) if biases else None


def filled_length(tokens: int) -> int:
    return -(-tokens // READ_STEP) * READ_STEP


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


def interleave(weight: Tensor, head_width: int) -> Tensor:
    """Reorders the rows of each head from (first half, second half) to pairs, the form of complex numbers. Queries and
    keys are reordered alike, so their products stay what they are.
    """
    halves = weight.view(-1, 2, head_width // 2, *weight.shape[1:])
    return halves.transpose(1, 2).reshape(weight.shape)


def turn(heads: Float[Tensor, "M H Dh"], rotation: Tensor) -> None:
    """Turns each pair by its position's angle, in place."""
    if heads.dtype == torch.float32:
        torch.view_as_complex(heads.view(*heads.shape[:-1], -1, 2)).mul_(rotation)
    else:
        pairs = torch.view_as_complex(heads.float().view(*heads.shape[:-1], -1, 2))
        heads.copy_(torch.view_as_real(pairs * rotation).flatten(-2))
