"""Pictures of what makes an assistant: the reward model, reinforcement learning, who wins, how varied the answers are.

As in `figures`, colours are those of the light theme, and nothing is told by colour alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from plutao.evaluate.report.figures import INK, MOST_POINTS, PLUTO, QUIET, SUN, column, empty, plain
from plutao.evaluate.report.history import History, smoothed, thin
from plutao.evaluate.report.words import words

Shares = Mapping[str, Mapping[str, float]]
STYLES = ((SUN, "circle"), (PLUTO, "diamond"), (QUIET, "square"), (INK, "triangle-up"))
"""Colour and shape of one series after the other."""


def between(shares: Sequence[Mapping[str, float]], colour: str) -> dict[str, Any]:
    """Bars from low to high around each value."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [share["high"] - share["value"] for share in shares],
        "arrayminus": [share["value"] - share["low"] for share in shares],
        "color": colour,
        "thickness": 2,
        "width": 0,
    }


def dots(
    measured: Shares,
    unit: str,
    language: str,
    series: str = "",
    height: int = 34,
    marks: Mapping[str, float] | None = None,
) -> go.Figure:
    """Values with their intervals, one row each, in the given order from top to bottom; `marks` are vertical lines."""
    names = list(measured)[::-1]
    values = [measured[name] for name in names]
    figure = empty(unit, "", language)
    marker = {"size": 10, "color": SUN}
    figure.add_trace(
        go.Scatter(
            x=[each["value"] for each in values],
            y=[plain(name) for name in names],
            name=series,
            mode="markers",
            error_x=between(values, SUN),
            marker=marker,
        )
    )
    for place, (name, value) in enumerate((marks or {}).items()):
        line = {"color": PLUTO if place == 0 else QUIET, "width": 1.5, "dash": "dash" if place == 0 else "dot"}
        figure.add_vline(x=value, line=line)
        # A line has no entry in the legend; an empty series with its look has one.
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", line=line, name=plain(name)))
    figure.update_yaxes(type="category", range=[-0.7, len(names) - 0.3], showgrid=True)
    figure.update_layout(height=(100 if marks else 70) + height * len(names), showlegend=bool(marks))
    if not marks:
        figure.update_layout(margin={"t": 8})
    return figure


def per_cent(figure: go.Figure, low: float = 0.0, high: float = 1.0) -> go.Figure:
    """The x axis as a share."""
    margin = (high - low) * 0.02
    figure.update_xaxes(range=[low - margin, high + margin], tickformat=".0%")
    return figure


# ---------------------------------------------------------------------------------------------------------------------
# The reward model


def pair_accuracy(reward: Mapping[str, Any], language: str) -> go.Figure:
    """How often the rewards order a pair as people did, overall and by distance, beside what costs nothing and what
    labellers reach among themselves.
    """
    say = words(language)
    shares = {say["all_pairs"]: reward["pair_accuracy"]}
    for distance, share in reward.get("by_distance", {}).items():
        shares[say["ranks_apart_one" if distance == "1" else "ranks_apart"].format(n=distance)] = share
    baselines, agreement = reward.get("baselines", {}), (reward.get("labellers") or {}).get("agreement")
    marks = {say[f"baseline_{name}"]: share["value"] for name, share in baselines.items() if f"baseline_{name}" in say}
    figure = dots(shares, say["pairs_right"], language, say["reward_model"], marks=marks)
    if agreement:
        line = {"color": INK, "width": 1.5, "dash": "longdash"}
        figure.add_vline(x=agreement["value"], line=line)
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", line=line, name=say["labellers_agree"]))
    lowest = min(0.4, *(share["low"] for share in shares.values()), *marks.values()) if marks else 0.4
    return per_cent(figure, max(0.0, lowest))


def calibration(bins: Sequence[Mapping[str, Any]], language: str) -> go.Figure:
    """Predicted against observed: on the diagonal, the model is as sure as it may be."""
    say = words(language)
    figure = empty(say["predicted_share"], say["observed_share"], language)
    diagonal = {"color": PLUTO, "width": 1.5, "dash": "dash"}
    figure.add_trace(go.Scatter(x=[0.5, 1], y=[0.5, 1], mode="lines", line=diagonal, name=say["well_calibrated"]))
    observed = [each["observed"] for each in bins]
    figure.add_trace(
        go.Scatter(
            x=[each["predicted"] for each in bins],
            y=[share["value"] for share in observed],
            mode="markers+lines",
            name=say["reward_model"],
            line={"color": SUN, "width": 1.5},
            marker={"size": 9, "color": SUN},
            error_y=between(observed, SUN),
        )
    )
    figure.update_xaxes(range=[0.48, 1.02], tickformat=".0%", showgrid=True)
    figure.update_yaxes(tickformat=".0%")
    figure.update_layout(hovermode="closest", height=300)
    return figure


# ---------------------------------------------------------------------------------------------------------------------
# Reinforcement learning


def over_steps(history: History, key: str, label: str, language: str, target: float | None = None) -> go.Figure:
    """One number of the rollouts over steps, smoothed; `target` is what it should stay at. All but rewards count from 0."""
    say = words(language)
    points = [point for point in thin(history.training, MOST_POINTS) if point.get(key) is not None]
    steps, values = column(points, "step"), column(points, key)
    figure = empty(say["step"], label, language)
    thin_line = {"color": QUIET, "width": 1}
    figure.add_trace(go.Scatter(x=steps, y=values, name=say["each_step"], line=thin_line, opacity=0.5))
    bold = {"color": SUN, "width": 2.5}
    figure.add_trace(go.Scatter(x=steps, y=smoothed(values), name=say["smoothed"], line=bold))
    if key != "reward":
        figure.update_yaxes(rangemode="tozero")
    if target is not None:
        figure.add_hline(y=target, line={"color": PLUTO, "width": 1.5, "dash": "dash"})
    figure.update_layout(showlegend=False, height=210, margin={"t": 8})
    return figure


def best_of_n(curve: Sequence[Mapping[str, float]], rl: tuple[float, float], language: str) -> go.Figure:
    """Reward over divergence: choosing the best of n answers of the SFT model, and RL; n is written at each point."""
    say = words(language)
    figure = empty(say["kl_per_answer"], say["reward"], language)
    figure.add_trace(
        go.Scatter(
            x=[point["kl"] for point in curve],
            y=[point["reward"] for point in curve],
            mode="lines+markers+text",
            text=[f"{point['n']:.0f}" for point in curve],
            textposition="top center",
            name=say["best_of_n"],
            cliponaxis=False,
            line={"color": PLUTO, "width": 1.5, "dash": "dash"},
            marker={"size": 8, "color": PLUTO, "symbol": "diamond"},
        )
    )
    marker = {"size": 12, "color": SUN}
    figure.add_trace(go.Scatter(x=[rl[0]], y=[rl[1]], mode="markers", marker=marker, name="rl"))
    figure.update_xaxes(rangemode="tozero", showgrid=True)
    figure.update_layout(hovermode="closest", height=300)
    return figure


# ---------------------------------------------------------------------------------------------------------------------
# Who wins


def against(rates: Shares, opponent: str, language: str) -> go.Figure:
    """Win rates against one model, stage by stage, with the line of equals: the book's Figure 90."""
    say = words(language)
    figure = empty("", say["win_rate_against"].format(opponent=opponent), language)
    order = list(rates)
    figure.add_hline(y=0.5, line={"color": PLUTO, "width": 1.5, "dash": "dash"})
    figure.add_trace(
        go.Scatter(
            x=order,
            y=[rates[name]["value"] for name in order],
            mode="lines+markers",
            line={"color": SUN, "width": 2},
            marker={
                "size": 11,
                "color": SUN,
                "symbol": ["circle" if name != opponent else "circle-open" for name in order],
            },
            error_y=between([rates[name] for name in order], SUN),
        )
    )
    figure.update_xaxes(type="category", range=[-0.4, len(order) - 0.6])
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_layout(showlegend=False, height=300, hovermode="closest", margin={"t": 8})
    return figure


def series(measured: Mapping[str, Shares], unit: str, language: str, ranked: bool = False) -> go.Figure:
    """Shares of several models, a row for each name, each model with its own shape and a little apart from the others.

    Args:
        ranked: the row where the last model is best comes first; else they stay in their order.
    """
    figure = empty(unit, "", language)
    last = measured[list(measured)[-1]]
    rows = list(dict.fromkeys(name for shares in measured.values() for name in shares))[::-1]
    if ranked:
        rows.sort(key=lambda name: last.get(name, {}).get("value", 0.0))
    apart = 0.5 / len(measured)
    for place, (model, shares) in enumerate(measured.items()):
        colour, symbol = STYLES[(len(measured) - 1 - place) % len(STYLES)]
        names = [name for name in rows if name in shares]
        shift = apart * ((len(measured) - 1) / 2 - place)
        figure.add_trace(
            go.Scatter(
                x=[shares[name]["value"] for name in names],
                y=[rows.index(name) + shift for name in names],
                name=model,
                mode="markers",
                marker={"size": 9, "color": colour, "symbol": symbol},
                error_x=between([shares[name] for name in names], colour),
                customdata=[plain(name) for name in names],
                hovertemplate="%{customdata}: %{x:.1%}",
            )
        )
    ticks = {"tickvals": list(range(len(rows))), "ticktext": [plain(name) for name in rows]}
    figure.update_yaxes(range=[-0.7, len(rows) - 0.3], showgrid=True, **ticks)
    row = 36 if len(rows) < 12 else 28 if len(rows) < 30 else 22
    figure.update_layout(height=110 + row * len(rows), hovermode="closest")
    return per_cent(figure)


def by_digits(with_it: Shares, without: Shares, language: str) -> go.Figure:
    """Right sums by number of digits, with the calculator and without it."""
    say = words(language)
    figure = empty(say["digits"], say["share_right"], language)
    for name, shares, (colour, symbol) in (
        (say["with_calculator"], with_it, STYLES[0]),
        (say["without_calculator"], without, STYLES[1]),
    ):
        figure.add_trace(
            go.Scatter(
                x=list(shares),
                y=[share["value"] for share in shares.values()],
                name=name,
                mode="lines+markers",
                line={"color": colour, "width": 2, "dash": "solid" if symbol == "circle" else "dot"},
                marker={"size": 9, "color": colour, "symbol": symbol},
                error_y=between(list(shares.values()), colour),
            )
        )
    figure.update_xaxes(type="category")
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_layout(hovermode="closest", height=300)
    return figure
