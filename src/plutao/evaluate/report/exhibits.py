"""The report's pictures with their captions, and each as a table: whoever can't see the one reads the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from plutao.evaluate.report import figures
from plutao.evaluate.report.history import History, Point, thin
from plutao.evaluate.report.numbers import Numbers
from plutao.evaluate.report.words import words

PAIRED = ("reward", "dpo")
"""Stages that learn from pairs of answers."""
MOST_ROWS = 24
"""Rows of a curve's table."""


@dataclass(frozen=True)
class Exhibit:
    """A figure, what it shows, and the same as a table."""

    id: str
    title: str
    note: str
    figure: go.Figure
    columns: list[str]
    rows: list[list[str]]


def curves(stage: str, history: History, card: Mapping[str, Any], language: str) -> list[Exhibit]:
    """How a stage learned: training loss, validation, learning rate, speed; those that were measured."""
    say = words(language)
    form = Numbers(say)
    found = []
    if history.training:
        unit = "nats_per_pair" if stage in PAIRED else "nats_per_token"
        rows = table(history.training, {"tokens": 0, "loss": 3}, form)
        columns = [say["step"], say["tokens"], f"{say['loss']} ({say[unit]})"]
        figure = figures.training_loss(history, language, unit)
        found.append(Exhibit(f"{stage}-loss", say["training_loss"], say[f"{unit}_note"], figure, columns, rows))
    if any(point.get("bits_per_byte") is not None for point in history.validation):
        rows = table(history.validation, {"tokens": 0, "loss": 3, "bits_per_byte": 4}, form)
        columns = [say["step"], say["tokens"], f"{say['loss']} ({say['nats_per_token']})", say["bits_per_byte"]]
        figure = figures.validation_curve(history, card.get("validation"), language)
        title = capital(say["bits_per_byte"])
        found.append(Exhibit(f"{stage}-validation", title, say["validation_note"], figure, columns, rows))
    for key, title, note, unit in (
        ("learning_rate", say["learning_rate"], say["learning_rate_note"], say["learning_rate"].lower()),
        ("tokens_per_second", capital(say["tokens_per_second"]), say["speed_note"], say["tokens_per_second"]),
    ):
        if any(point.get(key) is not None for point in history.training):
            rows = table(history.training, {"tokens": 0, key: None}, form)
            figure = figures.over_tokens(history, key, unit, language)
            found.append(Exhibit(f"{stage}-{key}", title, note, figure, [say["step"], say["tokens"], unit], rows))
    return found


def exam(stage: str, result: Mapping[str, Any], language: str) -> list[Exhibit]:
    """An exam by task and by language, with intervals and the floor."""
    say = words(language)
    found = []
    for key, label in (("by_task", "task"), ("by_language", "language")):
        if result.get(key):
            measured = {"": result["overall"], **result[key]}
            rows = [share_row(name or say["overall"], share, Numbers(say)) for name, share in measured.items()]
            columns = [say[label], say["right"], say["interval"], say["floor"], say["questions"]]
            if "floor" not in result["overall"]:
                columns, rows = [*columns[:3], columns[4]], [[*row[:3], row[4]] for row in rows]
            figure = figures.shares(result[key], language)
            found.append(Exhibit(f"{stage}-exam-{key}", say[key], "", figure, columns, rows))
    return found


def share_row(name: str, share: Mapping[str, float], form: Numbers) -> list[str]:
    interval = f"{form.percent(share['low'])} – {form.percent(share['high'])}"
    floor = form.percent(share["floor"]) if "floor" in share else "–"
    return [name, form.percent(share["value"]), interval, floor, form.number(share["n"])]


def table(points: Sequence[Point], digits: Mapping[str, int | None], form: Numbers) -> list[list[str]]:
    """Rows of step and the named columns, thinned; `digits` None is significant digits."""
    rows = []
    for point in thin(points, MOST_ROWS):
        cells = [form.number(point["step"])]
        for key, places in digits.items():
            value = point.get(key)
            cells.append(
                "–" if value is None else form.significant(value) if places is None else form.number(value, places)
            )
        rows.append(cells)
    return rows


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
