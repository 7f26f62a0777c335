"""Models that others trained, rebuilt as our decoder: they compute what their authors recorded."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from plutao.models.decoder import Decoder
from plutao.models.interop.huggingface import load_model
from plutao.models.parts import attention_weights
from plutao.models.presets import decoder_config

pytestmark = pytest.mark.real_data


# ---------------------------------------------------------------------------------------------------------------------
# gpt-nano: three layers that sort the letters A, B and C, with every tensor of one forward pass recorded


def read_tensors(path: Path) -> dict[str, Tensor]:
    records = {name: record for name, record in json.loads(path.read_text()).items() if name != "config"}
    return {
        name: torch.frombuffer(bytearray(base64.b64decode(record["data"])), dtype=torch.float32).view(record["shape"])
        for name, record in records.items()
    }


@pytest.fixture
def nano(real_data: Path, tmp_path: Path) -> Decoder:
    """The trained model, by way of a Hugging Face folder (where GPT-2's matrices are stored transposed)."""
    tensors = read_tensors(real_data / "assets" / "gpt_nano_sort_model.json")
    transposed = {name: t.T.contiguous() for name, t in tensors.items() if ".c_" in name and t.ndim == 2}
    save_file(tensors | transposed, tmp_path / "model.safetensors")
    config = {"model_type": "gpt2", "vocab_size": 3, "n_positions": 11, "n_embd": 48, "n_layer": 3, "n_head": 3}
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    return load_model(tmp_path)


def record_outputs(model: Decoder, tokens: Tensor) -> dict[str, Tensor]:
    """Runs the model; what each of its modules gave, and what `<name>.input` each was given, by module name."""
    seen: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def keep(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            seen[name], seen[f"{name}.input"] = output, inputs[0]

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in model.named_modules() if name]
    model(tokens)
    for handle in handles:
        handle.remove()
    return seen


@torch.no_grad()
def test_gpt_nano_is_reproduced_tensor_by_tensor(nano: Decoder, real_data: Path) -> None:
    recorded = read_tensors(real_data / "assets" / "gpt_nano_sort_partials.json")
    tokens = recorded.pop("idx").long()
    seen = record_outputs(nano, tokens)
    first = "blocks.0."
    queries, keys, values = (
        seen[f"{first}attention.{name}"].unflatten(-1, (3, 16)).transpose(1, 2) for name in ("query", "key", "value")
    )
    causal = torch.ones(11, 11, dtype=torch.bool).tril()
    ours = {
        "tok_emb": seen["embedding"],
        "pos_emb": seen["position_embedding"][None],
        "x": seen["blocks.0.input"],
        "ln1": seen[f"{first}attention_norm"],
        "q": queries,
        "k": keys,
        "v": values,
        "qkv": torch.cat([seen[f"{first}attention.{name}"] for name in ("query", "key", "value")], dim=-1),
        "att": (queries @ keys.transpose(-1, -2) / 16**0.5).masked_fill(~causal, float("-inf")),
        "attSm": attention_weights(queries, keys),
        "y": seen[f"{first}attention.output.input"],
        "yProj": seen[f"{first}attention.output"],
        "attnResid": seen[f"{first}feed_forward_norm.input"],
        "ln2": seen[f"{first}feed_forward_norm"],
        "fc": seen[f"{first}feed_forward.up"],
        "gelu": seen[f"{first}feed_forward.down.input"],
        "mlp": seen[f"{first}feed_forward.down"],
        "mlpResid": seen["blocks.0"],
        "block0": seen["blocks.0"],
        "block1": seen["blocks.1"],
        "block2": seen["blocks.2"],
        "ln_f": seen["norm"],
        "lm_head": seen["head"],
        "probs": seen["head"].softmax(dim=-1),
    }
    assert set(ours) == set(recorded)
    for name, tensor in recorded.items():
        torch.testing.assert_close(ours[name], tensor, atol=2e-5, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}")


@torch.no_grad()
def test_gpt_nano_sorts(nano: Decoder) -> None:
    """Given six letters it was trained to go on with the same letters in order."""
    letters = torch.randint(3, (50, 6), generator=torch.Generator().manual_seed(1))
    row = letters
    for _ in range(6):
        row = torch.cat((row, nano(row[:, -11:])[:, -1].argmax(dim=-1, keepdim=True)), dim=1)
    assert (row[:, 6:] == letters.sort(dim=1).values).all(dim=1).float().mean() > 0.9


# ---------------------------------------------------------------------------------------------------------------------
# stories260K: a Llama of 260,032 parameters trained on short stories, in the layout of llama2.c


def read_stories(path: Path) -> tuple[Decoder, dict[str, np.ndarray[Any, Any]]]:
    """Our decoder with the file's weights, and the raw arrays."""
    header = np.fromfile(path, dtype=np.int32, count=7)
    width, hidden, layers, heads, kv_heads, vocabulary, context = (int(number) for number in header)
    head_width = width // heads
    kv_width = kv_heads * head_width
    shapes = {
        "embedding": (vocabulary, width),
        "attention_norm": (layers, width),
        "query": (layers, width, width),
        "key": (layers, kv_width, width),
        "value": (layers, kv_width, width),
        "output": (layers, width, width),
        "feed_forward_norm": (layers, width),
        "gate": (layers, hidden, width),
        "down": (layers, width, hidden),
        "up": (layers, hidden, width),
        "norm": (width,),
        "cosines": (context, head_width // 2),
        "sines": (context, head_width // 2),
    }
    numbers, raw = np.fromfile(path, dtype=np.float32, offset=28), {}
    for name, shape in shapes.items():
        raw[name], numbers = numbers[: np.prod(shape)].reshape(shape), numbers[np.prod(shape) :]
    assert len(numbers) == 0
    config = decoder_config(
        "llama-7b", vocabulary, context, layers=layers, width=width, heads=heads, kv_heads=kv_heads, hidden=hidden,
        tied=True, norm_eps=1e-5,
    )  # fmt: skip
    model = Decoder(config).eval()
    state = {"embedding.weight": raw["embedding"], "head.weight": raw["embedding"], "norm.weight": raw["norm"]}
    for layer in range(layers):
        for name in ("attention_norm", "feed_forward_norm"):
            state[f"blocks.{layer}.{name}.weight"] = raw[name][layer]
        for name in ("query", "key", "value", "output"):
            matrix = raw[name][layer]
            state[f"blocks.{layer}.attention.{name}.weight"] = (
                halves_apart(matrix, head_width) if name in ("query", "key") else matrix
            )
        for name in ("gate", "up", "down"):
            state[f"blocks.{layer}.feed_forward.{name}.weight"] = raw[name][layer]
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
    return model, raw


def halves_apart(matrix: np.ndarray[Any, Any], head_width: int) -> np.ndarray[Any, Any]:
    """llama2.c rotates neighbours (0, 1), (2, 3) …; ours are half a head apart: the rows are dealt out accordingly."""
    heads = matrix.reshape(-1, head_width // 2, 2, matrix.shape[1])
    return heads.transpose(0, 2, 1, 3).reshape(matrix.shape)


def reference_logits(raw: dict[str, np.ndarray[Any, Any]], tokens: list[int]) -> np.ndarray[Any, Any]:
    """The same model written out in NumPy after llama2.c's order of operations, one position at a time, no batching."""

    def norm(x: Any, weight: Any) -> Any:
        return weight * x / np.sqrt((x * x).mean() + 1e-5)

    def turn(x: Any, position: int) -> Any:
        pairs = x.reshape(-1, 4, 2).astype(np.float64)
        turned = (pairs[..., 0] + 1j * pairs[..., 1]) * (raw["cosines"][position] + 1j * raw["sines"][position])
        return np.stack((turned.real, turned.imag), axis=-1).reshape(-1, 8)

    past: list[list[tuple[Any, Any]]] = [[] for _ in range(5)]
    logits = []
    for position, token in enumerate(tokens):
        x = raw["embedding"][token].astype(np.float64)
        for layer in range(5):
            y = norm(x, raw["attention_norm"][layer])
            query, key = turn(raw["query"][layer] @ y, position), turn(raw["key"][layer] @ y, position)
            past[layer].append((key, (raw["value"][layer] @ y).reshape(4, 8)))
            mixed = []
            for head in range(8):
                scores = np.array([query[head] @ k[head // 2] for k, _ in past[layer]]) / np.sqrt(8)
                weights = np.exp(scores - scores.max())
                mixed.append(
                    sum(w * v[head // 2] for w, (_, v) in zip(weights / weights.sum(), past[layer], strict=True))
                )
            x = x + raw["output"][layer] @ np.concatenate(mixed)
            y = norm(x, raw["feed_forward_norm"][layer])
            gate = raw["gate"][layer] @ y
            x = x + raw["down"][layer] @ (gate / (1 + np.exp(-gate)) * (raw["up"][layer] @ y))
        logits.append(raw["embedding"] @ norm(x, raw["norm"]))
    return np.stack(logits)


@torch.no_grad()
def test_a_trained_llama_runs_as_our_decoder(real_data: Path) -> None:
    model, raw = read_stories(real_data / "assets" / "stories260K.bin")
    config = model.config
    assert (config.width, config.layers, config.heads, config.kv_heads, config.vocabulary) == (64, 5, 8, 4, 512)
    assert config.parameters() == 260_032
    assert model.rotary is not None
    torch.testing.assert_close(model.rotary.cosines, torch.from_numpy(raw["cosines"].copy()), atol=1e-4, rtol=0)
    tokens = [1]  # what begins a story
    for _ in range(40):
        tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    logits = model(torch.tensor([tokens]))[0]
    torch.testing.assert_close(logits.double(), torch.from_numpy(reference_logits(raw, tokens)), atol=1e-3, rtol=0)
    story_loss = F.cross_entropy(logits[:-1], torch.tensor(tokens[1:]))
    assert story_loss < 1.5, "a trained model is sure of its own most likely story; guessing evenly costs 6.2 nats"
    shuffled = torch.tensor([tokens])[:, torch.randperm(41, generator=torch.Generator().manual_seed(1))]
    assert F.cross_entropy(model(shuffled)[0, :-1], shuffled[0, 1:]) > 2 * story_loss
