"""The compiled pass computes what the decoder computes, row by row, whatever is read beside it and by how many threads."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from plutao.compiled import compilers
from plutao.generate import native
from plutao.generate.cache import SlotCache
from plutao.generate.engine import Engine
from plutao.generate.native import NativeDecoder, serves
from plutao.generate.sampling import Sampling
from plutao.models.decoder import Decoder
from plutao.text.tokenizer import Tokenizer

from .conftest import make_model

SHAPES = [
    {},
    {"qk_norm": True, "kv_heads": 4, "tied": False},
    {"qkv_bias": True, "kv_heads": 1, "hidden": 104},  # not a multiple of what a vector holds
    {"width": 80, "heads": 3, "kv_heads": 1, "head_width": 32, "hidden": 72, "vocabulary": 333},
    {"heads": 2, "kv_heads": 2, "head_width": 80},
    {"norm": "layer", "positions": "learned", "activation": "gelu_tanh", "bias": True, "kv_heads": 4},
    {"norm": "layer", "positions": "learned", "activation": "gelu", "bias": False, "kv_heads": 4},
]
compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in compilers()), reason="no C++ compiler on this machine"
)


def rows_of(vocabulary: int, *lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in lengths]


@compiler
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_the_decoders(shape: dict[str, object]) -> None:
    model = make_model(2, **shape)
    assert serves(model, torch.float32), "a compiler is here, but native.cpp was not built"
    native_, cache = NativeDecoder(model), SlotCache(model.config, 5, torch.float32)
    texts = rows_of(model.config.vocabulary, 70, 66, 99)
    beginnings = (40, 33, 64)
    with torch.no_grad():
        expected = [model(torch.tensor([text]))[0] for text in texts]
        found = native_.read(cache, 0, [text[:end] for text, end in zip(texts, beginnings, strict=True)])
        for text, (end, logits) in enumerate(zip(beginnings, found, strict=True)):
            assert torch.allclose(logits, expected[text][end - 1], atol=1e-4)
        for step in range(30):  # past the first 64 positions: the cache grows on the way
            places = [end + step for end in beginnings]
            logits = native_.step(cache, [text[place] for text, place in zip(texts, places, strict=True)], places)
            wanted = torch.stack([row[place] for row, place in zip(expected, places, strict=True)])
            assert torch.allclose(logits, wanted, atol=1e-4)


@compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_row_is_bit_by_bit_the_same_alone(dtype: torch.dtype, threads: None) -> None:
    """Among 1 to 40 rows, in any slot, after prompts of any length, with one thread or three."""
    model = make_model(3, width=96, hidden=160)
    if not serves(model, dtype):
        pytest.skip("this processor has no such instructions")
    native_ = NativeDecoder(model, dtype)
    texts = rows_of(352, *range(5, 45))
    torch.set_num_threads(3)
    together = SlotCache(model.config, 40, dtype)
    first = native_.read(together, 0, texts)
    second = native_.step(together, [7] * 40, [len(text) for text in texts])
    torch.set_num_threads(1)
    for count in (1, 2, 11, 12, 13, 30):
        few = SlotCache(model.config, count, dtype)
        assert torch.equal(native_.read(few, 0, texts[:count]), first[:count])
        assert torch.equal(native_.step(few, [7] * count, [len(text) for text in texts[:count]]), second[:count])


@compiler
def test_bf16_is_near() -> None:
    model = make_model(4, width=128, qk_norm=True)
    if not serves(model, torch.bfloat16):
        pytest.skip("this processor has no bf16 instructions")
    text = rows_of(352, 60)
    exact = NativeDecoder(model).read(SlotCache(model.config, 1, torch.float32), 0, text)
    rough = NativeDecoder(model, torch.bfloat16).read(SlotCache(model.config, 1, torch.bfloat16), 0, text)
    assert 0 < (exact - rough).abs().max() < 0.03 * exact.abs().max()


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Nothing built yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native.load.cache_clear(), native.entry_point.cache_clear()
    yield tmp_path / "plutao"
    native.load.cache_clear(), native.entry_point.cache_clear()


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@compiler
def test_it_is_built_once(fresh: Path, model: Decoder) -> None:
    assert serves(model, torch.float32)
    [library] = fresh.iterdir()
    built = library.stat().st_mtime_ns
    native.load.cache_clear(), native.entry_point.cache_clear()
    assert serves(model, torch.float32)
    assert library.stat().st_mtime_ns == built


def test_without_a_compiler_that_works_texts_are_written_all_the_same(
    fresh: Path, model: Decoder, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = fresh.parent / "broken-compiler"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    expected = Engine(model, tokenizer, compiled=False).complete(["Era"], Sampling(temperature=0, max_tokens=9))
    for named in (str(broken), "no-such-compiler", ""):
        monkeypatch.setenv("CXX", named)
        native.load.cache_clear(), native.entry_point.cache_clear()
        engine = Engine(model, tokenizer)
        assert not engine.compiled
        assert engine.complete(["Era"], Sampling(temperature=0, max_tokens=9))[0][0].tokens == expected[0][0].tokens


def test_a_shape_that_does_not_fit_is_left_to_pytorch(tokenizer: Tokenizer) -> None:
    model = make_model(0, width=60, heads=3, kv_heads=3, head_width=20)
    engine = Engine(model, tokenizer)
    assert not engine.compiled
    assert len(engine.complete(["Era"], Sampling(max_tokens=5, end_tokens=()))[0][0].tokens) == 5
