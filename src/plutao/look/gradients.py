"""Why recurrent networks forget: gradients that vanish or explode on their way back through time, what gates and clipping do
about it, and the same through depth, where residual connections help (the book, section 4.2 and BOX 9).

Everything is computed here in seconds, on small fresh models: no run is needed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from plutao.look.view import View, canvas, numbers
from plutao.look.words import phrases
from plutao.models.cells import CELLS, Cell, State

if TYPE_CHECKING:
    import plotly.graph_objects as go

WIDTH, HIDDEN, ROWS = 16, 64, 8
LENGTH, DEPTH = 100, 32
CLIP = 1.0
"""The largest gradient norm of clipping here, the loop's own default."""
LARGER = 4.0
"""How much larger the recurrent weights of the RNN are that explodes."""
SHOWN = (1, 2, 5, 10, 20, 30, 50, 75, 100)
"""Distances of the table."""


@dataclass(frozen=True)
class Curve:
    """The gradient that reaches each distance: through time (steps back) or through depth (layers down)."""

    name: str
    """rnn, rnn_larger, gru, lstm; plain, residual."""
    norms: list[float]
    """norms[k]: of the gradient that what was read k steps before the loss (or lies k layers below it) contributes."""
    total: float
    """Norm of the sum of all: what clipping measures."""

    @property
    def scale(self) -> float:
        """What clipping multiplies every gradient with."""
        return min(1.0, CLIP / self.total) if self.total > 0 else 1.0

    @property
    def clipped(self) -> list[float]:
        """The norms after clipping."""
        return [norm * self.scale for norm in self.norms]


@dataclass(frozen=True)
class Gradients:
    """Both figures' numbers."""

    through_time: list[Curve]
    through_depth: list[Curve]


def gradients(length: int = LENGTH, depth: int = DEPTH, seed: int = 0) -> Gradients:
    """How much of the error of the last step reaches each earlier one, in fresh cells of each kind, and in a stack of
    `depth` layers with and without residual connections.

    The error is a random direction at the last output (Hochreiter 1991; Bengio, Simard & Frasconi 1994; Pascanu et al.
    2013, who also clip).
    """
    time = []
    for kind, name in (("rnn", "rnn"), ("rnn", "rnn_larger"), ("gru", "gru"), ("lstm", "lstm")):
        cell = CELLS[kind](WIDTH, HIDDEN)
        cell.initialise(torch.Generator().manual_seed(seed))
        if name == "rnn_larger":
            with torch.no_grad():
                cell.weight_hh.mul_(LARGER)
        time.append(curve(name, through_time(cell, length, seed)))
    stacks = (("plain", False), ("residual", True))
    return Gradients(time, [curve(name, through_depth(depth, residual, seed)) for name, residual in stacks])


def through_time(cell: Cell, length: int, seed: int = 0) -> list[Float[Tensor, " P"]]:
    """The gradient of the weights as they were used k steps before the end, for k = 0, 1 … length − 1.

    A cell uses the same weights at every step; here each step gets a copy of its own, so that their gradients can be told
    apart. Their sum is the gradient that training follows.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    inputs = 0.1 * torch.randn(ROWS, length, cell.width, generator=generator)
    direction = torch.randn(cell.hidden, generator=generator)
    state: State = cell.start(ROWS)
    copies = []
    for place in range(length):
        weights = {name: tensor.detach().clone().requires_grad_() for name, tensor in cell.named_parameters()}
        copies.append(weights)
        _, state = functional_call(cell, weights, (inputs[:, place : place + 1], state))
    loss = (state[0] @ (direction / direction.norm())).sum()
    flat = [tensor for weights in copies for tensor in weights.values()]
    found = torch.autograd.grad(loss, flat)
    each = len(copies[0])
    steps = [
        torch.cat([part.flatten() for part in found[place : place + each]]) for place in range(0, len(found), each)
    ]
    return steps[::-1]


def through_depth(depth: int, residual: bool, seed: int = 0) -> list[Float[Tensor, " P"]]:
    """The gradient of each layer of a stack, x' = tanh(W·x + b) or x' = x + tanh(W·x + b), the last layer's first."""
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Linear(HIDDEN, HIDDEN) for _ in range(depth)]
    with torch.no_grad():
        for layer in layers:
            layer.weight.uniform_(-(HIDDEN**-0.5), HIDDEN**-0.5, generator=generator)
            layer.bias.zero_()
    x = torch.randn(ROWS, HIDDEN, generator=generator)
    direction = torch.randn(HIDDEN, generator=generator)
    for layer in layers:
        new = torch.tanh(layer(x))
        x = x + new if residual else new
    loss = (x @ (direction / direction.norm())).sum()
    found = torch.autograd.grad(loss, [parameter for layer in layers for parameter in (layer.weight, layer.bias)])
    return [torch.cat((found[2 * k].flatten(), found[2 * k + 1])) for k in range(depth)][::-1]


def curve(name: str, parts: Sequence[Tensor]) -> Curve:
    total = torch.stack(list(parts)).double().sum(0).norm()
    return Curve(name, [float(part.double().norm()) for part in parts], float(total))


# ---------------------------------------------------------------------------------------------------------------------
# What is shown


def view(seen: Gradients, language: str = "en") -> View:
    """The table of gradients through time, and the figure of both."""
    say, form = phrases(language), numbers(language)
    distances = [k for k in SHOWN if k < len(seen.through_time[0].norms)]
    columns = [say["steps_back"], *(say[f"curve_{each.name}"] for each in seen.through_time), say["larger_clipped"]]
    exploding = next(each for each in seen.through_time if each.name == "rnn_larger")
    rows = [
        [
            str(k),
            *(form.significant(each.norms[k], 2) for each in seen.through_time),
            form.significant(exploding.clipped[k], 2),
        ]
        for k in distances
    ]
    return View(
        id="gradients",
        title=say["gradients"],
        note=say["gradients_note"].format(
            times=form.number(LARGER), clip=form.number(CLIP), total=form.significant(exploding.total, 2)
        ),
        columns=columns,
        rows=rows,
        draw=lambda: picture(seen, language),
    )


def view_depth(seen: Gradients, language: str = "en") -> View:
    """The table of gradients through depth (BOX 9)."""
    say, form = phrases(language), numbers(language)
    depth = len(seen.through_depth[0].norms)
    rows = [
        [str(k), *(form.significant(each.norms[k], 2) for each in seen.through_depth)]
        for k in (0, 1, 3, 7, 15, 31, 63)
        if k < depth
    ]
    return View(
        id="depth",
        title=say["depth"].format(layers=depth),
        note=say["depth_note"],
        columns=[say["layers_down"], *(say[f"curve_{each.name}"] for each in seen.through_depth)],
        rows=rows,
        draw=lambda: picture_of_depth(seen, language),
    )


def picture(seen: Gradients, language: str) -> "go.Figure":
    """Norms by distance on a logarithmic scale: whole lines as they are, dotted ones clipped."""
    say = phrases(language)
    figure = canvas(say["steps_back"], say["gradient_norm"], language, height=380)
    for number, each in enumerate(seen.through_time):
        add_line(figure, say[f"curve_{each.name}"], each.norms, number)
        if each.scale < 1:
            add_line(figure, f"{say[f'curve_{each.name}']}, {say['clipped']}", each.clipped, number, dotted=True)
    return as_powers(figure)


def picture_of_depth(seen: Gradients, language: str) -> "go.Figure":
    """The same through depth."""
    say = phrases(language)
    figure = canvas(say["layers_down"], say["gradient_norm"], language, height=320)
    for number, each in enumerate(seen.through_depth):
        add_line(figure, say[f"curve_{each.name}"], each.norms, number)
    return as_powers(figure)


def as_powers(figure: "go.Figure") -> "go.Figure":
    figure.update_yaxes(type="log", exponentformat="power", dtick=3)
    figure.update_layout(showlegend=True)
    return figure


def add_line(
    figure: "go.Figure", name: str, values: Sequence[float], number: int, dotted: bool = False, x: Sequence[int] = ()
) -> None:
    """A line that its colour and its marks both tell apart."""
    import plotly.graph_objects as go

    from plutao.evaluate.report.figures import INK, PLUTO, QUIET, SUN

    colour, symbol = [(SUN, "circle"), (QUIET, "x"), (PLUTO, "square"), (INK, "diamond")][number % 4]
    places = list(x) or list(range(len(values)))
    step = max(1, len(places) // 10)
    figure.add_trace(
        go.Scatter(
            x=places,
            y=[value if value > 0 else None for value in values],
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": "dot" if dotted else "solid", "width": 2},
            marker={"symbol": symbol, "size": [8 if k % step == 0 else 0 for k in range(len(places))]},
        )
    )


Looks = Callable[[Gradients, str], View]
VIEWS: tuple[Looks, ...] = (view, view_depth)
