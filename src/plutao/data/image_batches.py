"""Batches of images: every epoch all of them once in a new order, each a little moved and turned, so that no two epochs show
the same pixels. What a step draws depends on the seed and on how many were drawn before it alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from plutao.data.batch import Readings, RowBatch
from plutao.data.images import Images, floats


@dataclass(frozen=True)
class ImageBatch(RowBatch):
    """Images and the numbers of their classes."""

    images: Float[Tensor, "B C S S"]
    labels: Int[Tensor, "B"]

    @property
    def tokens(self) -> Int[Tensor, "B"]:
        """What the loop counts: images."""
        return self.labels

    def inputs(self) -> tuple[Tensor]:
        """What a model is called with."""
        return (self.images,)


@dataclass(frozen=True)
class Augmentation:
    """How much an image is changed while training, at most."""

    shift: int = 0
    """Pixels, to each side."""
    rotation: float = 0.0
    """Degrees, either way."""
    mirror: bool = False
    """Left and right swapped, half of the time."""

    @property
    def none(self) -> bool:
        return not (self.shift or self.rotation or self.mirror)


class ImageBatches(Readings, Iterator[ImageBatch]):
    """Endless batches, of which each of `world` processes gets its share."""

    def __init__(
        self,
        images: Images,
        batch: int,
        seed: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        augmentation: Augmentation,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Raises UserError where the batch can't be shared evenly."""
        super().__init__(len(images), batch, seed, rank, world)
        self.images, self.mean, self.deviation, self.augmentation = images, mean, deviation, augmentation

    def __next__(self) -> ImageBatch:
        step, places = self.step, self.draw()
        drawn = self.images.take(torch.tensor(places))
        seen = floats(drawn.pixels, self.mean, self.deviation)
        if not self.augmentation.none:
            # Every image of the step has its own draws, whichever process makes it.
            draws = torch.rand(self.batch, 4, generator=torch.Generator().manual_seed(self.seed + (step << 20)))
            first = self.rank * len(places)
            seen = changed(seen, self.augmentation, draws[first : first + len(places)])
        return ImageBatch(seen, drawn.labels)


def changed(
    images: Float[Tensor, "B C S S"], augmentation: Augmentation, draws: Float[Tensor, "B 4"]
) -> Float[Tensor, "B C S S"]:
    """Images turned, moved by whole pixels and mirrored as `draws` (between 0 and 1) say; what comes in from outside is as
    the border is.
    """
    size = images.shape[-1]
    angles = (2 * draws[:, 0] - 1) * math.radians(augmentation.rotation)
    # A pixel is 2/S of the square from −1 to 1 that sampling counts in.
    moves = ((2 * draws[:, 1:3] - 1) * (augmentation.shift + 0.5)).round().clamp(
        -augmentation.shift, augmentation.shift
    ) * (2 / size)
    sides = torch.where(draws[:, 3] < 0.5, -1.0, 1.0) if augmentation.mirror else torch.ones(len(images))
    cosines, sines = angles.cos(), angles.sin()
    rows = [
        torch.stack([cosines * sides, -sines, moves[:, 0]], 1),
        torch.stack([sines * sides, cosines, moves[:, 1]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
