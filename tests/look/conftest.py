"""The classroom's model, trained once, and its folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from plutao.look.classroom import small_model
from plutao.models.decoder import Decoder
from plutao.models.interop.huggingface import save_model
from plutao.text.tokenizer import Tokenizer


@contextmanager
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than so small a model does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def on_one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def classroom() -> tuple[Decoder, Tokenizer]:
    with one_thread():
        return small_model()


@pytest.fixture(scope="session")
def model(classroom: tuple[Decoder, Tokenizer]) -> Decoder:
    return classroom[0]


@pytest.fixture(scope="session")
def tokenizer(classroom: tuple[Decoder, Tokenizer]) -> Tokenizer:
    return classroom[1]


@pytest.fixture(scope="session")
def folder(classroom: tuple[Decoder, Tokenizer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models") / "classroom"
    save_model(classroom[0], place)
    classroom[1].save(place)
    return place
