"""Costs agree with what was published, and the memory estimate with what training really keeps."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from plutao.errors import UserError
from plutao.models import hardware
from plutao.models.cost import (
    assert_fits,
    attention_flops_per_token,
    flops_per_token,
    key_value_memory,
    largest_batch,
    plain_flops_per_token,
    training_memory,
)
from plutao.models.decoder import Decoder
from plutao.models.presets import decoder_config

GIB = 2**30


def test_gpt3_took_the_operations_that_its_authors_count() -> None:
    """Brown et al. 2020, table D.1: 3.14e23 for 300 billion tokens."""
    assert plain_flops_per_token(decoder_config("gpt3-175b")) * 300e9 == pytest.approx(3.14e23, rel=0.002)


def test_llama_65b_at_the_published_speed_uses_47_percent_of_its_accelerators() -> None:
    """Touvron et al. 2023: 380 tokens a second on each A100; 47.7% counted as 6N, 49.7% with attention."""
    config, peak = decoder_config("llama-65b"), hardware.HARDWARE["a100"].flops
    assert 380 * plain_flops_per_token(config) / peak == pytest.approx(0.477, abs=0.001)
    assert 380 * flops_per_token(config) / peak == pytest.approx(0.497, abs=0.001)


def test_attention_is_counted_as_in_palm() -> None:
    """Chowdhery et al. 2022, appendix B: 12·L·H·Q·T a token; at GPT-3's shape that is 2.8% on top of 6N."""
    config = decoder_config("gpt3-175b")
    assert attention_flops_per_token(config) == 12 * 96 * 12_288 * 2048
    assert attention_flops_per_token(config) / plain_flops_per_token(config) == pytest.approx(0.0277, abs=0.0002)
    assert flops_per_token(config, 1024) < flops_per_token(config)


@pytest.mark.parametrize("preset", ["plutao-1m", "gpt2"])
def test_the_estimate_of_activations_is_near_what_autograd_keeps(preset: str) -> None:
    """Kept tensors are counted once each, in bf16 autocast, layers alone."""
    config = decoder_config(preset, vocabulary=64, context=64, layers=4)
    model, kept = Decoder(config), dict[int, int]()
    model.initialise(1)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tensor.numel() >= 8 * 64:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = torch.zeros(8, 64, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        hidden = model.hidden(tokens)
    held = sum(kept.values()) - 2 * sum(p.numel() for p in model.blocks.parameters())  # autocast's copies of weights
    assert training_memory(config, 8).activations == pytest.approx(held, rel=0.35)
    del hidden


def test_states_are_what_the_optimizers_keep() -> None:
    model = Decoder(decoder_config("plutao-1m"))
    memory = training_memory(model.config, 1, optimizer="adamw", precision="fp32")
    optimizer = torch.optim.AdamW(model.parameters())
    F.cross_entropy(model(torch.zeros(1, 8, dtype=torch.long))[0], torch.zeros(8, dtype=torch.long)).backward()
    optimizer.step()
    states = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert memory.optimizer == sum(state.nbytes for state in states)
    assert memory.weights == memory.gradients == sum(parameter.nbytes for parameter in model.parameters())
    muon = training_memory(model.config, 1, optimizer="muon", precision="fp32")
    assert memory.optimizer / 2 < muon.optimizer < memory.optimizer


def test_keys_and_values_of_gpt3_fill_what_is_known() -> None:
    """GPT-3 keeps 2 · 96 · 12,288 numbers a token: 4.7 MB in 16 bits."""
    assert key_value_memory(decoder_config("gpt3-175b"), length=1, number=2) == 4_718_592
    grouped = decoder_config("plutao-7m", kv_heads=1)
    assert key_value_memory(grouped) * 4 == key_value_memory(decoder_config("plutao-7m"))


def test_the_largest_batch_fits_and_one_more_row_does_not() -> None:
    config = decoder_config("plutao-7m")
    rows = largest_batch(config, 2 * GIB)
    assert training_memory(config, rows).total <= 2 * GIB < training_memory(config, rows + 1).total
    assert largest_batch(config, 1000) == 0


def test_a_model_that_cannot_fit_is_refused_before_anything_is_allocated() -> None:
    config = decoder_config("plutao-7m", context=256)
    assert_fits(config, 8, available=GIB)
    fitting = largest_batch(config, GIB)
    with pytest.raises(UserError, match=rf"7.2 million parameters.*GiB are free. Set base.micro_batch to {fitting} "):
        assert_fits(config, 512, available=GIB)
    with pytest.raises(UserError, match="Not even one row fits"):
        assert_fits(decoder_config("gpt3-175b"), 1)


def test_free_memory_is_what_the_machine_and_its_container_leave(tmp_path: Path) -> None:
    assert GIB / 8 < hardware.available_memory() < 2**50
    assert hardware.control_group_room(tmp_path) == []
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert hardware.control_group_room(tmp_path) == []
    (tmp_path / "memory.max").write_text("5000\n")
    assert hardware.control_group_room(tmp_path) == [4000]


def test_hardware_is_read_as_people_write_it() -> None:
    assert hardware.parse_hardware("8xH100") == (8, hardware.HARDWARE["h100"])
    assert hardware.parse_hardware("2048×a100-80GB") == (2048, hardware.HARDWARE["a100"])
    assert hardware.parse_hardware("RTX4090")[0] == 1
    assert hardware.parse_hardware("this")[1].flops > 1e9
    for wrong, says in [
        ("8xH10", "Did you mean H100"),
        ("0xH100", "is not known"),
        ("eight", "as in 8xH100 one of: V100"),
    ]:
        with pytest.raises(UserError, match=says):
            hardware.parse_hardware(wrong)
