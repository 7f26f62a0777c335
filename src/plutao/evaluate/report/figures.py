"""The report's pictures as plotly figures: the same objects serve the report, a notebook and a page.

Colours are those of the light theme; `in_dark` tells what each becomes at night. Nothing is told by colour alone: a second
voice has another dash or another shape too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from plutao.evaluate.report.history import History, smoothed, thin
from plutao.evaluate.report.words import words

SUN, PLUTO, INK, QUIET, GRID = "#A85B0C", "#4E5F73", "#1B1A17", "#6A665D", "#E6E2D8"
PAPER = "#FBFAF7"
in_dark = {SUN: "#F2B35D", PLUTO: "#9FB2C8", INK: "#ECE9E2", QUIET: "#A09C93", GRID: "#272B36", PAPER: "#0F1117"}
FACE = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
MOST_POINTS = 400


def training_loss(history: History, language: str = "en", unit: str = "nats_per_token") -> go.Figure:
    """Training loss over tokens seen, each step and smoothed; validation loss where it was measured.

    Args:
        unit: what the loss is counted in, by its name in the report's words.
    """
    say = words(language)
    points = thin(history.training, MOST_POINTS)
    tokens, losses = [point["tokens"] for point in points], [point["loss"] for point in points]
    figure = empty(say["tokens_seen"], say[unit], language)
    step = go.Scatter(x=tokens, y=losses, name=say["each_step"], line={"color": QUIET, "width": 1}, opacity=0.5)
    smooth = go.Scatter(x=tokens, y=smoothed(losses), name=say["smoothed"], line={"color": SUN, "width": 2.5})
    figure.add_traces([step, smooth])
    if looks := [point for point in history.validation if "loss" in point]:  # of reinforcement learning, the reward
        x, y = column(looks, "tokens"), column(looks, "loss")
        marker = {"symbol": "diamond", "size": 8, "color": PLUTO}
        figure.add_trace(go.Scatter(x=x, y=y, name=say["validation"], mode="markers", marker=marker))
    return figure


def validation_curve(history: History, final: Mapping[str, Any] | None = None, language: str = "en") -> go.Figure:
    """Bits per byte of the validation text over tokens seen; `final` adds the last measure with its interval."""
    say = words(language)
    figure = empty(say["tokens_seen"], say["bits_per_byte"], language)
    tokens, bits = column(history.validation, "tokens"), column(history.validation, "bits_per_byte")
    line, marker = {"color": SUN, "width": 2.5}, {"size": 7, "color": SUN}
    figure.add_trace(
        go.Scatter(x=tokens, y=bits, name=say["on_the_way"], mode="lines+markers", line=line, marker=marker)
    )
    figure.update_xaxes(rangemode="tozero")
    if final is not None and final.get("bits_per_byte") is not None and history.training:
        value = final["bits_per_byte"]
        low, high = (final.get(end) if final.get(end) is not None else value for end in ("low", "high"))
        error = {
            "type": "data",
            "symmetric": False,
            "array": [high - value],
            "arrayminus": [value - low],
            "color": PLUTO,
        }
        marker = {"symbol": "diamond", "size": 10, "color": PLUTO}
        x, y = [history.training[-1]["tokens"]], [value]
        figure.add_trace(go.Scatter(x=x, y=y, name=say["whole_text"], mode="markers", marker=marker, error_y=error))
    return figure


def over_tokens(history: History, key: str, label: str, language: str = "en") -> go.Figure:
    """Any number of the training lines over tokens seen: learning_rate, tokens_per_second, gradient_norm."""
    points = [point for point in thin(history.training, MOST_POINTS) if point.get(key) is not None]
    figure = empty(words(language)["tokens_seen"], label, language)
    figure.add_trace(
        go.Scatter(x=column(points, "tokens"), y=column(points, key), name=label, line={"color": SUN, "width": 2})
    )
    figure.update_layout(showlegend=False, height=230)
    figure.update_yaxes(rangemode="tozero")
    return figure


def shares(measured: Mapping[str, Mapping[str, float]], language: str = "en") -> go.Figure:
    """Shares with their intervals, one row each, best on top; a bar marks what the best constant answers would get."""
    say = words(language)
    names = sorted(measured, key=lambda name: measured[name]["value"])
    values = [measured[name]["value"] for name in names]
    error = {
        "type": "data",
        "symmetric": False,
        "array": [measured[name]["high"] - measured[name]["value"] for name in names],
        "arrayminus": [measured[name]["value"] - measured[name]["low"] for name in names],
        "color": SUN,
        "thickness": 2,
        "width": 0,
    }
    figure = empty(say["share_right"], "", language)
    rows = [plain(name) for name in names]
    dots = {"size": 10, "color": SUN}
    figure.add_trace(go.Scatter(x=values, y=rows, name=say["model"], mode="markers", error_x=error, marker=dots))
    if all("floor" in measured[name] for name in names):
        floors = [measured[name]["floor"] for name in names]
        marker = {"symbol": "line-ns-open", "size": 14, "color": PLUTO, "line": {"width": 2}}
        figure.add_trace(go.Scatter(x=floors, y=rows, name=say["floor"], mode="markers", marker=marker))
    figure.update_xaxes(range=[-0.02, 1.02], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_yaxes(type="category", range=[-0.7, len(names) - 0.3], showgrid=True)
    figure.update_layout(height=100 + (32 if len(names) < 12 else 22) * len(names))
    return figure


def empty(x: str, y: str, language: str) -> go.Figure:
    """A figure without data in the house's look."""
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": GRID,
        "tickfont": {"size": 12, "color": QUIET},
        "title": {"font": {"size": 12, "color": QUIET}},
        "fixedrange": True,
        "automargin": True,
    }
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=320,
        margin={"l": 8, "r": 12, "t": 34, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FACE, "size": 13, "color": INK},
        hoverlabel={"font": {"family": FACE}, "bgcolor": PAPER, "bordercolor": GRID},
        hovermode="x unified" if y else "closest",
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12}},
        separators=words(language)["separators"],
        xaxis=axis,
        yaxis=axis,
    )
    figure.update_xaxes(title_text=x, showgrid=not y)
    figure.update_yaxes(title_text=y)
    return figure


def column(points: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    return [point[key] for point in points]


def plain(text: str) -> str:
    """A name as plotly shows it: plotly reads a little HTML in labels, and names are data."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
