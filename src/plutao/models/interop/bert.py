"""Hugging Face folders of BERT models, both ways: masked language model, sequence classification, question answering.

Nothing here imports transformers: a folder is a config.json and a model.safetensors.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plutao.errors import UserError
from plutao.files import read_json, write_json
from plutao.models.encoder import BertModel, EncoderConfig, MaskedModel, SequenceModel, SpanModel
from plutao.models.interop.weights import WHOLE, Weights, dtype_name, write_weights

NAMES = {
    "encoder.embedding": "bert.embeddings.word_embeddings",
    "encoder.position_embedding": "bert.embeddings.position_embeddings",
    "encoder.segment_embedding": "bert.embeddings.token_type_embeddings",
    "encoder.embedding_norm": "bert.embeddings.LayerNorm",
    "pooler.dense": "bert.pooler.dense",
    "transform": "cls.predictions.transform.dense",
    "transform_norm": "cls.predictions.transform.LayerNorm",
}
IN_BLOCKS = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}
SCORES: dict[type[Any], str] = {
    MaskedModel: "cls.seq_relationship",
    SequenceModel: "classifier",
    SpanModel: "qa_outputs",
}
HEADS = ("cls.", "classifier.", "qa_outputs.", "bert.pooler.")
"""What may be left over: parts that another task of BERT's needs."""
MASKED = ("BertForMaskedLM", "BertForPreTraining", "BertModel")
SUPPORTED = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}


def architecture(model: BertModel) -> str:
    """Which of transformers' classes this is."""
    if isinstance(model, MaskedModel):
        return "BertForMaskedLM" if model.pooler is None else "BertForPreTraining"
    return "BertForSequenceClassification" if isinstance(model, SequenceModel) else "BertForQuestionAnswering"


def save_bert(model: BertModel, folder: Path, *, pad: int, labels: Sequence[str] = ()) -> None:
    """Writes config.json and model.safetensors into `folder`, other files there untouched.

    Args:
        pad: the id of the token that fills rows.
        labels: the classes' names, where the model has classes.

    Raises:
        UserError: the folder can't be written.
    """
    tensors = {their_name(name, model): tensor for name, tensor in model.state_dict().items()}
    write_weights(tensors, folder / WHOLE)
    c = model.config
    settings: dict[str, Any] = {
        "architectures": [architecture(model)],
        "model_type": "bert",
        "vocab_size": c.vocabulary,
        "max_position_embeddings": c.context,
        "num_hidden_layers": c.layers,
        "hidden_size": c.width,
        "num_attention_heads": c.heads,
        "intermediate_size": c.hidden,
        "type_vocab_size": c.segments,
        "hidden_act": "gelu_new" if c.activation == "gelu_tanh" else "gelu",
        "hidden_dropout_prob": c.dropout,
        "attention_probs_dropout_prob": 0.0,  # dropped from what a layer adds only, which leaves fused kernels their speed
        "layer_norm_eps": c.norm_eps,
        "pad_token_id": pad,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
        "dtype": dtype_name(model.encoder.embedding.weight.dtype),
    }
    if isinstance(model, SequenceModel):
        names = list(labels) or [f"LABEL_{number}" for number in range(model.outputs)]
        assert len(names) == model.outputs, f"{len(names)} labels for {model.outputs} outputs"
        settings["id2label"] = {str(number): name for number, name in enumerate(names)}
        settings["label2id"] = {name: number for number, name in enumerate(names)}
        settings["problem_type"] = "regression" if model.outputs == 1 else "single_label_classification"
    write_json(folder / "config.json", settings)


def load_config(folder: Path) -> EncoderConfig:
    """The shape of the BERT in a folder; raises UserError as `load_bert`."""
    path = folder / "config.json"
    settings = read_json(path)
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind != "bert":
        raise UserError(f"{path}: model_type {kind!r} is not supported here; only bert is.")
    for name, value in SUPPORTED.items():
        if settings.get(name, value) != value:
            raise UserError(f"{path}: {name} = {settings[name]!r} is not supported, only {value!r}.")
    if settings.get("hidden_act", "gelu") not in ACTIVATIONS:
        raise UserError(
            f"{path}: hidden_act {settings['hidden_act']!r} is not supported; {', '.join(ACTIVATIONS)} are."
        )
    try:
        return EncoderConfig(
            vocabulary=int(settings["vocab_size"]),
            context=int(settings.get("max_position_embeddings", 512)),
            layers=int(settings["num_hidden_layers"]),
            width=int(settings["hidden_size"]),
            heads=int(settings["num_attention_heads"]),
            hidden=int(settings["intermediate_size"]),
            segments=int(settings.get("type_vocab_size", 2)),
            activation="gelu_tanh" if ACTIVATIONS[settings.get("hidden_act", "gelu")] == "gelu_tanh" else "gelu",
            dropout=float(settings.get("hidden_dropout_prob", 0.1)),
            norm_eps=float(settings.get("layer_norm_eps", 1e-12)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} lacks a setting or has a wrong one ({error}): put back a good copy.") from error


def load_labels(folder: Path) -> list[str]:
    """The names of a classifier's classes, in their order; none where there are no classes."""
    settings = read_json(folder / "config.json")
    names = settings.get("id2label") or {}
    return [str(names[key]) for key in sorted(names, key=int)]


def load_bert(folder: Path, dtype: torch.dtype = torch.float32) -> BertModel:
    """The model of a BERT folder, ours or anyone's; which head it has, its `architectures` says.

    Heads that a folder of another task lacks stay fresh: a masked language model's where only the encoder was published.

    Raises:
        UserError: the folder is not a BERT's, a setting is not supported, weights are pickled, missing, damaged or of
            another shape.
    """
    config, weights = load_config(folder), Weights(folder)
    found = {plain(name): name for name in weights.names()}
    model = empty(folder, config, found)
    model.initialise(0)
    own = model.state_dict()
    taken: dict[str, Tensor] = {}
    for name, expected in own.items():
        theirs = found.get(their_name(name, model)) or found.get(their_name(name, model).removeprefix("bert."))
        if theirs is None:
            if name.startswith("encoder."):
                raise UserError(f"{folder}: the weights lack {their_name(name, model)}; fetch the model again.")
            continue
        tensor = weights.read(theirs)
        if tensor.shape != expected.shape:
            raise UserError(
                f"{folder}: {theirs} gives {list(tensor.shape)} where config.json asks for {list(expected.shape)}; "
                "the two files are not of the same model."
            )
        taken[name] = tensor
    refuse_strangers(folder, found, model)
    model.load_state_dict(own | taken)
    return model.to(dtype).train(False)


def empty(folder: Path, config: EncoderConfig, found: dict[str, str]) -> BertModel:
    """A model with the head that the folder's `architectures` names; raises UserError for one that we do not have."""
    named = (read_json(folder / "config.json").get("architectures") or ["BertForMaskedLM"])[0]
    if named in MASKED:
        return MaskedModel(config, next_sentence="cls.seq_relationship.weight" in found)
    if named == "BertForSequenceClassification":
        return SequenceModel(config, len(load_labels(folder)) or 2)
    if named == "BertForQuestionAnswering":
        return SpanModel(config)
    known = ", ".join([*MASKED, "BertForSequenceClassification", "BertForQuestionAnswering"])
    raise UserError(f"{folder / 'config.json'}: architecture {named!r} is not supported; {known} are.")


def refuse_strangers(folder: Path, found: dict[str, str], model: BertModel) -> None:
    """A tensor of the encoder that we would leave out changes what it says, so it is refused."""
    known = {their_name(name, model) for name in model.state_dict()}
    known |= {name.removeprefix("bert.") for name in known} | {
        "bert.embeddings.position_ids",
        "embeddings.position_ids",
    }
    strangers = [name for name in found if name not in known and not name.startswith((*HEADS, "pooler."))]
    if strangers:
        raise UserError(f"{folder} has weights that config.json does not speak of: {min(strangers)} and others.")


def plain(name: str) -> str:
    """A tensor's name today: files converted from TensorFlow call a norm's weight gamma, and its bias beta."""
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name))


def their_name(name: str, model: BertModel) -> str:
    """What transformers calls our `encoder.blocks.3.attention.query.weight`."""
    if name == "bias":
        return "cls.predictions.bias"
    module, _, leaf = name.rpartition(".")
    if module == "score":
        return f"{SCORES[type(model)]}.{leaf}"
    if match := re.fullmatch(r"encoder\.blocks\.(\d+)\.(.+)", module):
        return f"bert.encoder.layer.{match[1]}.{IN_BLOCKS[match[2]]}.{leaf}"
    return f"{NAMES[module]}.{leaf}"
