"""Tokens per second of training: ours beside `transformers`, same shape and optimizer, alternating in one run.

Ours is what `plutao run` does (AdamW here, on both sides); theirs is `LlamaForCausalLM` as it comes (eager, fp32) and at its
best (bf16 autocast and torch.compile of the whole model). `python benchmarks/training.py` prints the ratios with their
spread; `--json` prints them for programs.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from plutao.data.pack import Batch
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.models.presets import decoder_config
from plutao.recipe import OptimizerSettings
from plutao.train import device as devices
from plutao.train.loop import compile_blocks
from plutao.train.objectives import next_token
from plutao.train.optimizer import Optimizers

VOCABULARY, CONTEXT, BATCH = 8192, 256, 16
Step = Callable[[], float]


def measure(preset: str = "plutao-7m", rounds: int = 6, best: bool = True) -> dict[str, Any]:
    """Speeds and ratios of one shape; a ratio is ours ÷ theirs in one round, `low` and `high` the extremes of the rounds.

    The shape is `preset`'s as a Llama (without QK-norm), so that the same class exists on both sides.
    """
    torch.manual_seed(0)
    config = decoder_config(preset, VOCABULARY, context=CONTEXT, qk_norm=False)
    rows = torch.randint(VOCABULARY, (BATCH, CONTEXT + 1))
    batch = Batch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
    sides = {"transformers": their_step(config, batch, False), "plutao": our_step(config, batch)}
    if best:
        sides["transformers, bf16 and compiled"] = their_step(config, batch, True)
    seconds = alternate(sides, rounds)
    return {
        "preset": preset,
        "parameters": config.parameters(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "tokens_per_second": {name: round(batch.tokens.numel() / statistics.median(s)) for name, s in seconds.items()},
        "ratios": {name: ratio(seconds[name], seconds["plutao"]) for name in sides if name != "plutao"},
    }


def our_step(config: DecoderConfig, batch: Batch) -> Step:
    device = devices.choose()
    model = Decoder(config)
    model.initialise(0)
    if device.compiled:
        compile_blocks(model)
    optimizer = Optimizers(model, OptimizerSettings(kind="adamw", learning_rate=1e-3), device.kind)
    objective = next_token(compiled=device.compiled)

    def step() -> float:
        with device.autocast():
            loss, _ = objective(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(1.0)
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def their_step(config: DecoderConfig, batch: Batch, at_its_best: bool) -> Step:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            intermediate_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=config.tied,
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    called: Any = torch.compile(model) if at_its_best else model

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=at_its_best):
            loss = called(input_ids=batch.tokens, labels=batch.tokens).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def alternate(sides: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side's steps, taken in turn after two that warm up and compile."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for step in sides.values():
        step(), step()
    for _ in range(rounds):
        for name, step in sides.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(theirs: list[float], ours: list[float]) -> dict[str, float]:
    each = [their / our for their, our in zip(theirs, ours, strict=True)]
    return {"ratio": round(statistics.median(each), 2), "low": round(min(each), 2), "high": round(max(each), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", default="plutao-7m")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure(arguments.preset, arguments.rounds)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(
        f"training {result['preset']}, {result['parameters']:,} parameters, {result['threads']} threads, T={CONTEXT}, B={BATCH}"
    )
    for name, speed in result["tokens_per_second"].items():
        print(f"  {name}: {speed:,} tokens/s")
    for name, spread in result["ratios"].items():
        print(f"  plutao ÷ {name}: {spread['ratio']}× ({spread['low']}–{spread['high']})")


if __name__ == "__main__":
    main()
