"""A direction of bias to look at: which words lean, how far, and what is left of it once it is taken out."""

from typing import TYPE_CHECKING

from plutao.evaluate.bias import Bias
from plutao.look.vector_words import phrases
from plutao.look.vectors import bars
from plutao.look.view import View, canvas, label, numbers

if TYPE_CHECKING:
    import plotly.graph_objects as go


def views(seen: Bias, language: str = "en") -> list[View]:
    """How far each word leans, before and after; and how much of the pairs' differences the direction holds."""
    say, form = phrases(language), numbers(language)
    first, second = seen.pairs[0]
    leaning = View(
        id="bias",
        title=say["bias"].format(first=first, second=second),
        note=say["bias_note"].format(
            pairs=len(seen.pairs),
            share=form.percent(seen.shares[0]),
            before=form.number(seen.direct_before, 3),
            after=form.number(seen.direct_after, 3),
            gap_before=form.number(seen.gap_before, 3),
            gap_after=form.number(seen.gap_after, 3),
        ),
        columns=[say["word"], say["leaning"], say["afterwards"]],
        rows=[[one.word, form.number(one.before, 3), form.number(one.after, 3)] for one in seen.words],
        draw=lambda: picture(seen, language),
    )
    components = View(
        id="bias-components",
        title=say["components"],
        note=say["components_note"].format(pairs=", ".join(f"{first}–{second}" for first, second in seen.pairs)),
        columns=[say["direction"], say["share"]],
        rows=[[str(number), form.percent(share)] for number, share in enumerate(seen.shares, 1)],
        draw=lambda: bars(
            [f"{number}." for number in range(1, len(seen.shares) + 1)], seen.shares, say["share"], language
        ),
    )
    return [leaning, components]


def picture(seen: Bias, language: str) -> "go.Figure":
    """A point for each word where it leans, an open one where it lies afterwards, a line between them."""
    import plotly.graph_objects as go

    from plutao.evaluate.report.figures import PLUTO, QUIET, SUN

    say = phrases(language)
    first, second = seen.pairs[0]
    figure = canvas(
        f"← {label(first)}   {say['leaning']}   {label(second)} →", "", language, height=120 + 18 * len(seen.words)
    )
    names = [label(one.word) for one in seen.words]
    for one, name in zip(seen.words, names, strict=True):
        line = {"color": QUIET, "width": 1}
        figure.add_trace(
            go.Scatter(x=[one.after, one.before], y=[name, name], mode="lines", line=line, hoverinfo="skip")
        )
    marks = ((say["leaning"], "before", "circle", SUN), (say["afterwards"], "after", "circle-open", PLUTO))
    for title, key, symbol, colour in marks:
        x, marker = [getattr(one, key) for one in seen.words], {"symbol": symbol, "size": 9, "color": colour}
        figure.add_trace(go.Scatter(x=x, y=names, name=title, mode="markers", marker=marker))
    figure.update_yaxes(type="category", autorange="reversed")
    return figure
