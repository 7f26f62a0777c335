"""Folders of models that see: the Vision Transformer as transformers' ViTForImageClassification, the convolutional network
in a form of our own.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from plutao.errors import UserError
from plutao.files import read_json, write_json
from plutao.models.folder import read_tensors, write_folder
from plutao.models.interop.weights import WHOLE, Weights, write_weights
from plutao.models.vision import (
    ConvolutionalNetwork,
    ConvolutionConfig,
    PatchConfig,
    VisionModel,
    VisionTransformer,
)

OWN = "plutao-cnn"
NAMES = {
    "class_token": "vit.embeddings.cls_token",
    "positions": "vit.embeddings.position_embeddings",
    "patch_embedding": "vit.embeddings.patch_embeddings.projection",
    "norm": "vit.layernorm",
    "score": "classifier",
}
IN_BLOCKS = {
    "attention.query": "attention.attention.query",
    "attention.key": "attention.attention.key",
    "attention.value": "attention.attention.value",
    "attention.output": "attention.output.dense",
    "attention_norm": "layernorm_before",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
    "feed_forward_norm": "layernorm_after",
}


def save_vision(
    model: VisionModel, folder: Path, classes: Sequence[str], mean: Sequence[float], deviation: Sequence[float]
) -> None:
    """Writes config.json, preprocessor_config.json and model.safetensors into `folder`, other files there untouched.

    Args:
        mean: of each channel's pixels between 0 and 1, taken off before they are divided by `deviation`.

    Raises:
        UserError: the folder can't be written.
    """
    names = {"id2label": {str(k): name for k, name in enumerate(classes)}}
    names["label2id"] = {name: k for k, name in enumerate(classes)}  # type: ignore[misc]
    if isinstance(model, ConvolutionalNetwork):
        write_folder(folder, OWN, asdict(model.config) | names, model)
    else:
        tensors = {their_name(name): tensor for name, tensor in model.state_dict().items()}
        projection = f"{NAMES['patch_embedding']}.weight"
        c = model.config
        tensors[projection] = tensors[projection].view(c.width, c.channels, c.patch, c.patch)
        write_weights(tensors, folder / WHOLE)
        write_json(folder / "config.json", describe(c) | names)
    write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": model.config.size, "width": model.config.size},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(mean),
            "image_std": list(deviation),
        },
    )


def describe(config: PatchConfig) -> dict[str, Any]:
    """The contents of a Vision Transformer's config.json, but for the classes' names."""
    return {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden,
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": config.norm_eps,
        "image_size": config.size,
        "patch_size": config.patch,
        "num_channels": config.channels,
        "qkv_bias": True,
        "dtype": "float32",
    }


def load_vision(folder: Path) -> VisionModel:
    """The model of a folder: a Vision Transformer, ours or transformers', or a convolutional network of ours.

    Raises:
        UserError: it is another model's folder, or damaged.
    """
    settings = read_json(folder / "config.json")
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind not in (OWN, "vit"):
        raise UserError(f"{folder / 'config.json'}: model_type {kind!r} does not see images; vit and {OWN} do.")
    try:
        model: VisionModel
        if kind == OWN:
            fields = {name: settings[name] for name in ("channels", "size", "classes", "width", "layers", "dropout")}
            model = ConvolutionalNetwork(ConvolutionConfig(**fields))
        else:
            model = VisionTransformer(read_shape(settings, folder))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'} lacks a setting or has a wrong one ({error}).") from error
    if isinstance(model, ConvolutionalNetwork):
        read_tensors(model, folder)
    else:
        read_theirs(model, folder)
    return model.train(False)


def read_shape(settings: dict[str, Any], folder: Path) -> PatchConfig:
    for name, value in {"qkv_bias": True, "hidden_act": "gelu"}.items():
        if settings.get(name, value) != value:
            raise UserError(f"{folder / 'config.json'}: {name} = {settings[name]!r} is not supported, only {value!r}.")
    return PatchConfig(
        channels=int(settings["num_channels"]),
        size=int(settings["image_size"]),
        classes=len(settings.get("id2label") or {0: "", 1: ""}),
        patch=int(settings["patch_size"]),
        width=int(settings["hidden_size"]),
        layers=int(settings["num_hidden_layers"]),
        heads=int(settings["num_attention_heads"]),
        hidden=int(settings["intermediate_size"]),
        dropout=float(settings.get("hidden_dropout_prob", 0.0)),
        norm_eps=float(settings.get("layer_norm_eps", 1e-12)),
    )


def read_theirs(model: VisionTransformer, folder: Path) -> None:
    """Puts transformers' weights into our model; raises UserError where some are missing or of another shape."""
    weights, taken = Weights(folder), {}
    for name, expected in model.state_dict().items():
        theirs = their_name(name)
        if theirs not in weights:
            raise UserError(f"{folder}: the weights lack {theirs}; fetch the model again.")
        tensor = weights.read(theirs)
        if tensor.numel() != expected.numel():
            raise UserError(f"{folder}: {theirs} is {list(tensor.shape)}, which config.json does not ask for.")
        taken[name] = tensor.reshape(expected.shape)
    model.load_state_dict(taken)


def load_classes(folder: Path) -> list[str]:
    """The classes' names, in their order."""
    names = read_json(folder / "config.json").get("id2label") or {}
    return [str(names[key]) for key in sorted(names, key=int)]


def load_scale(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, by which pixels are scaled before the model sees them."""
    settings = read_json(folder / "preprocessor_config.json")
    return [float(x) for x in settings["image_mean"]], [float(x) for x in settings["image_std"]]


def their_name(name: str) -> str:
    """What transformers calls our `blocks.3.attention.query.weight`."""
    if name in NAMES:
        return NAMES[name]
    module, _, leaf = name.rpartition(".")
    if match := re.fullmatch(r"blocks\.(\d+)\.(.+)", module):
        return f"vit.encoder.layer.{match[1]}.{IN_BLOCKS[match[2]]}.{leaf}"
    return f"{NAMES[module]}.{leaf}"
