"""The objectives of encoders, on models small enough to check by hand, and one batch learned by heart."""

import torch

from plutao.data.masking import MaskedBatch
from plutao.models.encoder import EncoderConfig, MaskedModel
from plutao.recipe import OptimizerSettings
from plutao.train.objectives_encoder import masked_language, readable
from plutao.train.optimizer import Optimizers

CONFIG = EncoderConfig(vocabulary=40, context=16, layers=2, width=32, heads=2, hidden=64, dropout=0.0)
BOTH = torch.tensor([0, 1, 0, 1])


def a_batch(follows: torch.Tensor) -> MaskedBatch:
    generator = torch.Generator().manual_seed(1)
    originals = torch.randint(5, 40, (4, 16), generator=generator)
    told = torch.rand(4, 16, generator=generator) < 0.25
    told[:, 3] = True
    segments = (torch.arange(16) > 7).long().expand(4, -1)
    present = torch.ones(4, 16, dtype=torch.bool)
    return MaskedBatch(torch.where(told, 3, originals), torch.where(told, originals, -100), segments, present, follows)


def test_the_loss_is_that_of_all_scores_at_the_masked_places() -> None:
    model, batch = MaskedModel(CONFIG), a_batch(torch.full((4,), -100))
    model.initialise(1)
    loss, told = masked_language()(model.eval(), batch)
    scores = model(batch.tokens, batch.present, batch.segments)
    expected = torch.nn.functional.cross_entropy(scores.flatten(0, 1), batch.targets.flatten(), ignore_index=-100)
    assert torch.allclose(loss, expected, atol=1e-6)
    assert told == {}


def test_one_batch_is_learned_by_heart_with_both_optimizers() -> None:
    for kind in ("adamw", "muon"):
        model, batch = MaskedModel(CONFIG, next_sentence=True), a_batch(BOTH)
        model.initialise(1)
        optimizer = Optimizers(
            model, OptimizerSettings(kind=kind, learning_rate=5e-3, matrix_learning_rate=5e-3), "cpu"
        )
        objective = masked_language()
        first = objective(model, batch)[0].item()
        for _ in range(120):
            loss, told = objective(model, batch)
            loss.backward()
            optimizer.step(1.0)
            optimizer.zero_grad()
        assert first > 3
        assert told["masked_loss"] < 0.2 and told["following_loss"] < 0.2, (kind, told)


def test_answers_are_looked_for_in_the_second_text_and_at_the_opening_sign() -> None:
    segments = torch.tensor([[0, 0, 0, 1, 1, 1, 0]])
    present = torch.tensor([[True] * 6 + [False]])
    assert readable(present, segments).tolist() == [[True, False, False, True, True, True, False]]
