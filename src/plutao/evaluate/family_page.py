"""The family as a table for a terminal, and as a page that a teacher can project: one table, one figure, and what each step
bought.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plutao.evaluate import orders
from plutao.evaluate.family import Family, Member
from plutao.evaluate.family_words import NAMES, STORY, WORDS
from plutao.files import write_json
from plutao.look import page
from plutao.look.view import View, canvas, cividis, numbers

if TYPE_CHECKING:
    import plotly.graph_objects as go

JSON, PAGE = "family.json", "family.html"
TEXT_WIDTH = 110
"""Characters of a text that stand in a line."""
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")


def store(family: Family, folder: Path, counted: Path | None, language: str = "en") -> Path:
    """Writes family.json and family.html into `folder`; returns the page.

    Args:
        counted: the n-gram stage's folder, whose orders are shown too.
    """
    write_json(folder / JSON, family.as_json())
    say, form = WORDS[language], numbers(language)
    shows = say["shows"].format(
        name=family.recipe,
        time=form.time(60 * family.minutes),
        tokens=form.number(family.training_tokens),
        vocabulary=form.number(family.vocabulary),
    )
    shown = views(family, language)
    if counted is not None and (found := orders.read(counted)):
        shown += orders.views(found, language)
    path = folder / PAGE
    lines = [*table_lines(family, language), "", *text_lines(family, language)]
    page.write(path, shown, "\n".join(lines), shows, language, say["title"])
    return path


def columns(language: str) -> list[str]:
    keys = ("model", "bits", "parameters", "read", "training", "writing", "memory", "peak", "used")
    return [WORDS[language][key] for key in keys]


def row(member: Member, language: str) -> list[str]:
    """One member's line of the table."""
    form, say = numbers(language), WORDS[language]
    bits = say["incomparable"] if member.bits_per_byte is None else form.number(member.bits_per_byte, 3)
    if member.bits_per_byte is not None and member.low is not None and member.high is not None:
        bits += f" ({form.number(member.low, 3)}–{form.number(member.high, 3)})"
    return [
        NAMES[language][member.name],
        bits,
        form.big(member.parameters),
        form.big(member.tokens),
        form.number(member.tokens_per_second),
        form.number(member.written_per_second),
        form.size(member.bytes),
        "–" if member.peak_memory is None else form.size(member.peak_memory),
        say["of"].format(used=member.used, shown=member.shown),
    ]


def table_lines(family: Family, language: str = "en") -> list[str]:
    """The table as text, columns aligned."""
    rows = [columns(language), *(row(member, language) for member in family.members)]
    widths = [max(len(line[place]) for line in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(cells))
        for cells in ([*zip(line, widths, strict=True)] for line in rows)
    ]


def text_lines(family: Family, language: str) -> list[str]:
    """How what each member wrote begins, a line each."""
    width = max(len(name) for name in NAMES[language].values())
    texts = ((NAMES[language][one.name], f"{family.prompt}▸{one.text}".replace("\n", "⏎")) for one in family.members)
    return [f"{name.ljust(width)}  {text[:TEXT_WIDTH]}" for name, text in texts]


def views(family: Family, language: str) -> list[View]:
    """The table with its figure, the context each really uses, what each writes, what each step bought."""
    say, form = WORDS[language], numbers(language)
    members = family.members
    lengths = sorted({k for member in members for k, _ in member.losses})
    by_length = [
        [
            NAMES[language][one.name],
            *(form.number(dict(one.losses)[k], 2) if k in dict(one.losses) else "" for k in lengths),
        ]
        for one in members
    ]
    story = [[NAMES[language][one.name], *STORY[language][one.name]] for one in members]
    texts = [[NAMES[language][one.name], f"{family.prompt}▸{one.text}".replace("\n", "⏎")] for one in members]
    return [
        View(
            "family",
            say["family"],
            say["family_note"].format(time=form.time(60 * family.minutes)),
            columns(language),
            [row(member, language) for member in members],
            lambda: by_bits(members, language),
        ),
        View(
            "context",
            say["context"],
            say["context_note"],
            [say["model"], *map(str, lengths)],
            by_length,
            lambda: by_context(members, language),
        ),
        View(
            "texts",
            say["texts"],
            say["texts_note"],
            [say["model"], say["text"]],
            texts,
            lambda: by_writing(members, language),
            names=2,
        ),
        View(
            "story",
            say["story"],
            say["story_note"],
            [say["model"], say["bought"], say["lacked"]],
            story,
            lambda: by_used(members, language),
            names=3,
        ),
    ]


def colour(place: int, count: int) -> str:
    return cividis(0.9 * place / max(1, count - 1))


def by_bits(members: Sequence[Member], language: str) -> "go.Figure":
    """Bits per byte (perplexity where there are none), the interval on each bar."""
    import plotly.graph_objects as go

    say = WORDS[language]
    comparable = all(one.bits_per_byte is not None for one in members)
    figure = canvas("", say["bits" if comparable else "perplexity"], language, 420)
    values = [one.bits_per_byte if comparable else one.perplexity for one in members]
    colours = [colour(place, len(members)) for place in range(len(members))]
    intervals = [(one.low, one.high, one.bits_per_byte) for one in members]
    error = None
    if comparable and all(None not in interval for interval in intervals):
        up = [(high or 0) - (value or 0) for _, high, value in intervals]
        down = [(value or 0) - (low or 0) for low, _, value in intervals]
        error = {"type": "data", "symmetric": False, "array": up, "arrayminus": down}
    names = [NAMES[language][one.name] for one in members]
    text = [numbers(language).number(value or 0, 3) for value in values]
    figure.add_trace(
        go.Bar(x=names, y=values, marker={"color": colours}, error_y=error, text=text, textposition="inside")
    )
    return figure


def by_context(members: Sequence[Member], language: str) -> "go.Figure":
    """Loss over the tokens of context shown; a ring where more would gain less than a hundredth."""
    import plotly.graph_objects as go

    say = WORDS[language]
    figure = canvas(say["shown"], say["nats"], language, 460)
    for place, one in enumerate(members):
        x, y = zip(*one.losses, strict=True)
        own = colour(place, len(members))
        marker = {"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 8, "color": own}
        name = NAMES[language][one.name]
        line = {"color": own, "width": 2}
        figure.add_trace(go.Scatter(x=x, y=y, name=name, mode="lines+markers", marker=marker, line=line))
        ring = {"symbol": "circle-open", "size": 16, "color": own, "line": {"width": 2}}
        enough = [one.used], [dict(one.losses)[one.used]]
        figure.add_trace(go.Scatter(x=enough[0], y=enough[1], mode="markers", marker=ring, showlegend=False))
    figure.update_xaxes(type="log", tickvals=sorted({k for one in members for k, _ in one.losses}))
    figure.update_layout(showlegend=True)
    return figure


def by_writing(members: Sequence[Member], language: str) -> "go.Figure":
    """Tokens a second, written and read in training, on a logarithmic scale."""
    import plotly.graph_objects as go

    say = WORDS[language]
    figure = canvas("", say["per_second"], language, 320)
    names = [NAMES[language][one.name] for one in members]
    training, written = [one.tokens_per_second for one in members], [one.written_per_second for one in members]
    figure.add_trace(go.Bar(x=names, y=training, name=say["training"], marker={"color": cividis(0.2)}))
    figure.add_trace(go.Bar(x=names, y=written, name=say["writing"], marker={"color": cividis(0.8)}))
    figure.update_yaxes(type="log")
    figure.update_layout(showlegend=True, barmode="group")
    return figure


def by_used(members: Sequence[Member], language: str) -> "go.Figure":
    """Tokens of context really used."""
    import plotly.graph_objects as go

    say = WORDS[language]
    figure = canvas("", say["tokens_used"], language, 320)
    names = [NAMES[language][one.name] for one in members]
    colours = [colour(place, len(members)) for place in range(len(members))]
    used = [one.used for one in members]
    figure.add_trace(go.Bar(x=names, y=used, marker={"color": colours}, text=used, textposition="auto"))
    return figure
