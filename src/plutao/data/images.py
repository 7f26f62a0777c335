"""Images in: MNIST's IDX files, CIFAR's binary version, and a folder of pictures for each class, as files or in a .tar.

Everything becomes one table of bytes. CIFAR's Python version is pickled, and a pickle can run any program when opened:
it is refused, and the binary version, which the same page offers, is named instead.
"""

import io
import math
import re
import struct
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from plutao.data.sources.compressed import BROKEN, open_file
from plutao.errors import UserError
from plutao.models.hardware import GIB, available_memory

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm")
ARCHIVES = (".tar", ".tar.gz", ".tgz")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
NAMES_IN_CIFAR = ("batches.meta.txt", "fine_label_names.txt")
IDX_IMAGES, IDX_LABELS = 0x803, 0x801
LARGEST_PICTURE = 50_000_000
"""Pixels of a picture, at most: a small file can unpack into more than any memory."""
LARGEST_FILE = 1 << 30
"""Bytes of one file in an archive, at most."""


@dataclass(frozen=True)
class Images:
    """Square images with their classes; C is 1 (grey) or 3 (red, green, blue)."""

    pixels: UInt8[Tensor, "N C S S"]
    labels: Int[Tensor, "N"]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: Int[Tensor, "M"]) -> "Images":
        return Images(self.pixels[places], self.labels[places], self.classes)

    def scale(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of each channel, pixels between 0 and 1."""
        some = self.pixels[:: max(1, len(self) // 10_000)].float() / 255
        deviation = some.std(dim=(0, 2, 3)).clamp(min=1e-3)
        return some.mean(dim=(0, 2, 3)).tolist(), deviation.tolist()


def floats(
    pixels: UInt8[Tensor, "B C S S"], mean: Sequence[float], deviation: Sequence[float]
) -> Float[Tensor, "B C S S"]:
    """What models see: pixels between 0 and 1, less the mean of their channel, in deviations of it."""
    shape = (1, -1, 1, 1)
    centred = pixels.float() / 255 - torch.tensor(mean, device=pixels.device).view(shape)
    return centred / torch.tensor(deviation, device=pixels.device).view(shape)


def read_images(path: Path, labels: Path | None = None, size: int | None = None, held_out: bool = False) -> Images:
    """The images at a path, whatever of the three forms they have.

    Args:
        labels: the file of the labels, for IDX.
        size: side of the square they are brought to; None: as they are.
        held_out: where a folder or archive has parts for learning and for testing (train/, test/, test_batch.bin), the
            part for testing; else the other one.

    Raises:
        UserError: nothing is there, a damaged file, an unknown form, pictures that differ in size where none is set, or
            more than memory holds.
    """
    if not path.exists():
        raise UserError(f"{path} is not there: name a file or a folder of images.")
    try:
        if path.is_dir() or path.name.lower().endswith(ARCHIVES):
            found = from_collection(path, size, held_out)
        elif path.suffix.lower() == ".bin":
            found = from_cifar([(path.name, path.read_bytes())], path)
        else:
            found = from_idx(path, labels)
    except (*BROKEN, tarfile.TarError) as error:
        raise UserError(f"{path} is damaged ({error}): fetch it again.") from error
    if not len(found):
        raise UserError(f"{path} has no image: put some into a folder for each class.")
    return found if size is None else Images(resized(found.pixels, size), found.labels, found.classes)


def joined(parts: Sequence[Images]) -> Images:
    """Several sources as one; a class of the same name is the same class.

    Raises:
        UserError: one is grey and another in colours, or sizes differ.
    """
    shapes = {tuple(part.pixels.shape[1:]) for part in parts}
    if len(shapes) > 1:
        told = " and ".join(f"{c} × {s} × {s}" for c, s, _ in sorted(shapes))
        raise UserError(
            f"The images of the sources differ (channels × size: {told}): set vision.size, or use one source."
        )
    classes = tuple(dict.fromkeys(name for part in parts for name in part.classes))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = [torch.tensor([numbers[name] for name in part.classes])[part.labels] for part in parts]
    return Images(torch.cat([part.pixels for part in parts]), torch.cat(labels), classes)


def resized(pixels: UInt8[Tensor, "N C S S"], size: int) -> UInt8[Tensor, "N C size size"]:
    if pixels.shape[-1] == size:
        return pixels
    pieces = [
        torch.nn.functional.interpolate(
            piece.float(), (size, size), mode="bilinear", antialias=True, align_corners=False
        )
        for piece in torch.split(pixels, 1024)
    ]
    return torch.cat([piece.round().clamp(0, 255).to(torch.uint8) for piece in pieces])


# ---------------------------------------------------------------------------------------------------------------------
# MNIST


def from_idx(path: Path, labels: Path | None) -> Images:
    """IDX files of images and of labels (LeCun, Cortes and Burges, *The MNIST database*)."""
    if labels is None:
        raise UserError(f"{path}: IDX images have their classes in a file of their own; name it as `labels`.")
    pixels = read_idx(path, IDX_IMAGES, 3)
    told = read_idx(labels, IDX_LABELS, 1)
    if len(pixels) != len(told):
        raise UserError(
            f"{path} has {len(pixels):,} images and {labels} {len(told):,} labels; they don't belong together."
        )
    if pixels.shape[1] != pixels.shape[2]:
        raise UserError(f"{path} has images of {pixels.shape[1]} × {pixels.shape[2]}; only square ones are read.")
    classes = tuple(str(number) for number in range(int(told.max()) + 1))
    return Images(torch.from_numpy(pixels).unsqueeze(1), torch.from_numpy(told.astype(np.int64)), classes)


def read_idx(path: Path, magic: int, dimensions: int) -> npt.NDArray[np.uint8]:
    """The bytes of an IDX file in their shape: a magic number, the sizes, the values (all big-endian)."""
    if not path.is_file():
        raise UserError(f"{path} is not there.")
    with open_file(path) as opened:
        head = opened.stream.read(4 + 4 * dimensions)
        if len(head) < 4 + 4 * dimensions or struct.unpack(">I", head[:4])[0] != magic:
            what = "images" if magic == IDX_IMAGES else "labels"
            raise UserError(
                f"{path} is no IDX file of {what}. Read are IDX (MNIST), CIFAR's binary version (.bin), and folders or "
                ".tar archives with a folder of pictures for each class."
            )
        sizes = struct.unpack(f">{dimensions}I", head[4:])
        wanted = math.prod(sizes)
        refuse_too_much(wanted, path)
        data = opened.stream.read(wanted + 1)
    if len(data) != wanted:
        more = "more" if len(data) > wanted else "fewer"
        raise UserError(f"{path} holds {more} than the {wanted:,} bytes that its head tells: fetch it again.")
    return np.frombuffer(data, dtype=np.uint8).reshape(sizes).copy()


def refuse_too_much(size: int, path: Path) -> None:
    if size > (free := available_memory()) / 2:
        raise UserError(f"{path} unpacks into {size / GIB:.1f} GiB, and {free / GIB:.1f} GiB of memory are free.")


# ---------------------------------------------------------------------------------------------------------------------
# Folders and archives


def from_collection(path: Path, size: int | None, held_out: bool) -> Images:
    """A folder or a .tar: CIFAR's binary files, or pictures in a folder for each class."""
    names = list(names_in(path))
    refuse_pickles(names, path)
    if any(name.endswith(".bin") for name in names):
        wanted = [name for name in names if name.endswith(".bin") and is_test(name) == held_out]
        return from_cifar(files_of(path, [*wanted, *(n for n in names if base(n) in NAMES_IN_CIFAR)]), path)
    pictures = [name for name in names if name.lower().endswith(PICTURES)]
    has_both = any(map(is_test, pictures)) and not all(map(is_test, pictures))
    wanted = [name for name in pictures if not has_both or is_test(name) == held_out]
    if not wanted:
        raise UserError(f"{path} has no {' '.join(PICTURES)}: put pictures into a folder for each class.")
    return from_pictures(path, wanted, size)


def names_in(path: Path) -> Iterator[str]:
    """Names of the files of a folder or archive, in order, with / between folders."""
    if path.is_dir():
        yield from sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        return
    with tarfile.open(path) as archive:
        yield from sorted(member.name for member in archive if member.isfile())


def files_of(path: Path, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The content of these files, each no longer than `LARGEST_FILE`; nothing is unpacked to disk."""
    wanted = set(names)
    if path.is_dir():
        for name in sorted(wanted):
            with (path / name).open("rb") as file:
                yield name, whole(file, name)
        return
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name in wanted and (opened := archive.extractfile(member)) is not None:
                yield member.name, whole(opened, f"{path}: {member.name}")


def whole(file: IO[bytes], name: str) -> bytes:
    data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise UserError(f"{name} is larger than {LARGEST_FILE / GIB:.0f} GiB: leave it out.")
    return data


def base(name: str) -> str:
    return PurePosixPath(name).name


def is_test(name: str) -> bool:
    """Whether a name says that the file is for testing: test/…, test_batch.bin."""
    return any(re.fullmatch(r"(test|val)([_.-].*)?", part.lower()) for part in PurePosixPath(name).parts)


def refuse_pickles(names: Sequence[str], path: Path) -> None:
    """CIFAR's Python version has data_batch_1 … without an ending."""
    pickled = [name for name in names if re.fullmatch(r"(data_batch_\d|test_batch|.*\.pkl|.*\.pickle)", base(name))]
    if pickled:
        raise UserError(
            f"{path} holds {base(pickled[0])}, a pickle, which can run any program when opened: fetch CIFAR's binary "
            "version (cifar-10-binary.tar.gz), or a folder of pictures for each class."
        )


def from_cifar(files: Iterable[tuple[str, bytes]], path: Path) -> Images:
    """CIFAR's binary version: a row is its label (CIFAR-100: two) and 3 × 32 × 32 bytes (Krizhevsky 2009)."""
    tables, labels, names = [], [], list(CIFAR10)
    fine = False
    for name, data in files:
        if base(name) in NAMES_IN_CIFAR:
            names = data.decode("utf-8").split()
            continue
        length = 3073 if len(data) % 3073 == 0 else 3074
        if not data or len(data) % length:
            raise UserError(f"{path}: {name} is no file of CIFAR's: its rows have 3,073 bytes, or 3,074 (CIFAR-100).")
        fine = length == 3074
        rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, length)
        labels.append(rows[:, length - 3073].astype(np.int64))
        tables.append(rows[:, length - 3072 :].reshape(-1, 3, 32, 32))
    if not tables:
        raise UserError(f"{path} has no file of this part: name the other one as held_out, or leave held_out away.")
    told = torch.from_numpy(np.concatenate(labels))
    if int(told.max()) >= len(names):
        names = [str(number) for number in range(100 if fine else int(told.max()) + 1)]
    return Images(torch.from_numpy(np.concatenate(tables)), told, tuple(names))


def from_pictures(path: Path, names: Sequence[str], size: int | None) -> Images:
    """Pictures whose folder is their class. The first one says whether all are grey or in colours, and how large they are
    where `size` does not.
    """
    tables: list[npt.NDArray[np.uint8]] = []
    told: list[str] = []
    channels, side = None, size
    for name, data in files_of(path, names):
        table = decoded(data, f"{path}: {name}", channels, side, fit=size is not None)
        if not tables:
            channels, side = table.shape[0], table.shape[1]
            refuse_too_much(len(names) * table.size, path)
        tables.append(table)
        told.append(PurePosixPath(name).parent.name or path.name)
    classes = tuple(sorted(set(told)))
    labels = torch.tensor([classes.index(name) for name in told])
    return Images(torch.from_numpy(np.stack(tables)), labels, classes)


def read_picture(path: Path, size: int, channels: int) -> UInt8[Tensor, "C S S"]:
    """One picture, brought to a square of this size and to so many channels.

    Raises:
        UserError: it is not there, or no picture.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there: name a picture's file, or a held-out image by its number.")
    with path.open("rb") as file:
        return torch.from_numpy(decoded(whole(file, str(path)), str(path), channels, size, fit=True))


def decoded(data: bytes, where: str, channels: int | None, side: int | None, fit: bool) -> npt.NDArray[np.uint8]:
    """A picture as (C, S, S) bytes; `channels` None: grey or colours as it is itself; `fit`: cropped and scaled to `side`.

    Raises:
        UserError: it is no picture, too large, or of another size where it must not be changed.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            if math.prod(picture.size) > LARGEST_PICTURE:
                raise UserError(f"{where} has {math.prod(picture.size):,} pixels: make it smaller, or leave it out.")
            grey = picture.mode in ("1", "L", "LA", "I;16", "I") if channels is None else channels == 1
            plain = picture.convert("L" if grey else "RGB")
    except UserError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{where} is no picture that can be read: put back a good copy, or take it away.") from error
    side = side or plain.width
    if plain.size != (side, side):
        if not fit:
            raise UserError(f"{where} is {plain.width} × {plain.height}, not {side} × {side}: set vision.size.")
        plain = ImageOps.fit(plain, (side, side), Image.Resampling.BILINEAR)
    return np.asarray(plain, dtype=np.uint8).reshape(side, side, -1).transpose(2, 0, 1).copy()


def split(images: Images, share: float, seed: int) -> tuple[Images, Images]:
    """Images to learn from, and `share` of them kept aside: drawn by the seed, the same share of every class."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    # Sorted by class and taken at even steps, each class gives its share to within one image.
    by_class = order[torch.argsort(images.labels[order], stable=True)]
    count = max(1, round(share * len(images)))
    kept = by_class[((torch.arange(count) + 0.5) * len(images) / count).long()]
    aside = torch.zeros(len(images), dtype=torch.bool)
    aside[kept] = True
    return images.take((~aside).nonzero()[:, 0]), images.take(kept)
