"""What a network looks at: classes, rollout, filters and maps."""

import pytest
import torch

from plutao.look.vision import rollout, see, views
from plutao.models.vision import ConvolutionalNetwork, ConvolutionConfig, PatchConfig, VisionTransformer

IMAGE = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(1))
NAMES = ["a", "b", "c"]


def models() -> list[VisionTransformer | ConvolutionalNetwork]:
    shapes: list[VisionTransformer | ConvolutionalNetwork] = [
        VisionTransformer(PatchConfig(1, 8, 3, patch=4, width=16, layers=2, heads=2, hidden=32)),
        ConvolutionalNetwork(ConvolutionConfig(1, 8, 3, width=8, layers=2)),
    ]
    for model in shapes:
        model.initialise(1)
    return shapes


def test_attention_that_changes_nothing_reaches_each_token_from_itself() -> None:
    still = torch.eye(5).expand(1, 2, 5, 5)
    assert torch.allclose(rollout([still, still]), torch.eye(5))
    anywhere = torch.full((1, 2, 5, 5), 0.2)
    reached = rollout([anywhere, anywhere, anywhere])
    assert torch.allclose(reached.sum(-1), torch.ones(1, 5))
    assert torch.allclose(reached[0, 0, 1:], torch.full((4,), (1 - 0.5**3) / 5))


@pytest.mark.parametrize("language", ["en", "pt"])
def test_every_model_is_shown(language: str) -> None:
    for model in models():
        seen = see(model.eval(), IMAGE, NAMES, IMAGE[0], "b")
        assert sum(probability for _, probability in seen.classes) == pytest.approx(1.0)
        first, second = views(seen, language)
        assert first.marked is not None and first.rows[first.marked][0] == "b"
        assert len(first.figure.data) == 1
        is_grid = isinstance(model, ConvolutionalNetwork)
        assert len(second.figure.data) == (1 + 8 + 8 if is_grid else 1 + 1 + 2)
        assert len(second.rows) == (8 if is_grid else 4)
