"""Two ways of seeing: a small convolutional network (LeCun et al. 1998; the book, section 4.2) and the Vision Transformer
(Dosovitskiy et al. 2021; the book's conclusion).

Letters: B images, C channels (1 grey, 3 colours), S the side of the square image, P the side of a patch, N = (S/P)² patches,
D the width, K classes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from plutao.errors import UserError
from plutao.models.encoder import EncoderBlock

GROUPS = 8
"""Channels are normalised in so many groups (Wu & He 2018): unlike BatchNorm, alike in training and use, for any batch."""


@dataclass(frozen=True)
class ConvolutionConfig:
    """The shape of a convolutional network."""

    channels: int
    size: int
    classes: int
    width: int = 16
    """Channels of the first pair of convolutions; each pair after it has twice as many."""
    layers: int = 3
    """Pairs of convolutions, each followed by halving the image."""
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Raises UserError where the image would vanish, or the channels don't fall into groups."""
        if self.size < 2**self.layers:
            raise UserError(
                f"Images of {self.size} × {self.size} can't be halved {self.layers} times: lower vision.layers."
            )
        if self.width % GROUPS:
            raise UserError(f"vision.width is {self.width}, and a cnn's must be a multiple of {GROUPS}.")


@dataclass(frozen=True)
class PatchConfig:
    """The shape of a Vision Transformer."""

    channels: int
    size: int
    classes: int
    patch: int = 4
    width: int = 64
    layers: int = 4
    heads: int = 4
    hidden: int = 256
    dropout: float = 0.0
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        """Raises UserError where patches don't fill the image, or heads don't share the width."""
        if self.size % self.patch:
            raise UserError(
                f"Images of {self.size} × {self.size} can't be cut into patches of {self.patch} × {self.patch}: "
                "choose a vision.patch that divides the side."
            )
        if self.width % self.heads:
            raise UserError(f"A width of {self.width} can't be shared by {self.heads} heads: change vision.heads.")

    @property
    def patches(self) -> int:
        """How many patches an image has (N)."""
        return (self.size // self.patch) ** 2


class Convolutions(nn.Module):
    """Two 3 × 3 convolutions, each normalised and rectified, and the image halved: one weight for every place of the image."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(GROUPS, width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(GROUPS, width)

    def forward(self, x: Float[Tensor, "B C S S"]) -> Float[Tensor, "B W half half"]:
        x = F.relu(self.first_norm(self.first(x)))
        x = F.relu(self.second_norm(self.second(x)))
        return F.max_pool2d(x, 2)


class ConvolutionalNetwork(nn.Module):
    """Pairs of convolutions, the mean over the image's places, and a score for each class."""

    def __init__(self, config: ConvolutionConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        widths = [c.channels, *(c.width * 2**layer for layer in range(c.layers))]
        self.stages = nn.ModuleList(Convolutions(widths[layer], widths[layer + 1]) for layer in range(c.layers))
        self.score = nn.Linear(widths[-1], c.classes)

    def forward(self, images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B K"]:
        """The score of each class; pixels as `Images.floats` gives them."""
        x = images
        for stage in self.stages:
            x = stage(x)
        pooled = F.dropout(x.mean(dim=(2, 3)), self.config.dropout, self.training)
        scores: Tensor = self.score(pooled)
        return scores

    def filters(self) -> Float[Tensor, "W C 3 3"]:
        """What the first convolution looks for."""
        first = self.stages[0]
        assert isinstance(first, Convolutions)
        return first.first.weight.detach()

    @torch.no_grad()
    def maps(self, images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B W S S"]:
        """Where the first filters find what they look for: after norm and rectifier."""
        first = self.stages[0]
        assert isinstance(first, Convolutions)
        return F.relu(first.first_norm(first.first(images)))

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Fresh weights for rectifiers (He et al. 2015), the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 4:
                fan_out = parameter.shape[0] * parameter.shape[2] * parameter.shape[3]
                parameter.normal_(0.0, (2 / fan_out) ** 0.5, generator=generator)
            elif parameter.ndim == 2:
                parameter.normal_(0.0, 0.01, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)

    def count_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


class VisionTransformer(nn.Module):
    """An image is a row of patches, each a token; a class token in front gathers what the image is."""

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.patch_embedding = nn.Linear(c.channels * c.patch * c.patch, c.width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, c.width))
        self.positions = nn.Parameter(torch.zeros(1, c.patches + 1, c.width))
        self.blocks = nn.ModuleList(
            EncoderBlock(c.width, c.heads, c.hidden, dropout=c.dropout, norm_eps=c.norm_eps, norm_first=True)
            for _ in range(c.layers)
        )
        self.norm = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.score = nn.Linear(c.width, c.classes)

    def forward(self, images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B K"]:
        """The score of each class; pixels as `Images.floats` gives them."""
        x = self.embed(images)
        for block in self.blocks:
            x = block(x)
        scores: Tensor = self.score(self.norm(x[:, 0]))
        return scores

    def embed(self, images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B N1 D"]:
        """The class token and the patches, with where each of them lies: what goes into the first block."""
        patches = self.patch_embedding(cut(images, self.config.patch))
        x = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1) + self.positions
        return F.dropout(x, self.config.dropout, self.training)

    @torch.no_grad()
    def attention(self, images: Float[Tensor, "B C S S"]) -> list[Float[Tensor, "B H N1 N1"]]:
        """Of each layer, how much every token (the class token first) takes from every other one."""
        x, seen = self.embed(images), []
        for block in self.blocks:
            assert isinstance(block, EncoderBlock)
            seen.append(block.weights(x))
            x = block(x)
        return seen

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Fresh weights, the same for the same seed: matrices normal with deviation 1/√fan_in, those that write to the residual
        stream zero, so that every layer begins as the identity; 0.02 for the class token and the positions.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name in ("class_token", "positions"):
                parameter.normal_(0.0, 0.02, generator=generator)
            elif parameter.ndim == 1:
                parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
            elif name.endswith((".output.weight", ".down.weight", "score.weight")):
                parameter.zero_()
            else:
                parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)

    def count_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def cut(images: Float[Tensor, "B C S S"], patch: int) -> Float[Tensor, "B N CPP"]:
    """The patches of an image, row by row, each as one vector. Followed by a matrix this is a convolution whose stride is
    its width (Dosovitskiy et al. 2021, section 3.1).
    """
    return F.unfold(images, patch, stride=patch).transpose(1, 2)


VisionModel = ConvolutionalNetwork | VisionTransformer
