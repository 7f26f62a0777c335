"""Presets have the sizes their authors published."""

import pytest
import torch

from plutao.errors import UserError
from plutao.models.decoder import Decoder
from plutao.models.presets import PRESETS, decoder_config


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("gpt2")])
def test_gpt2_has_exactly_the_published_number_of_parameters(name: str) -> None:
    assert decoder_config(name).parameters() == PRESETS[name].published_parameters


@pytest.mark.parametrize(("name", "tolerance"), [(n, 0.02) for n in PRESETS if n.startswith(("gpt3", "llama"))])
def test_gpt3_and_llama_round_to_the_published_size(name: str, tolerance: float) -> None:
    assert decoder_config(name).parameters() == pytest.approx(PRESETS[name].published_parameters, rel=tolerance)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("plutao")])
def test_own_presets_are_the_size_of_their_name(name: str) -> None:
    config = decoder_config(name)
    assert config.parameters() == pytest.approx(PRESETS[name].published_parameters, rel=0.12)
    multiple = 256 if PRESETS[name].published_parameters > 20e6 else 64
    assert config.width % multiple == 0 and config.hidden % multiple == 0


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_formula_counts_what_the_module_holds(name: str) -> None:
    config = decoder_config(name)
    with torch.device("meta"):
        model = Decoder(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == config.parameters()


def test_printed_rows_that_contradict_themselves_say_so() -> None:
    assert decoder_config("gpt3-xl").heads == 16 and "24 heads" in PRESETS["gpt3-xl"].note
    assert decoder_config("gpt3-13b").width == 5120 and "5,140" in PRESETS["gpt3-13b"].note


def test_other_fields_follow_what_is_overridden() -> None:
    wider = decoder_config("plutao-7m", width=384)
    assert (wider.heads, wider.kv_heads, wider.hidden) == (6, 6, 1152)
    grouped = decoder_config("plutao-7m", heads=8, kv_heads=2, dropout=None)
    assert (grouped.head_width, grouped.kv_heads, grouped.dropout) == (32, 2, 0.0)


@pytest.mark.parametrize(
    ("preset", "overrides", "says"),
    [
        ("plutao-7mb", {}, "Did you mean plutao-7m"),
        ("plutao-7m", {"width": 200}, "width 200 does not divide into heads of 64"),
        ("plutao-7m", {"heads": 3}, "width 256 does not divide into 3 heads"),
        ("plutao-7m", {"kv_heads": 3}, "kv_heads must divide heads"),
        ("plutao-7m", {"head_width": 1, "heads": 256}, "must be even"),
        ("plutao-7m", {"layers": 0}, "layers is 0"),
        ("plutao-7m", {"depth": 3}, "has no depth"),
    ],
)
def test_impossible_shapes_are_refused_in_a_sentence(preset: str, overrides: dict[str, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        decoder_config(preset, **overrides)
