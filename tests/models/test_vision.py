"""The two networks that see: what they promise, and that transformers computes the same from the Vision Transformer's folder."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from plutao.errors import UserError
from plutao.models.interop.vision import load_classes, load_scale, load_vision, save_vision
from plutao.models.vision import (
    ConvolutionalNetwork,
    ConvolutionConfig,
    PatchConfig,
    VisionTransformer,
    cut,
)

PATCHES = PatchConfig(channels=3, size=12, classes=4, patch=4, width=16, layers=2, heads=2, hidden=32)
GRID = ConvolutionConfig(channels=1, size=16, classes=3, width=8, layers=2)
IMAGES = torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(2))
GREY = torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(3))


def lively(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.3, generator=generator)
    return model.eval()


def test_patches_and_a_matrix_are_a_convolution() -> None:
    """Dosovitskiy et al. 2021, section 3.1: the linear projection of flattened patches."""
    model = VisionTransformer(PATCHES)
    kernel = model.patch_embedding.weight.view(16, 3, 4, 4)
    expected = F.conv2d(IMAGES, kernel, model.patch_embedding.bias, stride=4).flatten(2).transpose(1, 2)
    assert torch.allclose(model.patch_embedding(cut(IMAGES, 4)), expected, atol=1e-5)
    assert expected.shape == (5, PATCHES.patches, 16)


def test_transformers_computes_the_same_from_our_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = lively(VisionTransformer(PATCHES))
    save_vision(model, tmp_path, ["a", "b", "c", "d"], [0.5] * 3, [0.2] * 3)  # type: ignore[arg-type]
    theirs = transformers.ViTForImageClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert (theirs(IMAGES).logits - model(IMAGES)).abs().max() < 1e-4
    assert theirs.config.id2label == {0: "a", 1: "b", 2: "c", 3: "d"}


def test_a_folder_of_transformers_becomes_our_model(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=12,
        patch_size=4,
        num_channels=3,
        num_labels=4,
    )
    theirs = transformers.ViTForImageClassification(config).eval()
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        assert (theirs(IMAGES).logits - load_vision(tmp_path)(IMAGES)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("model", "images"), [(VisionTransformer(PATCHES), IMAGES), (ConvolutionalNetwork(GRID), GREY)]
)
def test_a_model_comes_back_from_its_folder(model: torch.nn.Module, images: torch.Tensor, tmp_path: Path) -> None:
    classes = [f"classe {number}" for number in range(model.config.classes)]  # type: ignore[union-attr,arg-type]
    save_vision(lively(model), tmp_path, classes, [0.1], [0.3])  # type: ignore[arg-type]
    again = load_vision(tmp_path)
    assert again.config == model.config
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
    assert load_classes(tmp_path) == classes
    assert load_scale(tmp_path) == ([0.1], [0.3])


def test_the_convolution_finds_a_thing_wherever_it_is() -> None:
    """Its weights are the same for every place: a moved image has moved maps."""
    model = lively(ConvolutionalNetwork(GRID))
    image = torch.zeros(1, 1, 16, 16)
    image[..., 5:8, 4:7] = torch.rand(3, 3, generator=torch.Generator().manual_seed(1))
    moved = image.roll((2, 3), dims=(2, 3))
    first = F.conv2d(image, model.filters(), padding=1)
    assert torch.allclose(F.conv2d(moved, model.filters(), padding=1), first.roll((2, 3), dims=(2, 3)), atol=1e-6)
    assert model.maps(image).shape == (1, 8, 16, 16)


def test_attention_says_where_each_token_looks() -> None:
    model = lively(VisionTransformer(PATCHES))
    seen = model.attention(IMAGES)
    assert [layer.shape for layer in seen] == [(5, 2, 10, 10)] * 2
    assert all(torch.allclose(layer.sum(-1), torch.ones(5, 2, 10)) for layer in seen)


def test_the_vision_transformer_tells_where_a_patch_lies() -> None:
    """Without positions it could not: patches in another order would be the same set."""
    model = lively(VisionTransformer(PATCHES))
    swapped = torch.cat([IMAGES[..., 4:8], IMAGES[..., :4], IMAGES[..., 8:]], dim=-1)
    assert (model(IMAGES) - model(swapped)).abs().max() > 1e-3
    model.positions.data.zero_()
    assert torch.allclose(model(IMAGES), model(swapped), atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PatchConfig(channels=1, size=28, classes=10, patch=5), "patches of 5"),
        (lambda: PatchConfig(channels=1, size=28, classes=10, heads=3), "3 heads"),
        (lambda: ConvolutionConfig(channels=1, size=4, classes=10), "halved 3 times"),
        (lambda: ConvolutionConfig(channels=1, size=28, classes=10, width=12), "multiple of 8"),
    ],
)
def test_what_can_not_be_is_refused(make: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()  # type: ignore[operator]
