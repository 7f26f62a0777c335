"""The learning rate over a training: up, along, down."""

import math

from plutao.recipe import ScheduleSettings


def rate(step: int, steps: int, settings: ScheduleSettings) -> float:
    """The share of the peak learning rate at `step` (0 … steps − 1) of `steps`.

    `wsd` is warm-up, stable, linear decay (Hu et al. 2024, MiniCPM); `cosine` is Loshchilov & Hutter 2017; both after a
    linear warm-up, and so is `inverse_sqrt`, which then falls as √(warm-up ÷ step) (Vaswani et al. 2017, equation 3).
    """
    warmup = max(1, round(settings.warmup * steps))
    if step < warmup:
        return (step + 1) / warmup
    if settings.kind == "constant":
        return 1.0
    if settings.kind == "inverse_sqrt":
        return settings.floor + (1 - settings.floor) * math.sqrt(warmup / (step + 1))
    start = warmup if settings.kind == "cosine" else max(warmup, steps - round(settings.decay * steps))
    if step < start:
        return 1.0
    progress = (step + 1 - start) / (steps + 1 - start)  # never quite 1: the last step still learns
    falling = 1 - progress if settings.kind == "wsd" else 0.5 * (1 + math.cos(math.pi * progress))
    return settings.floor + (1 - settings.floor) * falling
