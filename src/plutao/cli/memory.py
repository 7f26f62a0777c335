"""The part of `plutao inspect` that looks at memory: gradients through time, recall by distance, the senses of a word."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from plutao.errors import UserError

if TYPE_CHECKING:
    from plutao.look.view import View


def show_gradients(language: str, html: Path | None, json: bool) -> None:
    """Gradients through time and depth, and recall by distance; half a minute, and no run is needed."""
    from plutao.look import gradients, recall

    found, remembered = gradients.gradients(), recall.recall()
    views = [gradients.view(found, language), gradients.view_depth(found, language), recall.view(remembered, language)]
    give(views, {"gradients": found, "recall": remembered}, None, language, html, json)


def show_senses(place: Path, word: str, language: str, html: Path | None, json: bool) -> None:
    """A word of two senses, as an ELMo sees it.

    Raises:
        UserError: the model is none that gives words of a sentence vectors of their own.
    """
    from plutao.files import read_json
    from plutao.look import senses
    from plutao.models.elmo import load

    kind = read_json(place / "config.json").get("model_type")
    if kind != "plutao-elmo":
        raise UserError(
            f"{place} holds a model of kind {kind!r}: the senses of a word are looked at with an ELMo, as the recipes "
            "elmo-pt and elmo-en make one."
        )
    found = senses.senses(load(place), word)
    give([senses.view(found, language)], {"senses": found}, place, language, html, json)


def give(
    views: "list[View]", found: dict[str, Any], place: Path | None, language: str, html: Path | None, json: bool
) -> None:
    """A page where one is asked for, else tables; numbers where they are."""
    from plutao.cli import inspect as door

    if html is not None:
        from plutao.look.page import shown, write

        write(html, views, "", shown(place, language) if place else "", language)
        typer.echo(f"Written to {html}.", err=True)
    if json:
        door.print_json(place or Path(), "", found)
    elif html is None:
        door.print_views(views)
