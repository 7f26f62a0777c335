"""Tokens per second of generation: ours beside `transformers`, same weights, same machine, alternating in one run.

Both sides write greedily and must write the same tokens (up to a near tie, which is reported). `python
benchmarks/generation.py` prints the ratios with their spread; `--json` prints them for programs.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.models.decoder import Decoder
from plutao.models.interop.huggingface import save_model
from plutao.models.presets import decoder_config
from plutao.text.tokenizer import Tokenizer, train

Tokens = list[list[int]]
PROMPT = 16


def measure(
    preset: str = "plutao-7m", new_tokens: int = 128, rounds: int = 5, batches: tuple[int, ...] = (1, 32)
) -> dict[str, Any]:
    """Speeds and ratios for each batch size.

    The model has `preset`'s shape as a Llama (without QK-norm, so that the same class exists on both sides) and random
    weights: the work of a step does not depend on what they say. A ratio is ours ÷ theirs in one round; `low` and
    `high` are the smallest and largest of the rounds.
    """
    model = Decoder(decoder_config(preset, 8192, context=256, qk_norm=False))
    shake(model)
    tokenizer = small_tokenizer()
    result: dict[str, Any] = {
        "preset": preset,
        "new_tokens": new_tokens,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rows": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        theirs, static = load_theirs(model, Path(folder)), load_theirs(model, Path(folder))
    make_static(static)
    for batch in batches:
        prompts = torch.randint(20, 8192, (batch, PROMPT), generator=torch.Generator().manual_seed(batch))
        sides = {
            "transformers": lambda prompts=prompts: generate_theirs(theirs, prompts, new_tokens),
            "transformers, static cache and compiled": lambda prompts=prompts: generate_theirs(
                static, prompts, new_tokens
            ),
            "plutao, without a compiler": ours(model, tokenizer, prompts, new_tokens, torch.float32, compiled=False),
            "plutao": ours(model, tokenizer, prompts, new_tokens, torch.float32),
            "plutao, bf16": ours(model, tokenizer, prompts, new_tokens, torch.bfloat16),
        }
        result["rows"][f"batch_{batch}"] = compare(sides, batch * new_tokens, rounds)
    return result


def shake(model: Decoder) -> None:
    """Weights that say something different at every position: a fresh model repeats one token."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, 0.05 if "embedding" in name else parameter.shape[1] ** -0.5, generator=generator)


def small_tokenizer() -> Tokenizer:
    """Any tokenizer that knows as many tokens as the model: none is written as text while the clock runs."""
    return train("char", ["".join(chr(0x4E00 + place) for place in range(8000))], 8192)


def load_theirs(model: Decoder, folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    save_model(model, folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs.generation_config.eos_token_id = None
    theirs.generation_config.pad_token_id = 0
    return theirs.eval()


def make_static(theirs: Any) -> None:
    """Keys and values in memory of a fixed size and the forward pass compiled, which `generate` does on GPUs by itself."""
    from transformers.generation.configuration_utils import CompileConfig

    settings = CompileConfig(mode="default", dynamic=False)
    settings._compile_all_devices = True
    theirs.generation_config.cache_implementation = "static"
    theirs.generation_config.compile_config = settings


@torch.inference_mode()
def generate_theirs(theirs: Any, prompts: torch.Tensor, new_tokens: int) -> Tokens:
    mask = torch.ones_like(prompts)
    written = theirs.generate(prompts, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False)
    tokens: Tokens = written[:, prompts.shape[1] :].tolist()
    return tokens


def ours(
    model: Decoder,
    tokenizer: Tokenizer,
    prompts: torch.Tensor,
    new_tokens: int,
    dtype: torch.dtype,
    compiled: bool = True,
) -> Callable[[], Tokens]:
    engine = Engine(model, tokenizer, slots=len(prompts), dtype=dtype, end_tokens=(), compiled=compiled)
    engine.vocabulary = model.config.vocabulary
    sampling = Sampling(temperature=0, max_tokens=new_tokens)
    rows = prompts.tolist()
    return lambda: [answers[0].tokens for answers in engine.complete(rows, sampling)]


def compare(sides: dict[str, Callable[[], Tokens]], tokens: int, rounds: int) -> dict[str, Any]:
    """Runs the sides in turn, `rounds` times after two that warm up and compile; speeds, ratios to the first side, equal tokens."""
    written = {name: [side(), side()][1] for name, side in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - start)
    first = next(iter(sides))
    result: dict[str, Any] = {}
    for name in sides:
        ratios = [base / own for base, own in zip(seconds[first], seconds[name], strict=True)]
        result[name] = {
            "tokens_per_second": round(tokens / statistics.median(seconds[name]), 1),
            "ratio": {
                "value": round(statistics.median(ratios), 2),
                "low": round(min(ratios), 2),
                "high": round(max(ratios), 2),
            },
            "equal_tokens": round(equal_share(written[first], written[name]), 4),
        }
    return result


def equal_share(expected: Tokens, written: Tokens) -> float:
    """Share of the tokens that are equal up to each row's first difference (after a near tie texts go their own ways)."""
    equal = total = 0
    for one, other in zip(expected, written, strict=True):
        differences = [place for place, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]]
        equal += differences[0] if differences else len(one)
        total += len(one)
    return equal / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--preset", default="plutao-7m")
    arguments = parser.parse_args()
    result = measure(arguments.preset, arguments.tokens, arguments.rounds)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for row, sides in result["rows"].items():
        print(f"{row}, greedy, {result['new_tokens']} new tokens, {result['threads']} threads")
        for name, side in sides.items():
            ratio = side["ratio"]
            spread = f"{ratio['value']:5.2f}x ({ratio['low']:.2f} to {ratio['high']:.2f})"
            print(f"  {name:40} {side['tokens_per_second']:9,.0f} tokens/s  {spread}  equal {side['equal_tokens']:.1%}")


if __name__ == "__main__":
    main()
