"""A model reads a text: the tokens as it sees them, and what it expects after each."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plutao.errors import UserError
from plutao.models.decoder import Decoder
from plutao.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Reading:
    """Tokens read from their beginning: T positions. A text of n tokens has `<|endoftext|>` in front, so T = n + 1."""

    model: Decoder
    tokens: list[int]
    hidden: Float[Tensor, "T D"]

    @torch.inference_mode()
    def logits(self, position: int) -> Float[Tensor, " V"]:
        """The scores of each token that may come after this position (-1: after the whole text), in fp32."""
        return self.model.logits(self.hidden[position]).float().cpu()

    def log_probabilities(self, position: int) -> Float[Tensor, " V"]:
        """Natural logarithms of the probabilities of what comes after this position; softmax in double precision."""
        return self.logits(position).double().log_softmax(-1)


def read(model: Decoder, tokenizer: Tokenizer, text: str) -> Reading:
    """The model reads a text that stands at the beginning of a document, as in training.

    Raises:
        UserError: the text is longer than the model's context.
    """
    tokens = [tokenizer.end_of_text, *tokenizer.encode(text)]
    check_length(tokens, model.config.context)
    return read_tokens(model, tokens)


@torch.inference_mode()
def read_tokens(model: Decoder, tokens: list[int]) -> Reading:
    """The model reads tokens as they are, no more than its context holds; dropout is off."""
    assert 0 < len(tokens) <= model.config.context
    training = model.training
    model.eval()
    try:
        hidden = model.hidden(torch.tensor([tokens], device=model.embedding.weight.device))[0]
    finally:
        model.train(training)
    return Reading(model, tokens, hidden)


def check_length(tokens: list[int], context: int) -> None:
    if len(tokens) > context:
        raise UserError(
            f"The text has {len(tokens) - 1} tokens; after <|endoftext|>, which stands in front, the model's context "
            f"holds {context - 1}: shorten the text by {len(tokens) - context}."
        )


def drawable(model: Decoder, tokenizer: Tokenizer) -> int:
    """How many tokens can be drawn: what a model's table holds beyond the tokenizer's last token never is."""
    return min(model.config.vocabulary, tokenizer.vocabulary_size)
