"""Batches of images: every epoch all of them once in a new order, each a little moved and turned, so that no two epochs show
the same pixels. What a step draws depends on the seed and on how many were drawn before it alone.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from plutao.data.images import Images, floats
from plutao.errors import UserError


@dataclass(frozen=True)
class ImageBatch:
    """Images and the numbers of their classes."""

    images: Float[Tensor, "B C S S"]
    labels: Int[Tensor, "B"]

    @property
    def tokens(self) -> Int[Tensor, "B"]:
        """What the loop counts: images."""
        return self.labels

    @property
    def weight(self) -> int:
        return len(self.labels)

    @property
    def rows(self) -> int:
        return len(self.labels)

    def inputs(self) -> tuple[Tensor]:
        """What a model is called with."""
        return (self.images,)

    def split(self, rows: int) -> list["ImageBatch"]:
        """Pieces of at most `rows` images."""
        pieces = zip(torch.split(self.images, rows), torch.split(self.labels, rows), strict=True)
        return [ImageBatch(images, labels) for images, labels in pieces]

    def to(self, device: torch.device) -> "ImageBatch":
        return ImageBatch(self.images.to(device, non_blocking=True), self.labels.to(device, non_blocking=True))


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


class ImageBatches(Iterator[ImageBatch]):
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
        if batch % world:
            raise UserError(f"A batch of {batch} images can't be shared by {world} processes: make it a multiple.")
        self.images, self.batch, self.seed = images, batch, seed
        self.mean, self.deviation, self.augmentation = mean, deviation, augmentation
        self.rank, self.world, self.step = rank, world, 0
        self._epoch, self._order = -1, torch.empty(0)

    def __next__(self) -> ImageBatch:
        share = self.batch // self.world
        first = self.step * self.batch + self.rank * share
        places = torch.stack([self.place(number) for number in range(first, first + share)])
        drawn = self.images.take(places)
        seen = floats(drawn.pixels, self.mean, self.deviation)
        # Every image of the step has its own draws, whichever process makes it.
        draws = torch.rand(self.batch, 4, generator=torch.Generator().manual_seed(self.seed + (self.step << 20)))
        if not self.augmentation.none:
            seen = changed(seen, self.augmentation, draws[self.rank * share : (self.rank + 1) * share])
        self.step += 1
        return ImageBatch(seen, drawn.labels)

    def place(self, number: int) -> Tensor:
        """Which image is drawn after `number` others."""
        epoch, within = divmod(number, len(self.images))
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed((self.seed << 16) + epoch)
            self._order, self._epoch = torch.randperm(len(self.images), generator=generator), epoch
        return self._order[within]

    def epochs(self) -> float:
        """How often each image has been seen."""
        return self.step * self.batch / len(self.images)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step = int(state["step"])


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
