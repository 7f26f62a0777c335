"""Views as one self-contained page, with the report's look: every picture also a table, nothing loaded from anywhere."""

from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from plutao.evaluate.report import figures
from plutao.evaluate.report import page as report
from plutao.evaluate.report.words import words
from plutao.files import read_json, write_text
from plutao.look.view import View
from plutao.look.words import phrases


def write(
    path: Path, views: Sequence[View], text: str, shows: str, language: str = "en", title: str | None = None
) -> None:
    """Writes the page.

    Args:
        text: what was looked at.
        shows: which run, stage and step it shows (`shown`).

    Raises:
        UserError: the file can't be written, or there are no words in this language.
    """
    environment = report.templates()
    environment.loader = jinja2.PackageLoader("plutao.look", ".")
    plotly, javascript = get_plotlyjs(), report.ours("report.js")
    hashes = " ".join(f"'sha256-{report.script_hash(script)}'" for script in (plotly, javascript))
    page = environment.get_template("page.html.j2").render(
        title=title or phrases(language)["page_title"],
        text=text,
        shows=shows,
        views=views,
        say=words(language),
        css=Markup(report.ours("report.css")),
        plotly=Markup(plotly),
        javascript=Markup(javascript),
        script_hashes=Markup(hashes),
        colours=figures.in_dark,
    )
    write_text(path, page)


def shown(folder: Path, language: str = "en") -> str:
    """Which run, stage and step a model folder holds, in words; a folder of others goes by its name."""
    say = phrases(language)
    if not (folder / "stage.json").is_file():
        return folder.resolve().name
    place = {"run": folder.resolve().parent.name, "stage": folder.name}
    steps = read_json(folder / "stage.json").get("steps")
    return say["shows"].format(**place) if steps is None else say["shows_step"].format(**place, step=f"{steps:,}")
