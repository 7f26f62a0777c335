"""Images in: the three forms, what is refused and why, the split, and what training sees of them."""

import gzip
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from plutao.data.image_batches import Augmentation, ImageBatch, ImageBatches, changed
from plutao.data.images import Images, floats, joined, read_images, split
from plutao.errors import UserError

Image = pytest.importorskip("PIL.Image")
random = np.random.default_rng(3)


def idx(path: Path, table: np.ndarray) -> Path:
    head = struct.pack(f">I{table.ndim}I", 0x800 + table.ndim, *table.shape)
    data = head + table.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def pictures(folder: Path, size: int = 6, mode: str = "RGB") -> Path:
    for name, value in (("gato", 40), ("cao", 200)):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            Image.new(mode, (size, size), value if mode == "L" else (value, 0, 10)).save(
                folder / name / f"{number}.png"
            )
    return folder


def test_idx_is_read_plain_and_packed(tmp_path: Path) -> None:
    table = random.integers(0, 256, (5, 4, 4))
    images = read_images(idx(tmp_path / "images.gz", table), idx(tmp_path / "labels", np.array([0, 3, 1, 2, 3])))
    assert np.array_equal(images.pixels[:, 0].numpy(), table)
    assert images.labels.tolist() == [0, 3, 1, 2, 3]
    assert images.classes == ("0", "1", "2", "3")


def test_idx_that_is_cut_off_or_of_something_else_is_refused(tmp_path: Path) -> None:
    labels = idx(tmp_path / "labels", np.zeros(5))
    whole = idx(tmp_path / "images", random.integers(0, 256, (5, 4, 4)))
    with pytest.raises(UserError, match="no IDX file of images"):
        read_images(labels, labels)
    with pytest.raises(UserError, match="4 labels"):
        read_images(whole, idx(tmp_path / "four", np.zeros(4)))
    with pytest.raises(UserError, match="file of their own"):
        read_images(whole)
    whole.write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(UserError, match="fewer than the 80 bytes"):
        read_images(whole, labels)
    (tmp_path / "huge").write_bytes(struct.pack(">IIII", 0x803, 2**31, 2**15, 2**15))
    with pytest.raises(UserError, match="GiB of memory are free"):
        read_images(tmp_path / "huge", labels)


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_s_binary_version_is_read(packed: bool, tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    rows = random.integers(0, 256, (4, 3073)).astype(np.uint8)
    rows[:, 0] = [0, 9, 3, 3]
    (folder / "data_batch_1.bin").write_bytes(rows[:3].tobytes())
    (folder / "test_batch.bin").write_bytes(rows[3:].tobytes())
    place = folder
    if packed:
        place = tmp_path / "cifar.tar.gz"
        with tarfile.open(place, "w:gz") as archive:
            archive.add(folder, arcname="cifar-10-batches-bin")
    images = read_images(place)
    assert images.pixels.shape == (3, 3, 32, 32)
    assert np.array_equal(images.pixels.flatten(1).numpy(), rows[:3, 1:])
    assert [images.classes[label] for label in images.labels] == ["airplane", "truck", "cat"]
    assert read_images(place, held_out=True).labels.tolist() == [3]


def test_cifar_s_pickles_are_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> object:
            return (Path.touch, (tmp_path / "exploded",))

    (tmp_path / "cifar").mkdir()
    (tmp_path / "cifar" / "data_batch_1").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="binary version"):
        read_images(tmp_path / "cifar")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_folder_for_each_class_is_read(packed: bool, mode: str, tmp_path: Path) -> None:
    place = pictures(tmp_path / "bichos", mode=mode)
    if packed:
        place = tmp_path / "bichos.tar"
        with tarfile.open(place, "w") as archive:
            archive.add(tmp_path / "bichos", arcname="bichos")
    images = read_images(place)
    assert images.pixels.shape == (6, len(mode), 6, 6)
    assert images.classes == ("cao", "gato")
    assert sorted(images.labels.tolist()) == [0, 0, 0, 1, 1, 1]
    assert images.pixels[images.labels == 0, 0].float().mean() == 200


def test_pictures_of_many_sizes_need_one(tmp_path: Path) -> None:
    place = pictures(tmp_path / "bichos")
    Image.new("RGB", (9, 5)).save(place / "gato" / "largo.png")
    with pytest.raises(UserError, match=r"9 × 5, not 6 × 6: set vision\.size"):
        read_images(place)
    assert read_images(place, size=4).pixels.shape == (7, 3, 4, 4)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    place = pictures(tmp_path / "bichos")
    (place / "gato" / "9.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"gato/9\.png is no picture"):
        read_images(place)
    with pytest.raises(UserError, match="has no"):
        (tmp_path / "empty").mkdir()
        read_images(tmp_path / "empty")


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plutao.data.images.LARGEST_PICTURE", 30)
    with pytest.raises(UserError, match="36 pixels"):
        read_images(pictures(tmp_path / "bichos"))


def test_sources_join_by_the_names_of_their_classes() -> None:
    first = Images(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"))
    second = Images(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]), ("b", "c"))
    both = joined([first, second])
    assert [both.classes[label] for label in both.labels] == ["a", "b", "b", "c"]
    with pytest.raises(UserError, match="differ"):
        joined([first, Images(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.tensor([0]), ("a",))])


def test_the_split_takes_the_same_share_of_every_class() -> None:
    labels = torch.arange(100).div(10, rounding_mode="floor")
    images = Images(torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1), labels, tuple("abcdefghij"))
    learned, kept = split(images, 0.1, seed=4)
    assert (len(learned), len(kept)) == (90, 10)
    assert sorted(kept.labels.tolist()) == list(range(10))
    both = torch.cat([learned.pixels, kept.pixels]).flatten().tolist()
    assert sorted(both) == list(range(100))
    assert torch.equal(split(images, 0.1, seed=4)[1].pixels, kept.pixels)
    assert not torch.equal(split(images, 0.1, seed=5)[1].pixels, kept.pixels)


def some(count: int = 20) -> Images:
    pixels = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Images(pixels, torch.arange(count), tuple(map(str, range(count))))


def batches(augmentation: Augmentation = Augmentation(2, 10.0), **settings: int) -> ImageBatches:  # noqa: B008
    images = some()
    return ImageBatches(images, 4, 7, *images.scale(), augmentation, **settings)


def test_an_epoch_shows_every_image_once() -> None:
    source = batches(Augmentation())
    epochs = [torch.cat([next(source).labels for _ in range(5)]).tolist() for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(20))
    assert epochs[0] != epochs[1]
    assert source.epochs() == 2.0


def test_without_changes_the_pixels_are_those_of_the_images() -> None:
    images, batch = some(), next(batches(Augmentation()))
    expected = floats(images.pixels[batch.labels], *images.scale())
    assert torch.equal(batch.images, expected)
    assert abs(float(floats(images.pixels, *images.scale()).mean())) < 1e-4


def test_a_loader_that_was_stopped_goes_on_where_it_was() -> None:
    whole, part, again = batches(), batches(), batches()
    expected: list[ImageBatch] = [next(whole) for _ in range(8)]
    for _ in range(5):
        next(part)
    again.load_state_dict(part.state_dict())
    assert all(torch.equal(next(again).images, one.images) for one in expected[5:])


def test_processes_share_the_images_of_one() -> None:
    alone = next(batches())
    parts = [next(batches(rank=rank, world=2)) for rank in range(2)]
    assert torch.equal(alone.images, torch.cat([part.images for part in parts]))


def test_a_shift_moves_by_whole_pixels_and_a_mirror_swaps_sides() -> None:
    image = torch.arange(64.0).view(1, 1, 8, 8)
    right = changed(image, Augmentation(shift=2), torch.tensor([[0.5, 0.999, 0.5, 0.9]]))
    assert torch.allclose(right[..., :6], image[..., 2:], atol=1e-4)
    mirrored = changed(image, Augmentation(mirror=True), torch.tensor([[0.5, 0.5, 0.5, 0.1]]))
    assert torch.allclose(mirrored, image.flip(-1), atol=1e-4)
    still = changed(image, Augmentation(mirror=True), torch.tensor([[0.5, 0.5, 0.5, 0.9]]))
    assert torch.allclose(still, image, atol=1e-4)


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    image = torch.arange(64.0).view(1, 1, 8, 8)
    turned = changed(image, Augmentation(rotation=90.0), torch.tensor([[1.0, 0.5, 0.5, 0.9]]))
    assert any(torch.allclose(turned, torch.rot90(image, k, (2, 3)), atol=1e-3) for k in (1, -1))


@pytest.mark.real_data
def test_the_real_sets_are_read(real_data: Path) -> None:
    folder = real_data / "images"
    digits = read_images(folder / "mnist_10k_images.idx3.gz", folder / "mnist_10k_labels.idx1.gz")
    assert digits.pixels.shape == (10_000, 1, 28, 28)
    assert len(digits.classes) == 10
    photographs = read_images(folder / "cifar10_train_subset.tar")
    assert photographs.pixels.shape == (10_000, 3, 32, 32)
    assert photographs.classes[0] == "airplane"
    assert torch.bincount(photographs.labels).tolist() == [1_000] * 10
