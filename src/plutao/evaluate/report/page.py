"""The run report: report.html, report.md and report.json, from what rests in a run's folder.

The page is one file that asks for nothing: plotly's script, the styles and the figures are inside. What models, corpora and
recipes say is escaped, and a content security policy lets only our two scripts run, by their hashes.
"""

import html
import json
import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from plutao.evaluate.report import dial_view, translation_view
from plutao.evaluate.report.figures import in_dark
from plutao.evaluate.report.gather import gather
from plutao.evaluate.report.history import thin
from plutao.evaluate.report.looks import first_look
from plutao.evaluate.report.view import view
from plutao.files import write_json, write_text

CURVE_POINTS = 200
"""Points of a curve kept in report.json; metrics.jsonl has them all."""


def build(run_dir: Path, language: str = "en") -> Path:
    """Writes report.html, report.md and report.json into the run's folder; returns the page's path.

    Args:
        language: of the report's own words, "en" or "pt".

    Raises:
        UserError: the run has no finished stage, a file of it is damaged, or the folder can't be written.
    """
    facts, histories = gather(run_dir)
    recipe_text = (run_dir / "recipe.toml").read_text(encoding="utf-8")
    found = (
        dial_view.section(facts, language),
        translation_view.section(facts, language),
        first_look(run_dir, facts, language),
    )
    shown = view(facts, histories, recipe_text, language, [section for section in found if section])
    kinds = ("training", "validation", "samples", "events")
    for stage, history in histories.items():
        lines = {kind: getattr(history, kind) for kind in kinds}
        facts["stages"][stage]["history"] = {**lines, "training": thin(history.training, CURVE_POINTS)}
    write_json(run_dir / "report.json", facts)
    write_text(run_dir / "report.md", tidy(templates().get_template("report.md.j2").render(shown)))
    write_text(run_dir / "report.html", page(shown))
    return run_dir / "report.html"


def page(shown: dict[str, Any]) -> str:
    """The HTML page of a view. Plotly's script comes along once, and only where there is a figure to draw."""
    pictures = any(has_pictures(block) for block in shown["story"])
    plotly, javascript = (get_plotlyjs(), ours("report.js")) if pictures else ("", "")
    hashes = " ".join(f"'sha256-{script_hash(script)}'" for script in (plotly, javascript) if script)
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            shown,
            pictures=pictures,
            css=Markup(ours("report.css")),
            plotly=Markup(plotly),
            javascript=Markup(javascript),
            script_hashes=Markup(hashes or "'none'"),
            colours=in_dark,
        )
    )


def has_pictures(block: dict[str, Any]) -> bool:
    content = block["of"]
    if block["kind"] == "section":
        return bool(content.large or content.small or content.folded)
    return bool(content["exhibits"]) if block["kind"] == "exam" else bool(content["large"] or content["small"])


def templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("plutao.evaluate.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"figure_json": figure_json, "json": script_json, "cell": cell, "indented": indented}
    environment.globals |= {"table": table}
    return environment


def ours(name: str) -> str:
    return resources.files("plutao.evaluate.report").joinpath(name).read_text(encoding="utf-8")


def script_hash(script: str) -> str:
    """What a content security policy calls a script by."""
    return b64encode(sha256(script.encode()).digest()).decode()


def figure_json(figure: go.Figure) -> Markup:
    """A figure as JSON that can stand inside a <script> element."""
    return script_json(json.loads(figure.to_json()))


def script_json(data: Any) -> Markup:
    """JSON in which nothing can end the <script> element it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def cell(text: Any) -> Markup:
    """Any text as one line of Markdown that shows just that text."""
    one_line = " ".join(str(text).split())
    return Markup(re.sub(r"([\\`*_\[\]|#~!])", r"\\\1", html.escape(one_line, quote=False)))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A Markdown table, with the empty line that ends it."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [[value if value == "---" else cell(value) for value in line] for line in lines]
    return Markup("\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n\n")


def indented(text: Any) -> Markup:
    """Any text as an indented code block, whatever line ends it has."""
    return Markup("\n".join(f"    {line}" for line in str(text).splitlines()))


def tidy(text: str) -> str:
    """At most one empty line in a row outside code, none at the end."""
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
