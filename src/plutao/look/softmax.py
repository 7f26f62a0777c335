"""From scores to the token that is drawn, step by step (the book, section 2.8 and BOX 3, Figures 55 to 57).

The draw is the engine's own: `generate.sampling.walk` makes it and tells each step, so what is shown is what is done.
"""

import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from plutao.generate.sampling import Sampling, Walk, generator, walk
from plutao.look.reading import drawable, read
from plutao.look.tokens import visible
from plutao.look.view import View, canvas, heat_marker, label, numbers, percent
from plutao.look.words import phrases
from plutao.models.decoder import Decoder
from plutao.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Step:
    """One token of the sorted distribution, or several together that are not listed one by one."""

    rank: int
    """Of the (first) token; 1 is the most probable."""
    tokens: int
    """1, or how many stand here together."""
    id: int | None
    text: str
    logit: float | None
    scaled: float | None
    """The logit divided by the temperature."""
    exponential: float | None
    """e to the power of `scaled` less the largest `scaled` (so that no number is too large; the quotient is the same)."""
    probability: float
    before: float
    """Sum of the probabilities of all tokens before."""
    cumulative: float
    """The same with this one: the token is picked where `before` ≤ r < `cumulative`."""
    chosen: bool


@dataclass(frozen=True)
class SoftmaxSteps:
    """One draw, laid open."""

    text: str
    temperature: float
    """0: greedy, the most probable token is taken and r is not used."""
    seed: int | None
    r: float
    vocabulary: int
    denominator: float
    """Sum of all exponentials."""
    steps: list[Step]
    chosen: Step


def softmax_steps(
    model: Decoder,
    tokenizer: Tokenizer,
    text: str,
    temperature: float = 1.0,
    seed: int | None = None,
    top: int = 10,
) -> SoftmaxSteps:
    """How the next token of a text is drawn: with the r that the engine draws first from the same seed.

    Raises:
        UserError: the text is longer than the model's context, or the temperature is out of bounds.
    """
    seed = secrets.randbits(32) if seed is None else seed
    r = generator(seed, 0).random()
    logits = read(model, tokenizer, text).logits(-1)[: drawable(model, tokenizer)]
    return steps_of(logits, lambda token: visible(tokenizer.token_text(token)), temperature, r, top, text, seed)


def steps_of(
    logits: Float[Tensor, " V"],
    name: Callable[[int], str],
    temperature: float,
    r: float,
    top: int = 10,
    text: str = "",
    seed: int | None = None,
) -> SoftmaxSteps:
    """The draw from any scores: `top` tokens, the one that is picked, and the others in groups."""
    done = walk(logits, Sampling(temperature=temperature), r)
    highest = max(done.scaled)
    exponentials = [math.exp(score - highest) for score in done.scaled]
    steps = [
        one(done, place, exponentials, name) if last == place + 1 else group(done, place, last)
        for place, last in stretches(len(done.tokens), top, done.place)
    ]
    chosen = next(step for step in steps if step.chosen)
    return SoftmaxSteps(text, temperature, seed, r, len(done.tokens), sum(exponentials), steps, chosen)


def stretches(tokens: int, top: int, place: int) -> list[tuple[int, int]]:
    """The places of a sorted distribution as stretches [first, end): the top and the picked one alone, others joined."""
    listed = min(top, tokens)
    found = [(number, number + 1) for number in range(listed)]
    if place >= listed:
        found += [(listed, place)] * (place > listed) + [(place, place + 1)]
    end = found[-1][1]
    return found + [(end, tokens)] * (end < tokens)


def one(done: Walk, place: int, exponentials: Sequence[float], name: Callable[[int], str]) -> Step:
    return Step(
        rank=place + 1,
        tokens=1,
        id=done.tokens[place],
        text=name(done.tokens[place]),
        logit=done.logits[place],
        scaled=done.scaled[place],
        exponential=exponentials[place],
        probability=done.probabilities[place],
        before=done.cumulative[place - 1] if place else 0.0,
        cumulative=done.cumulative[place],
        chosen=place == done.place,
    )


def group(done: Walk, first: int, end: int) -> Step:
    """Tokens that are not listed one by one; the picked one is never among them."""
    return Step(
        rank=first + 1,
        tokens=end - first,
        id=None,
        text="…",
        logit=None,
        scaled=None,
        exponential=None,
        probability=math.fsum(done.probabilities[first:end]),
        before=done.cumulative[first - 1] if first else 0.0,
        cumulative=done.cumulative[end - 1],
        chosen=False,
    )


def view(seen: SoftmaxSteps, language: str = "en") -> View:
    """Each step of the draw in a column: logit, ÷ T, e^, probability, sum; the picked token is marked."""
    say, form = phrases(language), numbers(language)
    names = [
        step.text if step.tokens == 1 else say["others"].format(count=form.number(step.tokens)) for step in seen.steps
    ]
    rows = [
        [
            name,
            "" if step.id is None else str(step.id),
            "" if step.logit is None else form.number(step.logit, 3),
            "" if step.scaled is None else form.number(step.scaled, 3),
            "" if step.exponential is None else form.significant(step.exponential),
            percent(form, step.probability),
            form.number(step.cumulative, 4),
        ]
        for name, step in zip(names, seen.steps, strict=True)
    ]
    note = "softmax_greedy" if seen.temperature == 0 else "softmax_note"
    return View(
        id="softmax",
        title=say["softmax"].format(temperature=form.number(seen.temperature, 2)),
        note=say[note].format(
            r=form.number(seen.r, 4),
            before=form.number(seen.chosen.before, 4),
            cumulative=form.number(seen.chosen.cumulative, 4),
            token=seen.chosen.text,
            denominator=form.significant(seen.denominator, 5),
        ),
        columns=[say["token"], say["id"], say["logit"], "÷ T", "e^(x/T)", say["probability"], say["cumulative"]],
        rows=rows,
        draw=lambda: picture(seen, names, language),
        heat=[step.probability for step in seen.steps],
        heated=5,
        marked=seen.steps.index(seen.chosen),
    )


def picture(seen: SoftmaxSteps, names: Sequence[str], language: str) -> "go.Figure":
    """The walk: each bar begins where the one above ends; the line is r, and the bar that it meets is the token."""
    import plotly.graph_objects as go

    from plutao.evaluate.report.figures import SUN

    say, form = phrases(language), numbers(language)
    places = list(range(len(seen.steps)))
    figure = canvas(say["cumulative"], "", language, height=110 + 26 * len(places))
    marker = heat_marker([step.probability for step in seen.steps], [step.chosen for step in seen.steps])
    marker["pattern"] = {"shape": ["" if step.tokens == 1 else "/" for step in seen.steps]}
    figure.add_trace(
        go.Bar(
            orientation="h",
            y=places,
            base=[step.before for step in seen.steps],
            x=[step.probability for step in seen.steps],
            marker=marker,
            hoverinfo="text",
            hovertext=[
                f"{label(name)}: {percent(form, step.probability)}<br>{form.number(step.before, 4)} → {form.number(step.cumulative, 4)}"
                for name, step in zip(names, seen.steps, strict=True)
            ],
        )
    )
    if seen.temperature > 0:
        text = f"r = {form.number(seen.r, 4)}"
        side = "top left" if seen.r > 0.5 else "top right"
        line = {"color": SUN, "width": 2, "dash": "dash"}
        figure.add_vline(x=seen.r, line=line, annotation_text=text, annotation_position=side)
    ticks = [f"▶ {label(name)}" if step.chosen else label(name) for name, step in zip(names, seen.steps, strict=True)]
    figure.update_xaxes(range=[0, 1.001])
    figure.update_yaxes(autorange="reversed", tickvals=places, ticktext=ticks)
    return figure


def compare(draws: Sequence[SoftmaxSteps], language: str = "en") -> "go.Figure":
    """The same scores at several temperatures (Figure 57): a low one sharpens the distribution, a high one flattens it."""
    import plotly.graph_objects as go

    from plutao.evaluate.report.figures import PLUTO, QUIET, SUN

    say, form = phrases(language), numbers(language)
    figure = canvas("", say["probability"], language, height=320)
    styles = [(PLUTO, "circle"), (SUN, "diamond"), (QUIET, "square"), (PLUTO, "x")]
    listed = [[step for step in draw.steps if step.tokens == 1] for draw in draws]
    for number, (draw, steps) in enumerate(zip(draws, listed, strict=True)):
        colour, symbol = styles[number % len(styles)]
        figure.add_trace(
            go.Scatter(
                x=[step.rank for step in steps],
                y=[step.probability for step in steps],
                mode="lines+markers",
                name=f"T = {form.number(draw.temperature, 2)}",
                line={"color": colour},
                marker={"symbol": symbol, "size": 8},
            )
        )
    first = listed[0] if listed else []
    ticks = {"tickvals": [step.rank for step in first], "ticktext": [label(step.text) for step in first]}
    figure.update_xaxes(showgrid=False, **ticks)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    figure.update_layout(showlegend=True)
    return figure
