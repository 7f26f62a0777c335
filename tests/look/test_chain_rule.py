"""The chain rule's product is the model's loss, told token by token; bits per byte are the same number again."""

import math

import pytest
import torch
import torch.nn.functional as F

from plutao.evaluate.perplexity import bits_per_byte
from plutao.look.chain_rule import chain_rule, view
from plutao.look.next_token import next_tokens
from plutao.models.decoder import Decoder
from plutao.text.tokenizer import Tokenizer

TEXT = "Plutão conversa com o Sol. O Sol escuta."


def test_the_sum_is_the_loss_times_the_tokens(model: Decoder, tokenizer: Tokenizer) -> None:
    tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(TEXT)]])
    loss = F.cross_entropy(model(tokens[:, :-1])[0], tokens[0, 1:]).item()
    seen = chain_rule(model, tokenizer, TEXT)
    assert -seen.log_probability == pytest.approx(loss * (tokens.shape[1] - 1), rel=1e-5)
    assert seen.perplexity == pytest.approx(math.exp(loss), rel=1e-5)


def test_the_product_of_the_factors_is_the_probability(model: Decoder, tokenizer: Tokenizer) -> None:
    """Formula 2.9."""
    seen = chain_rule(model, tokenizer, TEXT)
    assert [factor.id for factor in seen.factors] == tokenizer.encode(TEXT)
    assert seen.product == pytest.approx(math.prod(factor.probability for factor in seen.factors))
    running = 0.0
    for factor in seen.factors:
        running += factor.log_probability
        assert factor.running == pytest.approx(running)
        assert 0 < factor.probability <= 1


def test_bits_per_byte_are_those_of_the_evaluation(model: Decoder, tokenizer: Tokenizer) -> None:
    measured = bits_per_byte(model, tokenizer, [TEXT])
    assert chain_rule(model, tokenizer, TEXT).bits_per_byte == pytest.approx(measured.bits_per_byte, rel=1e-4)


def test_the_first_factor_is_how_probably_a_document_begins_so(model: Decoder, tokenizer: Tokenizer) -> None:
    """P(t₁): what may come after <|endoftext|>."""
    for each in next_tokens(model, tokenizer, "", top=5).candidates:
        assert chain_rule(model, tokenizer, each.text).product == pytest.approx(each.probability, rel=1e-5)


def test_a_known_sentence_is_more_probable_than_the_same_words_shuffled(model: Decoder, tokenizer: Tokenizer) -> None:
    known = chain_rule(model, tokenizer, "The Sun is a star.")
    shuffled = chain_rule(model, tokenizer, "star The is Sun a.")
    assert known.perplexity < shuffled.perplexity / 5


def test_a_long_text_has_a_logarithm_even_where_the_product_vanishes(model: Decoder, tokenizer: Tokenizer) -> None:
    seen = chain_rule(model, tokenizer, "qQzZ" * 14)
    shown = view(seen, "pt")
    assert seen.log_probability < -100
    assert len(shown.rows) == len(shown.figure.data[0].x) == len(seen.factors)
    assert "10⁻" in shown.note


def test_the_staircase_ends_at_the_total(model: Decoder, tokenizer: Tokenizer) -> None:
    seen = chain_rule(model, tokenizer, TEXT)
    bar = view(seen).figure.data[0]
    assert bar.base[-1] + bar.y[-1] == pytest.approx(seen.log_probability)
    assert view(seen).rows[1][0].startswith("P(")
    assert " | " in view(seen).rows[1][0]
