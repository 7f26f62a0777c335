"""Answers that vary are told from answers that do not, and entropy is that of the model's own distribution."""

import math

import pytest
import torch

from plutao.evaluate.diversity import dice, distinct, measured, next_token_bits, self_similarity
from plutao.evaluate.responders import Said
from plutao.models.decoder import Decoder, DecoderConfig


def test_distinct_ngrams() -> None:
    answers = [["the", "sun"], ["the", "sun"], ["the", "moon"]]
    assert distinct(answers, 1) == pytest.approx(3 / 6)
    assert distinct(answers, 2) == pytest.approx(2 / 3)
    assert distinct(answers, 3) == 0.0


def test_two_answers_share_bigrams() -> None:
    assert dice(["a", "b"], ["a", "b"]) == 1.0
    assert dice(["a", "b"], ["c", "d"]) == 0.0
    assert dice(["a", "b"], ["a", "c"]) == pytest.approx(2 * 1 / 6), "< a"
    assert dice([], []) == 1.0
    assert self_similarity([["a"], ["a"], ["b"]]) == pytest.approx(1 / 3)


def test_an_assistant_that_always_says_the_same_varies_less() -> None:
    same = measured([["The Sun is a star."] * 4] * 5)
    varied = measured([["The Sun is a star.", "A star.", "Our nearest star!", "It's hot and far away"]] * 5)
    assert same.self_similarity.value == 1.0 and same.different.value == 0.25
    assert varied.self_similarity.value < 0.3 and varied.different.value == 1.0
    assert all(varied.distinct[n].value > same.distinct[n].value for n in (1, 2, 3))
    data = varied.as_json()
    assert set(data) == {"distinct_1", "distinct_2", "distinct_3", "self_similarity", "different", "draws"}
    assert data["draws"] == 4 and data["distinct_2"]["n"] == 5


def tiny() -> Decoder:
    shape = {"layers": 1, "width": 32, "heads": 2, "kv_heads": 2, "head_width": 16, "hidden": 64}
    model = Decoder(DecoderConfig(vocabulary=32, context=16, **shape))
    model.initialise(3)
    return model.eval()


def test_entropy_is_read_where_the_model_wrote() -> None:
    model = tiny()
    said = Said("", [1, 2, 3], [4, 5, 6, 7], [True, False, False, True])
    bits, tokens = next_token_bits(model, [said])
    with torch.inference_mode():
        rows = model(torch.tensor([[1, 2, 3, 4, 5, 6]]))[0].softmax(-1).double()
    expected = [-float((p * p.log()).sum()) / math.log(2) for p in (rows[2], rows[5])]
    assert tokens == 2 and bits == pytest.approx(sum(expected), rel=1e-5)


def test_answers_that_fill_the_context_are_read_from_their_end() -> None:
    bits, tokens = next_token_bits(tiny(), [Said("", list(range(20)), [1, 2, 3], [True] * 3)])
    assert tokens == 3 and 0 < bits <= 3 * 5.0001


def test_a_model_without_preferences_has_the_most_entropy() -> None:
    model = tiny()
    torch.nn.init.zeros_(model.embedding.weight)
    bits, tokens = next_token_bits(model, [Said("", [1], [2, 3], [True, True])])
    assert bits / tokens == pytest.approx(5.0, abs=1e-4), "log2 of 32"
