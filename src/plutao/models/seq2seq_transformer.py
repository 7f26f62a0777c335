"""The Transformer as it was first (Vaswani et al. 2017; the book's section 4.5): encoder, decoder, and nothing but attention.

As in the paper: sinusoidal positions, embeddings times √D, one table for both languages and the output, a norm behind each
sub-layer (post-norm) and none at the end, ReLU, attention without biases; dropout of the sums of embeddings and positions, and
of what each sub-layer gives before it is added.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from plutao.models.parts import attention_weights, plain_is_faster
from plutao.models.seq2seq import Seq2Seq, Seq2SeqConfig, State


def sinusoids(length: int, width: int) -> Float[Tensor, "T D"]:
    """sin and cos of position ÷ 10000^(2i/D), in turn (section 3.5 of the paper)."""
    frequencies = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).float()


class MultiHeadAttention(nn.Module):
    """Some positions look at others: softmax(q · k ÷ √Dh) · v, in several heads (section 3.2.2 of the paper)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def split(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T Dh"]:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def keys_and_values(self, x: Float[Tensor, "B S D"]) -> tuple[Float[Tensor, "B H S Dh"], Float[Tensor, "B H S Dh"]]:
        return self.split(self.key(x)), self.split(self.value(x))

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        keys: Float[Tensor, "B H S Dh"],
        values: Float[Tensor, "B H S Dh"],
        mask: Bool[Tensor, "B 1 T S"] | None,
        maps: list[Tensor] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """`mask` is True where x may look; None: everywhere. Weights (B, H, T, S) are added to `maps` where there is one."""
        queries = self.split(self.query(x))
        if maps is not None or plain_is_faster(queries):
            everything = torch.ones(1, 1, 1, keys.shape[2], dtype=torch.bool, device=x.device)
            weights = attention_weights(queries, keys, everything if mask is None else mask)
            mixed = weights.to(values.dtype) @ values
            if maps is not None:
                maps.append(weights)
        else:
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


class FeedForward(nn.Module):
    """max(0, x·W₁ + b₁)·W₂ + b₂ (section 3.3 of the paper)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        output: Tensor = self.down(F.relu(self.up(x)))
        return output


class EncoderLayer(nn.Module):
    """Each position looks at all others, then thinks by itself."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(config.width, config.heads)
        self.attention_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config.width, config.hidden)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.dropout = config.dropout

    def forward(
        self, x: Float[Tensor, "B S D"], mask: Bool[Tensor, "B 1 1 S"], maps: list[Tensor] | None = None
    ) -> Float[Tensor, "B S D"]:
        keys, values = self.attention.keys_and_values(x)
        x = self.attention_norm(x + self.drop(self.attention(x, keys, values, mask, maps)))
        normed: Tensor = self.feed_forward_norm(x + self.drop(self.feed_forward(x)))
        return normed

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class DecoderLayer(nn.Module):
    """Each position looks at itself and those before it, then at all that was read, then thinks by itself."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(config.width, config.heads)
        self.attention_norm = nn.LayerNorm(config.width)
        self.cross = MultiHeadAttention(config.width, config.heads)
        self.cross_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config.width, config.hidden)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.dropout = config.dropout

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        before: tuple[Tensor, Tensor],
        mask: Bool[Tensor, "1 1 T T"] | None,
        memory: tuple[Tensor, Tensor],
        memory_mask: Bool[Tensor, "B 1 1 S"],
        maps: tuple[list[Tensor], list[Tensor]] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """`before` are keys and values of all positions that x may look at, `memory` those of what was read."""
        own, other = maps if maps is not None else (None, None)
        x = self.attention_norm(x + self.drop(self.attention(x, *before, mask, own)))
        x = self.cross_norm(x + self.drop(self.cross(x, *memory, memory_mask, other)))
        normed: Tensor = self.feed_forward_norm(x + self.drop(self.feed_forward(x)))
        return normed

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Transformer(Seq2Seq):
    """Six and six layers, eight heads, width 512, hidden 2048 are the paper's base model."""

    positions: Tensor

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__(config)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.register_buffer("positions", sinusoids(256, config.width), persistent=False)

    @property
    def decoder_layers(self) -> list[DecoderLayer]:
        return cast("list[DecoderLayer]", list(self.decoder))

    def initialise(self, seed: int) -> None:
        """Glorot's uniform for matrices; embeddings of deviation D^−½, so that √D times them has deviation 1."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in self.modules():
                if isinstance(module, nn.Linear) and module is not self.head:
                    nn.init.xavier_uniform_(module.weight)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
            for table in {self.source_embedding.weight, self.embedding.weight, self.head.weight}:
                nn.init.normal_(table, std=self.config.width**-0.5)

    def embed(self, table: nn.Embedding, tokens: Int[Tensor, "B T"], place: int = 0) -> Float[Tensor, "B T D"]:
        """Embeddings and positions, the first token standing at `place`."""
        needed = place + tokens.shape[1]
        if needed > len(self.positions):
            self.positions = sinusoids(2 * needed, self.config.width).to(self.positions.device)
        x = table(tokens) * math.sqrt(self.config.width) + self.positions[place:needed]
        return F.dropout(x, self.config.dropout, self.training)

    def encode(
        self, source: Int[Tensor, "B S"], maps: list[Tensor] | None = None
    ) -> tuple[Float[Tensor, "B S D"], Bool[Tensor, "B 1 1 S"]]:
        """The representation R of the book's BOX 10, and where it may be looked at."""
        mask = self.present(source)[:, None, None]
        x = self.embed(self.source_embedding, source)
        for layer in self.encoder:
            x = layer(x, mask, maps)
        return x, mask

    def hidden(self, source: Int[Tensor, "B S"], tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        return self.decode(*self.encode(source), tokens)

    def decode(
        self,
        read: Float[Tensor, "B S D"],
        memory_mask: Bool[Tensor, "B 1 1 S"],
        tokens: Int[Tensor, "B T"],
        maps: tuple[list[Tensor], list[Tensor]] | None = None,
    ) -> Float[Tensor, "B T D"]:
        length = tokens.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()[None, None]
        x = self.embed(self.embedding, tokens)
        for layer in self.decoder_layers:
            memory = layer.cross.keys_and_values(read)
            x = layer(x, layer.attention.keys_and_values(x), mask, memory, memory_mask, maps)
        return x

    def start(self, source: Int[Tensor, "B S"]) -> State:
        read, mask = self.encode(source)
        both = [layer.cross.keys_and_values(read) for layer in self.decoder_layers]
        return {
            "memory_mask": mask,
            "memory_keys": torch.stack([keys for keys, _ in both], dim=1),
            "memory_values": torch.stack([values for _, values in both], dim=1),
        }

    def advance(self, tokens: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        place = state["keys"].shape[3] if "keys" in state else 0
        x = self.embed(self.embedding, tokens[:, None], place)
        new_keys, new_values = [], []
        for number, layer in enumerate(self.decoder_layers):
            keys, values = layer.attention.keys_and_values(x)
            if place:
                keys = torch.cat((state["keys"][:, number], keys), dim=2)
                values = torch.cat((state["values"][:, number], values), dim=2)
            memory = (state["memory_keys"][:, number], state["memory_values"][:, number])
            x = layer(x, (keys, values), None, memory, state["memory_mask"])
            new_keys.append(keys)
            new_values.append(values)
        written = {"keys": torch.stack(new_keys, dim=1), "values": torch.stack(new_values, dim=1)}
        return self.head(x[:, 0]), state | written

    def attention(
        self, source: Int[Tensor, "B S"], tokens: Int[Tensor, "B T"]
    ) -> dict[str, Float[Tensor, "B L H Q K"]]:
        of_encoder: list[Tensor] = []
        of_decoder: tuple[list[Tensor], list[Tensor]] = ([], [])
        self.decode(*self.encode(source, of_encoder), tokens, of_decoder)
        own, cross = of_decoder
        named = {"encoder": of_encoder, "decoder": own, "cross": cross}
        return {name: torch.stack(maps, dim=1) for name, maps in named.items()}
