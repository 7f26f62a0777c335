"""Our decoder and transformers give the same logits, whichever of the two wrote the folder."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from plutao.errors import UserError
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.models.interop.huggingface import load_config, load_model, save_model
from plutao.models.presets import decoder_config

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

LLAMA_SHAPE = {
    "vocab_size": 101,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GPT2_SHAPE = {"vocab_size": 101, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64}
ROPE = {"rope_type": "default", "rope_theta": 500_000.0}

THEIRS: dict[str, Any] = {
    "llama": lambda: transformers.LlamaConfig(**LLAMA_SHAPE, rms_norm_eps=1e-5),
    "llama-tied-theta": lambda: transformers.LlamaConfig(**LLAMA_SHAPE, tie_word_embeddings=True, rope_parameters=ROPE),
    "llama-wide-heads": lambda: transformers.LlamaConfig(**LLAMA_SHAPE, head_dim=24),
    "qwen2": lambda: transformers.Qwen2Config(**LLAMA_SHAPE, rope_parameters=ROPE),
    "qwen2-tied": lambda: transformers.Qwen2Config(**LLAMA_SHAPE, tie_word_embeddings=True),
    "qwen3": lambda: transformers.Qwen3Config(**LLAMA_SHAPE, head_dim=16),
    "qwen3-tied-theta": lambda: transformers.Qwen3Config(
        **LLAMA_SHAPE, head_dim=32, tie_word_embeddings=True, rope_parameters=ROPE
    ),
    "gpt2": lambda: transformers.GPT2Config(**GPT2_SHAPE),
    "gpt2-exact-gelu-untied": lambda: transformers.GPT2Config(
        **GPT2_SHAPE, activation_function="gelu", n_inner=100, tie_word_embeddings=False
    ),
}
OURS = {
    "llama": decoder_config("llama-7b", 101, 64, layers=3, width=48, heads=4, kv_heads=2, hidden=80),
    "llama-tied": decoder_config("plutao-1m", 101, 64, qk_norm=False, rope_theta=1e6),
    "qwen2": decoder_config("plutao-1m", 101, 64, qk_norm=False, qkv_bias=True, tied=False),
    "qwen3": decoder_config("plutao-1m", 101, 64, heads=4, kv_heads=2, head_width=24),
    "gpt2": decoder_config("gpt2", 101, 64, layers=3, width=48, heads=3),
}


def tokens() -> torch.Tensor:
    return torch.randint(101, (3, 64), generator=torch.Generator().manual_seed(1))


def shake(model: torch.nn.Module) -> None:
    """Gives every parameter, biases and norms too, a value that would be missed if it were left out."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2, generator=generator)


def theirs_in(folder: Path, name: str = "llama", **saving: Any) -> Any:
    model = transformers.AutoModelForCausalLM.from_config(THEIRS[name]()).eval()
    shake(model)
    model.save_pretrained(folder, **saving)
    return model


def ours_in(folder: Path, config: DecoderConfig, dtype: torch.dtype | None = None) -> Decoder:
    model = Decoder(config).eval()
    shake(model)
    save_model(model, folder, dtype, bos=0, eos=[0, 5], pad=1)
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", list(THEIRS))
def test_we_load_theirs(tmp_path: Path, name: str) -> None:
    theirs = theirs_in(tmp_path, name)
    ours = load_model(tmp_path)
    assert sum(p.numel() for p in theirs.parameters()) == ours.config.parameters()
    torch.testing.assert_close(ours(tokens()), theirs(tokens()).logits, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", list(OURS))
def test_they_load_ours_and_so_do_we(tmp_path: Path, name: str) -> None:
    ours = ours_in(tmp_path, OURS[name])
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    torch.testing.assert_close(theirs(tokens()).logits, ours(tokens()), atol=1e-4, rtol=0)
    again = load_model(tmp_path)
    assert again.config == OURS[name] and torch.equal(again(tokens()), ours(tokens()))
    assert theirs.generation_config.eos_token_id == [0, 5] and theirs.config.pad_token_id == 1


@torch.no_grad()
def test_shards_load_as_one(tmp_path: Path) -> None:
    theirs = theirs_in(tmp_path, max_shard_size="20kB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    torch.testing.assert_close(load_model(tmp_path)(tokens()), theirs(tokens()).logits, atol=1e-4, rtol=0)


@torch.no_grad()
def test_gpt2s_first_published_files_load(tmp_path: Path) -> None:
    """Those on the hub have no `transformer.` prefix, hold the causal mask as a tensor, and don't say that they tie."""
    theirs = theirs_in(tmp_path, "gpt2")
    tensors = load_file(tmp_path / "model.safetensors")
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file(tensors | {"h.0.attn.bias": torch.ones(1, 1, 64, 64)}, tmp_path / "model.safetensors")
    edit(tmp_path, tie_word_embeddings=None)
    torch.testing.assert_close(load_model(tmp_path)(tokens()), theirs(tokens()).logits, atol=1e-4, rtol=0)


def test_weights_are_kept_in_the_type_asked_for(tmp_path: Path) -> None:
    ours_in(tmp_path, OURS["qwen3"], torch.bfloat16)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.bfloat16}
    assert load_model(tmp_path).embedding.weight.dtype == torch.float32
    assert load_model(tmp_path, torch.bfloat16).blocks[0].feed_forward.up.weight.dtype == torch.bfloat16


def test_a_loaded_model_can_go_on_training(tmp_path: Path) -> None:
    ours_in(tmp_path, OURS["qwen3"])
    model = load_model(tmp_path)
    model(tokens()).logsumexp(-1).mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.head.weight is model.embedding.weight


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"qkv_bias": True}, "both qk_norm and qkv_bias"),
        ({"norm": "layer"}, "No Hugging Face class joins norm layer"),
        ({"activation": "gelu"}, "activation gelu"),
    ],
)
def test_a_shape_of_no_class_is_refused_when_saving(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        save_model(Decoder(decoder_config("plutao-1m", 101, 64, **changes)), tmp_path)
    assert not list(tmp_path.iterdir())


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is not supported; llama, qwen2, qwen3, gpt2 are"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, "rope_scaling of type 'yarn'"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling of type 'linear'"),
        ({"attention_bias": True}, "attention_bias = True is not supported"),
        ({"hidden_act": "relu"}, "hidden_act = 'relu' is not supported"),
        ({"hidden_size": None}, "lacks a setting"),
        ({"num_hidden_layers": 4}, "the weights lack model.layers.3"),
        ({"num_hidden_layers": 2}, "weights that config.json does not speak of"),
        ({"intermediate_size": 96}, "not of the same model"),
        ({"num_hidden_layers": 10_000_000}, "GiB are free"),
    ],
)
def test_a_folder_we_cannot_follow_is_refused_in_a_sentence(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    theirs_in(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(UserError, match=says):
        load_model(tmp_path)


def test_the_older_place_of_rope_theta_is_read(tmp_path: Path) -> None:
    theirs_in(tmp_path)
    edit(tmp_path, rope_parameters=None, rope_theta=5e5)
    assert load_config(tmp_path).rope_theta == 5e5


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    theirs_in(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="is damaged"):
        load_model(tmp_path)
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match="is damaged"):
        load_model(tmp_path)


def test_pickled_weights_are_refused_with_the_remedy(tmp_path: Path) -> None:
    theirs_in(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pickled.*safetensors version"):
        load_model(tmp_path)


def test_a_missing_shard_or_folder_says_so(tmp_path: Path) -> None:
    theirs_in(tmp_path, max_shard_size="20kB")
    next(tmp_path.glob("model-*.safetensors")).unlink()
    with pytest.raises(UserError, match="is missing"):
        load_model(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is not there"):
        load_model(tmp_path.parent)
