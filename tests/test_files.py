"""Nobody finds half a file, and a refusal of the disk is a sentence."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from plutao.errors import UserError
from plutao.files import atomic_folder, atomic_path, fingerprint, read_json, write_json, write_tensors


def test_a_file_that_was_not_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        fail()
    assert read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with atomic_folder(tmp_path / "stage") as folder:
            (folder / "x").write_text(content)
            (folder / content).touch()
    assert sorted(path.name for path in (tmp_path / "stage").iterdir()) == ["second", "x"]
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]


def test_a_folder_that_was_not_finished_leaves_the_old_one(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "stage") as folder:
        (folder / "x").write_text("old")

    def fail() -> None:
        with atomic_folder(tmp_path / "stage") as folder:
            (folder / "x").write_text("new")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=r"The disk is full.*Free some space"):
        fail()
    assert (tmp_path / "stage" / "x").read_text() == "old"


def test_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(UserError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")


def test_fingerprints_do_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, where this machine lets us have one."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, timeout=10)
    except FileNotFoundError:
        pytest.skip("no `mount` to make a small disk with")
    if done.returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_a_sentence_and_loses_nothing(small_disk: Path) -> None:
    with atomic_folder(small_disk / "step") as folder:
        write_tensors(folder / "a.safetensors", {"a": torch.zeros(1000)})

    def fill() -> None:
        with atomic_folder(small_disk / "step") as folder:
            write_tensors(folder / "a.safetensors", {"a": torch.zeros(1_000_000)})

    with pytest.raises(UserError, match="The disk is full"):
        fill()
    assert [path.name for path in small_disk.iterdir()] == ["step"]
    assert (small_disk / "step" / "a.safetensors").stat().st_size > 4000
