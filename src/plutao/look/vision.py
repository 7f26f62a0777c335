"""What a model that sees looks at: an image's classes, a Vision Transformer's patches and attention, a convolutional network's
filters and where they find something (the book's section 4.2 and conclusion).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from plutao.look.view import View, canvas, heat_marker, label, numbers, percent
from plutao.look.words import phrases
from plutao.models.vision import ConvolutionalNetwork, VisionModel, VisionTransformer

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_MAPS = 16
"""Filters or heads in a picture."""
TILE = 150
"""Pixels of a map in a picture."""


@dataclass(frozen=True)
class Map:
    """Numbers that lie over an image, row by row."""

    name: str
    values: list[list[float]]


@dataclass(frozen=True)
class Seen:
    """An image as a model sees it."""

    image: list[list[float]]
    """Its brightness between 0 and 1, row by row."""
    classes: tuple[tuple[str, float], ...]
    """Each class with its probability, the likeliest first."""
    right: str | None
    """What it is, where that is known."""
    patch: int | None
    """Side of a patch, for a Vision Transformer."""
    maps: tuple[Map, ...]
    """Vision Transformer: what each head of the last layer takes from each patch, the rollout of all layers first.
    Convolutional network: where each of the first filters found what it looks for."""
    filters: tuple[Map, ...]
    """Convolutional network: what they look for."""


@torch.no_grad()
def see(
    model: VisionModel,
    pixels: Float[Tensor, "C S S"],
    names: list[str],
    brightness: Float[Tensor, "S S"],
    right: str | None,
) -> Seen:
    """What the model says of an image, and where that comes from.

    Args:
        pixels: as `data.images.floats` gives them.
        brightness: the same image for the eye, between 0 and 1.
    """
    images = pixels.unsqueeze(0)
    probabilities = model(images).softmax(-1)[0]
    order = probabilities.argsort(descending=True).tolist()
    classes = tuple((names[number], float(probabilities[number])) for number in order)
    if isinstance(model, VisionTransformer):
        return Seen(brightness.tolist(), classes, right, model.config.patch, attention_maps(model, images), ())
    return Seen(brightness.tolist(), classes, right, None, *convolution_maps(model, images))


def attention_maps(model: VisionTransformer, images: Float[Tensor, "1 C S S"]) -> tuple[Map, ...]:
    """How much the class token takes from each patch: through all layers, and in each head of the last one."""
    seen = model.attention(images)
    side = model.config.size // model.config.patch
    last = seen[-1][0, :MOST_MAPS, 0, 1:]
    heads = [Map(str(number + 1), grid(head, side)) for number, head in enumerate(last)]
    return (Map("rollout", grid(rollout(seen)[0, 0, 1:], side)), *heads)


def grid(values: Float[Tensor, "N"], side: int) -> list[list[float]]:
    found: list[list[float]] = values.view(side, side).tolist()
    return found


def rollout(layers: list[Float[Tensor, "B H N N"]]) -> Float[Tensor, "B N N"]:
    """How much of each token reaches each other one through all layers: the heads' mean, half of it attention and half what goes
    on unchanged, multiplied from layer to layer (Abnar & Zuidema 2020; used in Dosovitskiy et al. 2021, Figure 6).
    """
    length = layers[0].shape[-1]
    reached = torch.eye(length).expand(len(layers[0]), -1, -1)
    for weights in layers:
        mixed = (weights.mean(1) + torch.eye(length)) / 2
        reached = mixed @ reached
    return reached


def convolution_maps(
    model: ConvolutionalNetwork, images: Float[Tensor, "1 C S S"]
) -> tuple[tuple[Map, ...], tuple[Map, ...]]:
    """Where the first filters found what they look for, and what that is (the channels' mean)."""
    found = model.maps(images)[0, :MOST_MAPS]
    filters = model.filters()[:MOST_MAPS].mean(1)
    maps = tuple(Map(str(number + 1), one.tolist()) for number, one in enumerate(found))
    return maps, tuple(Map(str(number + 1), one.tolist()) for number, one in enumerate(filters))


# ---------------------------------------------------------------------------------------------------------------------
# For the eye


def views(seen: Seen, language: str = "en") -> list[View]:
    """The classes, then what the model looked at."""
    words, form = phrases(language), numbers(language)
    note = words["image_note"] + (f" {words['image_right'].format(name=seen.right)}" if seen.right is not None else "")
    first = View(
        id="image",
        title=words["image"].format(name=seen.classes[0][0]),
        note=note,
        columns=[words["class"], words["probability"]],
        rows=[[name, percent(form, probability)] for name, probability in seen.classes],
        draw=lambda: draw_classes(seen, language),
        heat=[probability for _, probability in seen.classes],
        heated=1,
        marked=next((n for n, (name, _) in enumerate(seen.classes) if name == seen.right), None),
    )
    return [first, attention_view(seen, language) if seen.patch is not None else filters_view(seen, language)]


def attention_view(seen: Seen, language: str) -> View:
    """The patches that the class token took most from."""
    words, form = phrases(language), numbers(language)
    rolled = seen.maps[0].values
    side = len(rolled)
    order = sorted(((rolled[r][c], r, c) for r in range(side) for c in range(side)), reverse=True)[:10]
    return View(
        id="patches",
        title=words["patches"].format(count=side * side, patch=seen.patch),
        note=words["patches_note"],
        columns=[words["patch_place"], words["attention"]],
        rows=[[f"{r + 1}, {c + 1}", percent(form, value)] for value, r, c in order],
        draw=lambda: draw_maps([Map(words["image_itself"], seen.image), *seen.maps], language),
        heat=[value / max(order[0][0], 1e-9) for value, _, _ in order],
        heated=1,
    )


def filters_view(seen: Seen, language: str) -> View:
    """Each of the first filters, and where in the image it found most."""
    words, form = phrases(language), numbers(language)
    rows, strengths = [], []
    for one in seen.maps:
        value, r, c = max((v, r, c) for r, row in enumerate(one.values) for c, v in enumerate(row))
        rows.append([one.name, f"{r + 1}, {c + 1}", form.significant(value, 3)])
        strengths.append(value)
    return View(
        id="filters",
        title=words["filters"].format(count=len(seen.filters)),
        note=words["filters_note"],
        columns=[words["filter"], words["filter_place"], words["filter_strength"]],
        rows=rows,
        draw=lambda: draw_maps([Map(words["image_itself"], seen.image), *seen.filters, *seen.maps], language),
        heat=[value / max(max(strengths), 1e-9) for value in strengths],
        heated=2,
    )


def draw_classes(seen: Seen, language: str) -> "go.Figure":
    words, shown = phrases(language), seen.classes[:20]
    figure = canvas(words["probability"], words["class"], language, 60 + 28 * len(shown))
    probabilities = [probability for _, probability in shown]
    figure.add_bar(
        x=probabilities,
        y=[label(name) for name, _ in shown],
        orientation="h",
        marker=heat_marker(probabilities, [name == seen.right for name, _ in shown]),
    )
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    figure.update_yaxes(autorange="reversed", type="category")
    return figure


def draw_maps(maps: list[Map], language: str) -> "go.Figure":
    """The maps as tiles, each on a scale of its own; the image itself is grey."""
    from plotly.subplots import make_subplots

    columns = min(6, len(maps))
    rows = -(-len(maps) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=[one.name for one in maps], vertical_spacing=0.25 / max(rows, 2)
    )
    for number, one in enumerate(maps):
        row, column = divmod(number, columns)
        figure.add_heatmap(
            z=one.values,
            colorscale="gray" if number == 0 else "Cividis",
            showscale=False,
            row=row + 1,
            col=column + 1,
            hovertemplate="%{y}, %{x}: %{z:.3g}<extra></extra>",
        )
        axis = "" if number == 0 else str(number + 1)
        figure.update_layout({f"yaxis{axis}": {"autorange": "reversed", "scaleanchor": f"x{axis}", "visible": False}})
        figure.update_layout({f"xaxis{axis}": {"visible": False}})
    figure.update_layout(height=TILE * rows + 60, margin={"l": 10, "r": 10, "t": 40, "b": 10}, template="none")
    return figure
