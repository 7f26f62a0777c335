"""What the decoder promises: causality, a cache that changes nothing, sound first weights, one compiled graph."""

import math

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor

from plutao.models import parts
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.models.presets import decoder_config

LLAMA = DecoderConfig(97, 32, layers=3, width=48, heads=4, kv_heads=2, head_width=16, hidden=80, qk_norm=True)
GPT = decoder_config("gpt2", vocabulary=97, context=32, layers=3, width=64, heads=4)


class GrowingCache:
    """The simplest cache: all rows have read the same number of tokens."""

    def __init__(self) -> None:
        self.stored: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if layer in self.stored:
            keys = torch.cat((self.stored[layer][0], keys), dim=2)
            values = torch.cat((self.stored[layer][1], values), dim=2)
        new = keys.shape[2] - (self.stored[layer][0].shape[2] if layer in self.stored else 0)
        self.stored[layer] = keys, values
        length = keys.shape[2]
        mask = torch.ones(length, length, dtype=torch.bool).tril()[-new:]
        return keys, values, mask.expand(keys.shape[0], 1, new, length)


def make(config: DecoderConfig) -> Decoder:
    """A decoder whose every part matters: the zeros and ones of fresh weights are replaced."""
    model = Decoder(config).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2, generator=generator)
    return model


def some_tokens(rows: int = 2, length: int = 32) -> Tensor:
    return torch.randint(97, (rows, length), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("config", [LLAMA, GPT], ids=["llama", "gpt"])
def test_later_tokens_change_nothing_before_them(config: DecoderConfig) -> None:
    model, tokens = make(config), some_tokens()
    changed = tokens.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % 97
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :20], after[:, :20], atol=1e-5, rtol=0)
    assert (before[:, 20:] - after[:, 20:]).abs().amax(dim=(0, 2)).min() > 1e-3


@pytest.mark.parametrize("config", [LLAMA, GPT], ids=["llama", "gpt"])
def test_reading_in_pieces_with_a_cache_gives_the_same_logits(config: DecoderConfig) -> None:
    model, tokens, cache = make(config), some_tokens(), GrowingCache()
    pieces = []
    for start, end in [(0, 11), (11, 12), (12, 13), (13, 32)]:
        positions = torch.arange(start, end).expand(2, -1)
        pieces.append(model(tokens[:, start:end], cache, positions))
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(tokens), atol=2e-5, rtol=0)


def test_rotary_attention_depends_on_distance_alone() -> None:
    model, tokens = make(LLAMA), some_tokens(length=16)
    here = model(tokens)
    there = model(tokens, positions=torch.arange(16, 32).expand(2, -1))
    torch.testing.assert_close(here, there, atol=1e-4, rtol=0)


@pytest.mark.parametrize("config", [LLAMA, GPT], ids=["llama", "gpt"])
def test_fresh_weights_guess_evenly_and_repeat_by_seed(config: DecoderConfig) -> None:
    model, twin, other = Decoder(config), Decoder(config), Decoder(config)
    model.initialise(1)
    twin.initialise(torch.Generator().manual_seed(1))
    other.initialise(2)
    tokens = some_tokens()
    assert torch.equal(model(tokens), twin(tokens)) and not torch.equal(model(tokens), other(tokens))
    loss = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(-1, 1).flatten())
    assert loss.item() == pytest.approx(math.log(97), rel=0.05)


def test_fresh_llama_layers_are_the_identity_and_gpt2s_shrink_with_depth() -> None:
    model = Decoder(LLAMA)
    model.initialise(1)
    x = torch.randn(2, 8, 48)
    assert torch.equal(model.blocks[1](x, model.rotary(8, None, x.dtype)), x)
    gpt2 = Decoder(decoder_config("gpt2", vocabulary=97, layers=8, width=256))
    gpt2.initialise(1)
    assert gpt2.blocks[0].feed_forward.down.weight.std().item() == pytest.approx(0.02 / 4, rel=0.02)
    assert gpt2.blocks[0].feed_forward.up.weight.std().item() == pytest.approx(0.02, rel=0.02)


def test_dropout_acts_while_training_alone() -> None:
    model = make(decoder_config("plutao-1m", vocabulary=97, context=32, dropout=0.5))
    tokens = some_tokens()
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


def test_dropping_half_of_a_layer_keeps_its_mean() -> None:
    block = make(decoder_config("plutao-1m", vocabulary=97, context=32, dropout=0.5)).blocks[0].train()
    dropped = block.drop(torch.ones(100, 100, 10))
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)


@torch.no_grad()
def test_plain_attention_on_short_rows_is_the_fused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = make(LLAMA).bfloat16(), some_tokens()
    plain = model(tokens).float()
    monkeypatch.setattr(parts, "SHORT", 0)
    fused = model(tokens).float()
    assert not torch.equal(plain, fused), "both ways were taken"
    torch.testing.assert_close(plain, fused, atol=0.15, rtol=0.05)


def test_more_tokens_than_the_context_are_refused() -> None:
    with pytest.raises(AssertionError, match="33 tokens do not fit a context of 32"):
        make(LLAMA)(some_tokens(length=33))


@pytest.mark.compiler
def test_blocks_compile_once_for_all_layers_and_batch_shapes() -> None:
    model, plain = make(LLAMA), make(LLAMA)
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    for block in model.blocks:
        block.compile(fullgraph=True, backend=counter)
    for rows, length in [(2, 32), (3, 16), (4, 24), (5, 8)]:
        tokens = some_tokens(rows, length)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model(tokens), plain(tokens), atol=0.05, rtol=0.05)
    assert counter.frame_count <= 2, "one graph for the first shape, one for all other shapes"
    model(some_tokens(1, 4), GrowingCache())
    assert counter.frame_count <= 2, "a cache compiles nothing"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_texts_packed_into_a_row_are_read_as_if_each_were_alone(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = Decoder(decoder_config("plutao-1m", vocabulary=128, context=32)).to(dtype)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.1)
    texts = [torch.randint(128, (length,)) for length in (7, 12, 5)]
    row = torch.cat([*texts, torch.zeros(8, dtype=torch.long)]).unsqueeze(0)
    segments = torch.tensor([[1] * 7 + [2] * 12 + [3] * 5 + [0] * 8])
    packed = model(row, segments=segments)[0, :24]
    alone = torch.cat([model(text.unsqueeze(0))[0] for text in texts])
    assert torch.allclose(packed.float(), alone.float(), atol=1e-5 if dtype == torch.float32 else 0.2)
    changed = row.clone()
    changed[0, :7] = 5
    again = model(changed, segments=segments)[0, :24]
    assert torch.equal(again[7:], packed[7:])
    assert not torch.equal(again[:7], packed[:7])
