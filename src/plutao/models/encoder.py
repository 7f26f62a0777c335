"""The encoder: every token sees every other one (BERT: Devlin et al. 2019; the book, section 2.12).

Here are the blocks, which the Vision Transformer shares, BERT itself, and its three heads: one that fills in what is
masked, one that judges a text or a pair of texts, one that marks where an answer begins and ends.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from plutao.errors import UserError
from plutao.models.parts import Activation, FeedForward, attention_weights, plain_is_faster

DEVIATION = 0.02
"""Of fresh weights (Devlin et al. 2019, published code: a truncated normal)."""


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder's shape."""

    vocabulary: int
    """Tokens it knows."""
    context: int
    """Longest row of tokens (T)."""
    layers: int
    width: int
    """Width of the residual stream (D)."""
    heads: int
    hidden: int
    """Width of the feed-forward layer."""
    segments: int = 2
    """Kinds of segment: the first text and the second one."""
    activation: Activation = "gelu"
    dropout: float = 0.1
    """Share dropped while training: of embeddings, and of what each layer adds."""
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        """Raises UserError where the heads do not share the width evenly."""
        if self.width % self.heads:
            raise UserError(
                f"A width of {self.width} can't be shared by {self.heads} heads: choose heads that divide the width."
            )


class SelfAttention(nn.Module):
    """Attention of several heads in both directions (Vaswani et al. 2017), with biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B 1 T T"] | None = None) -> Float[Tensor, "B T D"]:
        """`mask` says who may look (True) at whom; None: everybody at everybody."""
        queries, keys, values = self.apart(self.query(x)), self.apart(self.key(x)), self.apart(self.value(x))
        if plain_is_faster(queries):
            mixed = attention_weights(queries, keys, everyone(queries, mask)).to(values.dtype) @ values
        else:
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output

    def apart(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T Dh"]:
        rows, length, width = x.shape
        return x.view(rows, length, self.heads, width // self.heads).transpose(1, 2)

    def weights(
        self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B 1 T T"] | None = None
    ) -> Float[Tensor, "B H T T"]:
        """How much each position takes from each other one."""
        queries, keys = self.apart(self.query(x)), self.apart(self.key(x))
        return attention_weights(queries, keys, everyone(queries, mask))


def everyone(queries: Float[Tensor, "B H T Dh"], mask: Bool[Tensor, "B 1 T T"] | None) -> Bool[Tensor, "B 1 T T"]:
    """The mask; without one, a mask that hides nothing."""
    if mask is not None:
        return mask
    length = queries.shape[2]
    return torch.ones(1, 1, length, length, dtype=torch.bool, device=queries.device)


class EncoderBlock(nn.Module):
    """Attention and feed-forward layer. BERT normalises what each of them gives together with what it was given
    (post-norm, as Vaswani et al. 2017); the Vision Transformer normalises what each reads (`norm_first`).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        activation: Activation = "gelu",
        dropout: float = 0.0,
        norm_eps: float = 1e-12,
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads)
        self.attention_norm = nn.LayerNorm(width, eps=norm_eps)
        self.feed_forward = FeedForward(width, hidden, activation, bias=True)
        self.feed_forward_norm = nn.LayerNorm(width, eps=norm_eps)
        self.dropout, self.norm_first = dropout, norm_first

    def forward(self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B 1 T T"] | None = None) -> Float[Tensor, "B T D"]:
        if self.norm_first:
            x = x + self.drop(self.attention(self.attention_norm(x), mask))
            return x + self.drop(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.drop(self.attention(x, mask)))
        output: Tensor = self.feed_forward_norm(x + self.drop(self.feed_forward(x)))
        return output

    def weights(
        self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B 1 T T"] | None = None
    ) -> Float[Tensor, "B H T T"]:
        """The attention's weights for what comes into this block."""
        return self.attention.weights(self.attention_norm(x) if self.norm_first else x, mask)

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Encoder(nn.Module):
    """BERT without a head: embeddings of tokens, positions and segments, then post-norm blocks."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.embedding = nn.Embedding(c.vocabulary, c.width)
        self.position_embedding = nn.Embedding(c.context, c.width)
        self.segment_embedding = nn.Embedding(c.segments, c.width)
        self.embedding_norm = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.blocks = nn.ModuleList(
            EncoderBlock(c.width, c.heads, c.hidden, activation=c.activation, dropout=c.dropout, norm_eps=c.norm_eps)
            for _ in range(c.layers)
        )

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        present: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The vector of each token in its text.

        `present` is False where a row is filled up, and nobody looks there; `segments` is 0 for the first text, 1 for the
        second (all 0 where None).
        """
        x = self.embed(tokens, segments)
        mask = self.mask(present)
        for block in self.blocks:
            x = block(x, mask)
        return x

    def embed(self, tokens: Int[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None) -> Float[Tensor, "B T D"]:
        """What goes into the first block."""
        length = tokens.shape[1]
        assert length <= self.config.context, f"{length} tokens do not fit a context of {self.config.context}"
        places = torch.arange(length, device=tokens.device)
        kinds = torch.zeros_like(tokens) if segments is None else segments
        x = self.embedding(tokens) + self.segment_embedding(kinds) + self.position_embedding(places)
        normalised: Tensor = F.dropout(self.embedding_norm(x), self.config.dropout, self.training)
        return normalised

    @staticmethod
    def mask(present: Bool[Tensor, "B T"] | None) -> Bool[Tensor, "B 1 T T"] | None:
        """Who may look at whom: everybody at every token that is there."""
        if present is None:
            return None
        return present[:, None, None, :].expand(-1, 1, present.shape[1], -1)

    @torch.no_grad()
    def attention(
        self,
        tokens: Int[Tensor, "B T"],
        present: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> list[Float[Tensor, "B H T T"]]:
        """Of each layer, how much every token takes from every other one."""
        x, mask, seen = self.embed(tokens, segments), self.mask(present), []
        for block in self.blocks:
            assert isinstance(block, EncoderBlock)
            seen.append(block.weights(x, mask))
            x = block(x, mask)
        return seen


class Pooler(nn.Module):
    """The first token's vector through a layer of its own: what stands for the whole text (Devlin et al. 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, vectors: Float[Tensor, "B T D"]) -> Float[Tensor, "B D"]:
        return torch.tanh(self.dense(vectors[:, 0]))


class WithEncoder(nn.Module):
    """What the three models have in common."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)

    @property
    def blocks(self) -> nn.ModuleList:
        """The repeated block, which is compiled once for all layers."""
        return self.encoder.blocks

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Fresh weights, the same for the same seed: truncated normal with deviation 0.02, no biases, norms at 1."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.trunc_normal_(parameter, std=DEVIATION, a=-2 * DEVIATION, b=2 * DEVIATION, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)

    def count_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())


class MaskedModel(WithEncoder):
    """BERT as it is pretrained: it fills in masked tokens and, with `next_sentence`, tells whether B follows A.

    The output layer is the table of embeddings with a bias of its own.
    """

    def __init__(self, config: EncoderConfig, next_sentence: bool = False) -> None:
        super().__init__(config)
        self.transform = nn.Linear(config.width, config.width)
        self.transform_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))
        self.pooler = Pooler(config.width) if next_sentence else None
        self.score = nn.Linear(config.width, 2) if next_sentence else None

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        present: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """The scores of every token of the vocabulary at every position."""
        return self.logits(self.encoder(tokens, present, segments))

    def logits(self, vectors: Float[Tensor, "*rest D"]) -> Float[Tensor, "*rest V"]:
        """The scores where a token stands; computed only where they are asked for, which spares most of the work."""
        activate = "tanh" if self.config.activation == "gelu_tanh" else "none"
        x = self.transform_norm(F.gelu(self.transform(vectors), approximate=activate))
        return F.linear(x, self.encoder.embedding.weight, self.bias)

    def follows(self, vectors: Float[Tensor, "B T D"]) -> Float[Tensor, "B 2"]:
        """Scores of "B follows A" (0) and "B is from elsewhere" (1), in BERT's order."""
        assert self.pooler is not None and self.score is not None, "this model was not made to judge what follows"
        scores: Tensor = self.score(self.pooler(vectors))
        return scores


class SequenceModel(WithEncoder):
    """A text or a pair of texts gets a class, or a number where there is one output."""

    def __init__(self, config: EncoderConfig, outputs: int) -> None:
        super().__init__(config)
        self.outputs = outputs
        self.pooler = Pooler(config.width)
        self.score = nn.Linear(config.width, outputs)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        present: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B K"]:
        pooled = self.pooler(self.encoder(tokens, present, segments))
        scores: Tensor = self.score(F.dropout(pooled, self.config.dropout, self.training))
        return scores


class SpanModel(WithEncoder):
    """Extractive question answering: for every token, how well the answer begins and ends there."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.score = nn.Linear(config.width, 2)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        present: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T 2"]:
        scores: Tensor = self.score(self.encoder(tokens, present, segments))
        return scores


BertModel = MaskedModel | SequenceModel | SpanModel


def take_over(model: SequenceModel | SpanModel, pretrained: BertModel) -> None:
    """Gives a fresh model the encoder of a pretrained one, and its pooler where both have one."""
    model.encoder.load_state_dict(pretrained.encoder.state_dict())
    theirs = getattr(pretrained, "pooler", None)
    if isinstance(model, SequenceModel) and theirs is not None:
        model.pooler.load_state_dict(theirs.state_dict())
