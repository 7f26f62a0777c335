"""What `plutao inspect` shows of word vectors."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from plutao.look.view import View
    from plutao.models.word_vectors import WordVectors


def vectors_in(folder: Path, run: str | None, stage: str | None) -> Path:
    """The folder of a run's vectors, or a file in word2vec's format that RUN is the path of."""
    from plutao.project import resolve_model

    return Path(run) if run and Path(run).is_file() else resolve_model(run, folder, stage or "vectors")


def show_vectors(
    place: Path, asked: dict[str, Any], text: str | None, top: int, language: str, html: Path | None, json: bool
) -> None:
    """Neighbours, an analogy, a map, a bias: whichever are asked for, together."""
    from plutao.cli.inspect import print_json, print_views
    from plutao.models.word_vectors import load_vectors

    found, views = look(load_vectors(place), asked, text, top, language)
    if html is not None:
        from plutao.look.page import shown, write

        write(html, views, asked["neighbours"] or asked["analogy"] or text or "", shown(place, language), language)
        typer.echo(f"Written to {html}.", err=True)
    if json:
        print_json(place, text or "", found)
    elif html is None:
        print_views(views)


def look(
    vectors: "WordVectors", asked: dict[str, Any], text: str | None, top: int, language: str
) -> "tuple[dict[str, Any], list[View]]":
    """What is seen by the name of its option, and how it is shown."""
    from plutao.evaluate import bias as biases
    from plutao.look import bias
    from plutao.look import vectors as looks

    found: dict[str, Any] = {}
    views: list[View] = []
    if asked["neighbours"] is not None:
        found["neighbours"] = looks.neighbours(vectors, asked["neighbours"], top)
        views.append(looks.view_neighbours(found["neighbours"], language))
    if asked["analogy"] is not None:
        found["analogy"] = looks.analogy(vectors, asked["analogy"], top)
        views += looks.views_analogy(found["analogy"], language)
    if asked["map"]:
        for dimensions in (2, 3):
            seen = looks.map_of(vectors, (text or "").split(), dimensions, language)
            found[f"map_{dimensions}"] = seen
            views.append(looks.view_map(seen, language))
    if asked["bias"]:
        found["bias"] = biases.measure(vectors, biases.fitting_words(vectors))
        views += bias.views(found["bias"], language)
    return found, views
