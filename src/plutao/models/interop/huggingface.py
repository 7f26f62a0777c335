"""Hugging Face folders, both ways: theirs become our Decoder, ours load wherever theirs do.

Nothing here imports transformers: a folder is a config.json and a model.safetensors, and both are written down.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plutao.errors import UserError
from plutao.files import read_json, write_json
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.models.hardware import assert_memory
from plutao.models.interop.weights import WHOLE, Weights, dtype_name, write_weights
from plutao.models.presets import check

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
OTHERS = {
    "bert": "it fills in words, `plutao inspect --fill` asks it",
    "vit": "it sees images, `plutao inspect --image` asks it",
    "plutao-cnn": "it sees images, `plutao inspect --image` asks it",
}
"""Models that have commands of their own."""


def save_model(
    model: Decoder,
    folder: Path,
    dtype: torch.dtype | None = None,
    *,
    bos: int | None = None,
    eos: int | Sequence[int] | None = None,
    pad: int | None = None,
) -> None:
    """Writes config.json, generation_config.json and model.safetensors into `folder`, other files there untouched.

    `dtype` is the weights' type on disk (None: as they are). `bos`, `eos` and `pad` are the ids of the tokens that
    begin a text, end it, and fill; those given are written to both configurations.

    Raises:
        UserError: no Hugging Face class has this shape, or the folder can't be written.
    """
    kind = model_type(model.config)
    dtype = dtype or model.embedding.weight.dtype
    given = {"bos_token_id": bos, "eos_token_id": eos if eos is None or isinstance(eos, int) else list(eos)}
    ids = {name: value for name, value in (given | {"pad_token_id": pad}).items() if value is not None}
    write_weights(as_theirs(own_tensors(model), kind, dtype), folder / WHOLE)
    write_json(folder / "generation_config.json", ids)
    write_json(folder / "config.json", describe(model.config, kind) | {"dtype": dtype_name(dtype)} | ids)


def as_theirs(tensors: dict[str, Tensor], kind: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Our tensors under their names and in their layout."""
    theirs: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        place = find_place(name, kind)
        tensor = tensor.detach().to(dtype)
        theirs.setdefault(place.name, []).append(tensor.T if place.transposed else tensor)
    # Parts of one tensor (GPT-2's queries, keys and values) lie side by side, in the order of our state dict.
    return {name: parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1) for name, parts in theirs.items()}


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> Decoder:
    """A Decoder from the folder of a Llama, Qwen2, Qwen3 or GPT-2 model, ours or anyone's; weights come as `dtype`.

    Raises:
        UserError: the folder is not a model's, its kind or a setting in it is not supported, weights are pickled,
            missing, damaged or of another shape, or there is not enough memory for them.
    """
    config = load_config(folder)
    kind = str(read_json(folder / "config.json")["model_type"])
    return read_decoder(Weights(folder), config, kind, dtype)


def read_decoder(
    weights: Weights, config: DecoderConfig, kind: str, dtype: torch.dtype, others: Sequence[str] = ()
) -> Decoder:
    """A Decoder with the weights of a folder, which may hold `others` besides; raises UserError as `load_model`."""
    folder = weights.folder
    assert_memory(config.parameters() * dtype.itemsize, f"The weights of {folder}")
    with torch.device("meta"):
        model = Decoder(config)
    names = {name: weights_name(find_place(name, kind).name, kind, weights) for name in own_tensors(model)}
    refuse_strangers(weights, {*names.values(), *others}, kind, config)
    loaded = {}
    for name, expected in own_tensors(model).items():
        place = find_place(name, kind)
        tensor = weights.read(names[name])
        tensor = tensor.T if place.transposed else tensor
        tensor = tensor.chunk(3)[place.part] if place.part is not None else tensor
        if tensor.shape != expected.shape:
            raise UserError(
                f"{folder}: {names[name]} gives {list(tensor.shape)} where config.json asks for "
                f"{list(expected.shape)}; the two files are not of the same model."
            )
        loaded[name] = tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)
    return assemble(model, loaded)


def load_config(folder: Path) -> DecoderConfig:
    """The shape of the model in a Hugging Face folder; raises UserError as `load_model`."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder that holds config.json and {WHOLE}.")
    path = folder / "config.json"
    settings = read_json(path)
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind in OTHERS:
        raise UserError(f"{path}: a model of type {kind!r} writes no text: {OTHERS[kind]}.")
    if kind not in ARCHITECTURES:
        raise UserError(f"{path}: model_type {kind!r} is not supported; {', '.join(ARCHITECTURES)} are.")
    try:
        config = read_gpt2(settings, path) if kind == "gpt2" else read_llama(settings, kind, path)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} lacks a setting or has a wrong one ({error}): put back a good copy.") from error
    check(config)
    return config


def assemble(model: Decoder, loaded: dict[str, Tensor]) -> Decoder:
    """Gives a model built on the meta device its weights, its shared table and its tables of positions."""
    model.load_state_dict(loaded, strict=False, assign=True)
    if model.config.tied:
        model.head.weight = model.embedding.weight
    if model.rotary is not None:
        model.rotary.to_empty(device=model.embedding.weight.device)
        model.rotary.reset()
    return model.requires_grad_().train(False)


def own_tensors(model: Decoder) -> dict[str, Tensor]:
    """The state dict, a shared table once."""
    return {n: t for n, t in model.state_dict().items() if not (model.config.tied and n == "head.weight")}


# ---------------------------------------------------------------------------------------------------------------------
# Where each of our tensors lies in theirs


@dataclass(frozen=True)
class Place:
    """A tensor's name in their file; `part` where theirs holds three of ours; transposed where they compute x·W."""

    name: str
    part: int | None = None
    transposed: bool = False


AS_LLAMA = {
    "embedding": "model.embed_tokens",
    "norm": "model.norm",
    "head": "lm_head",
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}
AS_GPT2 = {
    "embedding": "transformer.wte",
    "position_embedding": "transformer.wpe",
    "norm": "transformer.ln_f",
    "head": "lm_head",
    "attention_norm": "ln_1",
    "attention.query": "attn.c_attn",
    "attention.key": "attn.c_attn",
    "attention.value": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}
PARTS = {"attention.query": 0, "attention.key": 1, "attention.value": 2}


def find_place(name: str, kind: str) -> Place:
    """Where `blocks.3.attention.query.weight` lies in the file of a llama, qwen2, qwen3 or gpt2."""
    match = re.fullmatch(r"(?:blocks\.(\d+)\.)?(.+)\.(weight|bias)", name)
    assert match is not None, name
    layer, module, leaf = match.groups()
    theirs = AS_GPT2[module] if kind == "gpt2" else AS_LLAMA[module]
    stem = "" if layer is None else f"transformer.h.{layer}." if kind == "gpt2" else f"model.layers.{layer}."
    is_matrix = kind == "gpt2" and leaf == "weight" and module.startswith(("attention.", "feed_forward."))
    return Place(f"{stem}{theirs}.{leaf}", PARTS.get(module) if kind == "gpt2" else None, transposed=is_matrix)


def weights_name(name: str, kind: str, weights: Weights) -> str:
    """GPT-2's first published files leave out `transformer.`; raises UserError where the tensor is missing."""
    candidates = [name, name.removeprefix("transformer.")] if kind == "gpt2" else [name]
    for candidate in candidates:
        if candidate in weights:
            return candidate
    raise UserError(f"{weights.folder}: the weights lack {name}, which config.json asks for; fetch the model again.")


def refuse_strangers(weights: Weights, known: set[str], kind: str, config: DecoderConfig) -> None:
    """A tensor that we would leave out changes the model's answers, so it is refused; tables of constants are not."""
    constants = r"(.*\.)?h\.\d+\.attn\.(masked_)?bias" if kind == "gpt2" else r".*rotary_emb\.inv_freq"
    strangers = [name for name in weights.names() - known if not re.fullmatch(constants, name)]
    strangers = [name for name in strangers if not (config.tied and name == "lm_head.weight")]
    if strangers:
        raise UserError(
            f"{weights.folder} has weights that config.json does not speak of: {min(strangers)} and others."
        )


# ---------------------------------------------------------------------------------------------------------------------
# config.json


def model_type(config: DecoderConfig) -> str:
    """Which of their classes has this shape; raises UserError where none has."""
    c = config
    if (c.norm, c.positions, c.activation, c.bias) == ("rms", "rope", "swiglu", False):
        if not (c.qk_norm and c.qkv_bias):
            return "qwen3" if c.qk_norm else "qwen2" if c.qkv_bias else "llama"
        raise UserError("No Hugging Face class has both qk_norm and qkv_bias: train without one of them to save it so.")
    if (c.norm, c.positions, c.bias, c.qk_norm) == ("layer", "learned", True, False) and c.activation != "swiglu":
        if c.heads * c.head_width == c.width and c.kv_heads == c.heads:
            return "gpt2"
        raise UserError("Hugging Face's GPT-2 has width = heads · head_width and no grouped heads; this model has not.")
    raise UserError(
        f"No Hugging Face class joins norm {c.norm}, positions {c.positions}, activation {c.activation}, bias {c.bias}"
        ": take Llama's (rms, rope, swiglu, no bias) or GPT-2's (layer, learned, gelu_tanh, bias) to save it so."
    )


def describe(config: DecoderConfig, kind: str) -> dict[str, Any]:
    """The contents of config.json."""
    c = config
    common = {"architectures": [ARCHITECTURES[kind]], "model_type": kind, "vocab_size": c.vocabulary}
    if kind == "gpt2":
        return common | {
            "n_positions": c.context,
            "n_embd": c.width,
            "n_layer": c.layers,
            "n_head": c.heads,
            "n_inner": c.hidden,
            "activation_function": "gelu_new" if c.activation == "gelu_tanh" else "gelu",
            "layer_norm_epsilon": c.norm_eps,
            "embd_pdrop": c.dropout,
            "resid_pdrop": c.dropout,
            "attn_pdrop": 0.0,
            "tie_word_embeddings": c.tied,
        }
    return common | {
        "max_position_embeddings": c.context,
        "hidden_size": c.width,
        "intermediate_size": c.hidden,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_width,
        "hidden_act": "silu",
        "rms_norm_eps": c.norm_eps,
        # transformers 5 reads the table, older readers the number.
        "rope_parameters": {"rope_type": "default", "rope_theta": c.rope_theta},
        "rope_theta": c.rope_theta,
        "tie_word_embeddings": c.tied,
    }


def read_gpt2(settings: dict[str, Any], path: Path) -> DecoderConfig:
    refuse(settings, path, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    activations = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
    activation = settings.get("activation_function", "gelu_new")
    if activation not in activations:
        raise UserError(f"{path}: activation_function {activation!r} is not supported; {', '.join(activations)} are.")
    width, heads = int(settings["n_embd"]), int(settings["n_head"])
    return DecoderConfig(
        vocabulary=int(settings["vocab_size"]),
        context=int(settings.get("n_positions", settings.get("n_ctx", 1024))),
        layers=int(settings["n_layer"]),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        hidden=int(settings.get("n_inner") or 4 * width),
        norm="layer",
        positions="learned",
        activation="gelu" if activation == "gelu" else "gelu_tanh",
        bias=True,
        tied=bool(settings.get("tie_word_embeddings", True)),
        dropout=float(settings.get("resid_pdrop", 0.0)),
        norm_eps=float(settings.get("layer_norm_epsilon", 1e-5)),
    )


def read_llama(settings: dict[str, Any], kind: str, path: Path) -> DecoderConfig:
    # Qwen2 has these biases always, and its configuration's own word for them is not read by its class.
    refuse(settings, path, mlp_bias=False, use_sliding_window=False, hidden_act="silu", quantization_config=None)
    refuse(settings, path, **({} if kind == "qwen2" else {"attention_bias": False}))
    heads, width = int(settings["num_attention_heads"]), int(settings["hidden_size"])
    return DecoderConfig(
        vocabulary=int(settings["vocab_size"]),
        context=int(settings["max_position_embeddings"]),
        layers=int(settings["num_hidden_layers"]),
        width=width,
        heads=heads,
        kv_heads=int(settings.get("num_key_value_heads") or heads),
        # Qwen3's class takes 128 where the file is silent, the others width / heads.
        head_width=int(settings.get("head_dim") or (128 if kind == "qwen3" else width // heads)),
        hidden=int(settings["intermediate_size"]),
        qkv_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
        tied=bool(settings.get("tie_word_embeddings", False)),
        rope_theta=read_rope_theta(settings, path),
        norm_eps=float(settings.get("rms_norm_eps", 1e-6)),
    )


def read_rope_theta(settings: dict[str, Any], path: Path) -> float:
    """The base of the rotary frequencies; stretched ones (rope_scaling) are refused rather than silently left out."""
    table = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    kind = table.get("rope_type", table.get("type", "default"))
    if kind != "default":
        raise UserError(f"{path}: rope_scaling of type {kind!r} is not supported: only models with plain RoPE load.")
    if table.get("partial_rotary_factor", settings.get("partial_rotary_factor", 1.0)) != 1.0:
        raise UserError(f"{path}: partial_rotary_factor is not supported: only models that rotate whole heads load.")
    return float(table.get("rope_theta", settings.get("rope_theta", 10_000.0)))


def refuse(settings: dict[str, Any], path: Path, **supported: Any) -> None:
    """Raises UserError for a setting that is there with another value than the one we compute with."""
    for name, value in supported.items():
        if settings.get(name, value) != value:
            raise UserError(f"{path}: {name} = {settings[name]!r} is not supported, only {value!r}.")
