"""A stage's metrics.jsonl, read back: what was measured while it learned."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

Point = dict[str, Any]


@dataclass(frozen=True)
class History:
    """The lines of a metrics.jsonl by kind, each in the order of its steps."""

    training: list[Point]
    """step, tokens, seconds, loss (nats per token), learning_rate, gradient_norm, tokens_per_second."""
    validation: list[Point]
    """step, tokens, seconds, loss (nats per token), bits_per_byte."""
    samples: list[Point]
    """step, tokens, seconds, samples: [{prompt, text}]."""
    events: list[Point]
    """step, event: what was unusual, in words."""


def read_history(path: Path) -> History:
    """Reads a metrics.jsonl. A last line cut by a crash is passed over; of a step written twice the later line counts."""
    lines: list[Point] = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    validation = [{**line, **line["validation"]} for line in of_kind(lines, "validation")]
    return History(of_kind(lines, "loss"), validation, of_kind(lines, "samples"), of_kind(lines, "event"))


def of_kind(lines: Sequence[Point], key: str) -> list[Point]:
    found = {(line["step"], line.get("event")): line for line in lines if key in line}
    return sorted(found.values(), key=lambda line: int(line["step"]))


def thin(points: Sequence[Point], most: int) -> list[Point]:
    """At most `most` points: neighbours are averaged, so that nothing a curve shows is left out of it."""
    if len(points) <= most:
        return list(points)
    edges = [round(i * len(points) / most) for i in range(most + 1)]
    return [averaged(points[start:end]) for start, end in pairwise(edges)]


def averaged(points: Sequence[Point]) -> Point:
    """Measures are averaged; where the group ends (step, tokens, seconds) is taken from its last point."""
    last = points[-1]
    measures = [key for key in last if isinstance(last[key], float) and key != "seconds"]
    means = {key: fmean(point[key] for point in points if key in point) for key in measures}
    return last | means


def smoothed(values: Sequence[float], reach: int = 8) -> list[float]:
    """Each value averaged with up to `reach` neighbours on either side, as many on both: a curve that does not lag.

    Short curves are averaged over less, so that their shape stays.
    """
    reach = min(reach, len(values) // 25)
    sides = [min(reach, place, len(values) - 1 - place) for place in range(len(values))]
    return [sum(values[place - side : place + side + 1]) / (2 * side + 1) for place, side in enumerate(sides)]
