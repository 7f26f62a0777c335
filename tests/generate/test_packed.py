"""The packed form computes what the decoder computes; the cache serves both."""

import pytest
import torch

from plutao.generate.cache import SlotCache
from plutao.generate.packed import Linear, PackedDecoder
from plutao.models.decoder import Decoder

from .conftest import make_model

SHAPES = [
    {},
    {"qk_norm": True, "kv_heads": 4, "tied": False},
    {"qkv_bias": True, "kv_heads": 1},
    {"norm": "layer", "positions": "learned", "activation": "gelu_tanh", "bias": True, "kv_heads": 4},
    {"norm": "layer", "positions": "learned", "activation": "gelu", "bias": False, "kv_heads": 4},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_packed_logits_equal_the_decoders(shape: dict[str, object]) -> None:
    model = make_model(2, **shape)
    packed, cache = PackedDecoder(model), SlotCache(model.config, 5, torch.float32)
    tokens = torch.randint(0, 352, (3, 70), generator=torch.Generator().manual_seed(0))
    places = torch.arange(70).expand(3, -1)
    with torch.no_grad():
        expected = model(tokens)
        cache.reserve(32)
        cache.begin(1, places[:, :32])
        hidden = packed.hidden(tokens[:, :32], places[:, :32], cache, fresh=True)
        found = [packed.logits(hidden[:, place]) for place in range(32)]
        for place in range(32, 70):  # past the first 64 positions: the cache grows on the way
            cache.reserve(place + 1)
            cache.begin(1, places[:, place : place + 1])
            step = packed.hidden(tokens[:, place : place + 1], places[:, place : place + 1], cache, fresh=False)
            found.append(packed.logits(step[:, 0]))
    assert torch.allclose(torch.stack(found, dim=1), expected, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_decoder_itself_can_use_the_cache(shape: dict[str, object]) -> None:
    model = make_model(2, **shape)
    cache = SlotCache(model.config, 4, torch.float32)
    tokens = torch.randint(0, 352, (2, 50), generator=torch.Generator().manual_seed(0))
    places = torch.arange(50).expand(2, -1)
    cache.reserve(50)
    parts = []
    with torch.no_grad():
        for begin, end in ((0, 20), (20, 21), (21, 50)):
            cache.begin(2, places[:, begin:end])
            parts.append(model(tokens[:, begin:end], cache=cache, positions=places[:, begin:end]))
        expected = model(tokens)
    assert torch.allclose(torch.cat(parts, dim=1), expected, atol=1e-4)


def test_a_slot_can_be_copied_and_memory_given_back(model: Decoder) -> None:
    cache = SlotCache(model.config, 3, torch.float32)
    cache.reserve(10)
    cache.begin(0, torch.arange(10).unsqueeze(0))
    written = torch.randn(1, 10, 4, 16)
    cache.write(1, written)
    cache.copy(0, 2, 10)
    cache.begin(2, torch.tensor([[10]]))
    keys, values = cache.write(1, torch.zeros(1, 1, 4, 16))
    assert torch.equal(keys[0, :, :10].transpose(0, 1), written[0, :, :2])
    assert torch.equal(values[0, :, :10].transpose(0, 1), written[0, :, 2:])
    cache.release()
    assert cache.capacity == 0


def test_without_a_packed_kernel_rows_are_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plutao.generate.packed.pack", lambda weight: None)
    weight, bias = torch.randn(96, 64), torch.randn(96)
    linear = Linear(weight, bias, torch.float32)
    x, added = torch.randn(5, 64), torch.randn(5, 96)
    assert torch.allclose(linear(x, added), x @ weight.T + bias + added, atol=1e-4)
    if linear.independent:
        assert torch.equal(linear(x)[:1], linear(x[:1]))
