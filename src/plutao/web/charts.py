"""Charts as data: what a page's script draws, and the table that says the same.

Plotly's script works under our policy only in part (it sets styles that the policy refuses) and weighs 4.8 MB, so pages draw
these few kinds of picture themselves; the report and notebooks keep plotly.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from plutao.evaluate.report.history import History, Point, smoothed, thin
from plutao.web.templating import number

MOST_POINTS = 240
VOICES = ("sun", "pluto", "quiet", "ink")
KNOWN = ("loss", "learning_rate", "gradient_norm", "tokens_per_second")
NOT_MEASURES = frozenset({"step", "tokens", "seconds", "epoch", *KNOWN})


@dataclass(frozen=True)
class Series:
    """Points of one voice. Voices differ in dash and shape too, never in colour alone."""

    name: str
    x: list[float]
    y: list[float]
    voice: str = "sun"
    kind: str = "line"
    """line, dots or bars."""
    faint: bool = False


@dataclass(frozen=True)
class Chart:
    """One picture."""

    id: str
    title: str
    note: str
    x: str
    y: str
    series: list[Series]
    shows: str
    """Which run, stage and step."""
    categories: list[str] = field(default_factory=list)
    """Names of the places 0, 1, 2 … on the x axis, where it is not one of numbers."""
    from_zero: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> tuple[list[str], list[list[float | str | None]]]:
        """(columns, rows): the x values of all series in order, and what each says there."""
        places = sorted({x for one in self.series for x in one.x})
        values = [dict(zip(one.x, one.y, strict=True)) for one in self.series]
        name = {place: self.categories[int(place)] if self.categories else place for place in places}
        rows: list[list[float | str | None]] = [[name[x], *(one.get(x) for one in values)] for x in places]
        return [self.x, *(one.name for one in self.series)], rows


Say = Callable[..., str]


def of_stage(history: History, stage: str, shows: str, say: Say) -> list[Chart]:
    """The charts of a training: loss, what was measured on held-out data, what else the objective told, and the machine's
    numbers.
    """
    points = thin(history.training, MOST_POINTS)
    charts = [loss_chart(points, history, stage, shows, say)] if points else []
    keys = dict.fromkeys([*measures(history.validation), *measures(points), *KNOWN[1:]])
    for key in keys:
        there = [one for one in points if one.get(key) is not None]
        looks = [one for one in history.validation if one.get(key) is not None]
        series = [Series(name_of(key, say), column(there, "tokens"), column(there, key))] if there else []
        if looks:
            held_out = column(looks, "tokens"), column(looks, key)
            series.append(Series(say("runs.held_out"), *held_out, "pluto", "dots"))
        if series:
            charts.append(chart(key, name_of(key, say), note_of(key, say), series, shows, say))
    return charts


def in_detail(chart: Chart, say: Say) -> bool:
    """Whether a chart is for those who look closer: of a measure that has no name in people's words."""
    return chart.title == chart.id.replace("_", " ") and name_of(chart.id, say) == chart.title


def loss_chart(points: Sequence[Point], history: History, stage: str, shows: str, say: Say) -> Chart:
    tokens, losses = column(points, "tokens"), column(points, "loss")
    series = [
        Series(say("runs.each_step"), tokens, losses, "quiet", faint=True),
        Series(say("runs.smoothed"), tokens, smoothed(losses)),
    ]
    if looks := [one for one in history.validation if "loss" in one]:
        series.append(Series(say("runs.held_out"), column(looks, "tokens"), column(looks, "loss"), "pluto", "dots"))
    unit = say("runs.nats") if stage in ("base", "sft") else name_of("loss", say)
    return chart("loss", say("runs.figure_loss"), note_of("loss", say), series, shows, say, unit)


def chart(id: str, title: str, note: str, series: list[Series], shows: str, say: Say, unit: str = "") -> Chart:
    return Chart(id, title, note, say("runs.tokens_seen"), unit or title, series, shows)


def overlaid(histories: Sequence[tuple[str, History]], stage: str, key: str, shows: str, say: Say) -> Chart | None:
    """One measure of several trainings over the tokens each has seen."""
    series = []
    for place, (name, history) in enumerate(histories):
        points = [one for one in thin(history.training, MOST_POINTS) if one.get(key) is not None]
        if points:
            values = smoothed(column(points, key))
            series.append(Series(name, column(points, "tokens"), values, VOICES[place % len(VOICES)]))
    if not series:
        return None
    title = f"{name_of(key, say)} · {stage}"
    return chart(f"compared_{stage}_{key}", title, say("runs.compared_note"), series, shows, say, name_of(key, say))


def measures(points: Sequence[Point]) -> list[str]:
    """What the lines tell beyond what every training tells, in the order in which they tell it."""
    found = {
        key: None
        for point in points
        for key, value in point.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and key not in NOT_MEASURES
    }
    return list(found)


def column(points: Sequence[Point], key: str) -> list[float]:
    return [float(point[key]) for point in points]


def name_of(key: str, say: Say) -> str:
    """A measure's name in the reader's language, where we have one."""
    try:
        return say(f"runs.figure_{key}")
    except KeyError:
        return key.replace("_", " ")


def note_of(key: str, say: Say) -> str:
    """One line on what a measure means, where we have one."""
    try:
        return say(f"runs.note_{key}")
    except KeyError:
        return ""


def short(language: str) -> Callable[[float], str]:
    """Numbers short enough for an axis or a table, in the language's form; as static/charts.js writes them."""

    def write(value: float) -> str:
        size = abs(value)
        if size >= 1e6:
            return f"{number(value / 1e6, 1 if size < 1e7 else 0, language)} M"
        if size and size < 1e-3:
            return f"{value:.1e}"
        whole = size >= 100 or float(value).is_integer()
        return number(value, 0 if whole else 1 if size >= 10 else 2 if size >= 1 else 3, language)

    return write
