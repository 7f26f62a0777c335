"""Filling in: holes are found, signs are never offered, and what is shown are the model's probabilities."""

import pytest
import torch

from plutao.errors import UserError
from plutao.look.fill import fill, view
from plutao.models.encoder import EncoderConfig, MaskedModel
from plutao.text.bert import join, signs_of
from plutao.text.tokenizer import Tokenizer, train

TEXTS = ["O planeta Plutão é pequeno.", "A lua de Plutão é Caronte.", "O gelo de Plutão é antigo."] * 4


@pytest.fixture(scope="module")
def bert() -> tuple[MaskedModel, Tokenizer]:
    tokenizer = train("wordpiece", TEXTS, 80)
    model = MaskedModel(EncoderConfig(tokenizer.vocabulary_size + 5, 24, 1, 16, 2, 32))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.5, generator=generator)
    return model.eval(), tokenizer


def test_each_hole_gets_the_model_s_probabilities(bert: tuple[MaskedModel, Tokenizer]) -> None:
    model, tokenizer = bert
    found = fill(model, tokenizer, "O [MASK] de Plutão é [MASK].", top=5)
    assert [len(hole.guesses) for hole in found.holes] == [5, 5]
    signs = signs_of(tokenizer)
    ids = [
        *tokenizer.encode("O"),
        signs.mask,
        *tokenizer.encode("de Plutão é"),
        signs.mask,
        *tokenizer.encode("."),
    ]
    row = torch.tensor([join(signs, ids, None, 24).tokens])
    scores = model(row)[0, row[0] == signs.mask]
    scores[:, list(tokenizer.special_ids)] = float("-inf")
    scores[:, tokenizer.vocabulary_size :] = float("-inf")
    likely = scores.softmax(-1).max(-1)
    assert [hole.guesses[0].id for hole in found.holes] == likely.indices.tolist()
    assert [hole.guesses[0].probability for hole in found.holes] == pytest.approx(likely.values.tolist())
    assert "[MASK]" not in found.filled


def test_a_text_needs_a_hole_and_must_fit(bert: tuple[MaskedModel, Tokenizer]) -> None:
    with pytest.raises(UserError, match=r"write \[MASK\]"):
        fill(*bert, "O planeta")
    with pytest.raises(UserError, match="this model reads 22"):
        fill(*bert, "planeta " * 30 + "[MASK]")


def test_a_byte_level_tokenizer_fills_in_too() -> None:
    """There the blank belongs to the word that is looked for."""
    tokenizer = train("bpe", TEXTS, 290)
    model = MaskedModel(EncoderConfig(tokenizer.vocabulary_size, 32, 1, 16, 2, 32)).eval()
    found = fill(model, tokenizer, "O planeta [MASK] é", top=2)
    assert found.filled.startswith("O planeta") and found.filled.endswith(" é")


@pytest.mark.parametrize("language", ["en", "pt"])
def test_the_view_has_a_table_and_a_figure_for_each_hole(bert: tuple[MaskedModel, Tokenizer], language: str) -> None:
    views = view(fill(*bert, "O [MASK] é [MASK].", top=4), language)
    assert len(views) == 2
    assert all(len(one.rows) == 4 and len(one.figure.data[0].x) == 4 for one in views)
