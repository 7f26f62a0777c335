"""A view: a picture, the same as a table, and the same in a terminal, so that no one depends on seeing colours."""

import dataclasses
import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from plutao.look.words import phrases

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from plutao.evaluate.report.numbers import Numbers

# What comes from plutao.evaluate.report is imported inside functions: the report shows these views, so it imports us.

ON_COLOUR = {True: "#161513", False: "#FFFFFF"}
"""Text on a light and on a dark colour."""


@dataclass(frozen=True)
class View:
    """What is shown of one thing. Its fields are those of the report's exhibits, so that any page can place it."""

    id: str
    title: str
    note: str
    """What is shown, and where the book explains it."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    draw: Callable[[], "go.Figure"]
    heat: Sequence[float | None] = ()
    """A probability for each row: colours the cell of column `heated`, which says the same number."""
    heated: int = 0
    marked: int | None = None
    """The row that was picked, marked with ▶."""
    names: int = 1
    """Columns at the left that hold names, not numbers."""
    strip: Text | None = None
    """What a terminal shows in place of the table."""

    @cached_property
    def figure(self) -> "go.Figure":
        return self.draw()

    def terminal(self) -> RenderableType:
        """For rich's `print`: the title, the table (or the strip), and the note."""
        title, note = Text(self.title, style="bold"), Text(self.note, style="dim")
        return Group(title, self.strip if self.strip is not None else self._table(), note, Text())

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column()
        for place, column in enumerate(self.columns):
            table.add_column(Text(column), justify="left" if place < self.names else "right", overflow="fold")
        for number, row in enumerate(self.rows):
            cells = [Text(cell) for cell in row]
            heat = self.heat[number] if self.heat else None
            if heat is not None:
                cells[self.heated].stylize(on(cividis(heat)))
            table.add_row(Text("▶" if number == self.marked else ""), *cells)
        return table

    def _repr_html_(self) -> str:
        """The table, for a notebook; the picture is `figure`."""
        head = "".join(f"<th>{html.escape(column)}</th>" for column in ("", *self.columns))
        body = "".join(f"<tr>{self._html_row(number)}</tr>" for number in range(len(self.rows)))
        return (
            f"<p><b>{html.escape(self.title)}</b><br>{html.escape(self.note)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def _html_row(self, number: int) -> str:
        cells = ["▶" if number == self.marked else "", *map(html.escape, self.rows[number])]
        heat = self.heat[number] if self.heat else None
        styles = [""] * len(cells)
        if heat is not None:
            colour = cividis(heat)
            styles[1 + self.heated] = f' style="background:{colour};color:{ON_COLOUR[is_light(colour)]}"'
        return "".join(f"<td{style}>{cell}</td>" for style, cell in zip(styles, cells, strict=True))


def as_json(data: Any) -> dict[str, Any]:
    """A look's numbers with those that follow from them (its properties), for JSON."""
    follow = [name for name, value in vars(type(data)).items() if isinstance(value, property)]
    return dataclasses.asdict(data) | {name: getattr(data, name) for name in follow}


def cividis(probability: float) -> str:
    """The colour of a probability as #RRGGBB: from dark blue (0) to yellow (1), the same to colour-blind eyes
    (Nuñez et al. 2018).
    """
    from plotly.colors import sample_colorscale, unlabel_rgb

    red, green, blue = unlabel_rgb(sample_colorscale("Cividis", [min(max(probability, 0.0), 1.0)])[0])
    return f"#{round(red):02x}{round(green):02x}{round(blue):02x}"


def is_light(colour: str) -> bool:
    """Whether dark text reads better on this #RRGGBB than white (relative luminance, WCAG 2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179


def on(colour: str) -> str:
    """rich's style for text on a colour."""
    return f"{ON_COLOUR[is_light(colour)]} on {colour}"


def numbers(language: str) -> "Numbers":
    """Writes numbers as the language does: 1,234.5 or 1.234,5."""
    from plutao.evaluate.report.numbers import Numbers
    from plutao.evaluate.report.words import words

    phrases(language)
    return Numbers(words(language))


def percent(form: "Numbers", probability: float) -> str:
    """A probability in per cent, three digits however small it is."""
    return f"{form.significant(100 * probability, 3)}%"


def canvas(x: str, y: str, language: str, height: int) -> "go.Figure":
    """An empty figure in the house's look."""
    from plutao.evaluate.report.figures import empty

    figure = empty(x, y, language)
    figure.update_layout(height=height, hovermode="closest", showlegend=False)
    return figure


def heat_marker(probabilities: Sequence[float], marked: Sequence[bool] = ()) -> dict[str, object]:
    """A bar's colours by probability; those that are marked get a border of the accent."""
    from plutao.evaluate.report.figures import QUIET, SUN

    border = marked or [False] * len(probabilities)
    return {
        "color": [cividis(probability) for probability in probabilities],
        "line": {"color": [SUN if mark else QUIET for mark in border], "width": [3 if mark else 1 for mark in border]},
    }


def label(text: str) -> str:
    """A token as plotly shows it, which reads a little HTML in labels."""
    from plutao.evaluate.report.figures import plain

    return plain(text)
