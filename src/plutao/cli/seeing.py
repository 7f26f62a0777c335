"""`plutao inspect --fill`, `--task` and `--image`: what a BERT reads into holes, what it was fine-tuned to tell, what a network
sees in an image.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from plutao.errors import UserError

if TYPE_CHECKING:
    from plutao.look.view import View


def show_fill(place: Path, text: str | None, top: int, language: str, html: Path | None, json: bool) -> None:
    """The likeliest fillings of each [MASK]."""
    from plutao.look.fill import fill, view
    from plutao.models.encoder import MaskedModel
    from plutao.models.interop.bert import load_bert
    from plutao.text.tokenizer import Tokenizer

    if not text:
        raise UserError('--fill needs a text with a hole: give --text "O planeta [MASK] é pequeno.".')
    model = load_bert(place)
    if not isinstance(model, MaskedModel):
        raise UserError(f"{place} was fine-tuned for a task and fills nothing in: name the pretrained BERT.")
    filled = fill(model, Tokenizer.load(place), text, top)
    show(place, text, {"fill": filled}, view(filled, language), language, html, json)


def show_task(place: Path, task: str, text: str | None, second: str | None, json: bool) -> None:
    """What a BERT that was fine-tuned says of a text, or of a pair."""
    from json import dumps

    from plutao.stages.bert_tasks import predict

    folder = place if (place / "stage.json").is_file() and place.name == task else place / "tasks" / task
    if not (folder / "config.json").is_file():
        names = sorted(path.parent.name for path in (place / "tasks").glob("*/config.json"))
        raise UserError(f"{place} has no task {task!r}. It has: {', '.join(names) or 'none; add [[bert.tasks]]'}.")
    if not text:
        raise UserError('--task needs a text: give --text "…" (and --second "…" for a pair or a question).')
    said = predict(folder, text, second)
    if json:
        typer.echo(dumps({"model": str(folder), "text": text, "second": second, **said}, ensure_ascii=False))
        return
    for name, value in said.get("classes", {}).items():
        typer.echo(f"{value:7.1%}  {name}")
    if "number" in said:
        typer.echo(f"{said['number']:.3f}")
    if "answer" in said:
        typer.echo(said["answer"])


def show_image(
    folder: Path, run: str | None, stage: str | None, image: str, language: str, html: Path | None, json: bool
) -> None:
    """What the model of stage vision sees in a picture, or in one of the images it was measured with (by number)."""
    from plutao.look.vision import see, views
    from plutao.models.interop.vision import load_classes, load_scale, load_vision
    from plutao.project import resolve_model

    place = resolve_model(run, folder, stage or "vision") if not is_model(run) else Path(str(run))
    model, names, scale = load_vision(place), load_classes(place), load_scale(place)
    pixels, right = picture(image, folder, place, model.config.size, model.config.channels)
    from plutao.data.images import floats

    brightness = pixels.float().mean(0) / 255
    seen = see(model, floats(pixels.unsqueeze(0), *scale)[0], names, brightness, right)
    show(place, image, {"image": seen}, views(seen, language), language, html, json)


def is_model(run: str | None) -> bool:
    return run is not None and (Path(run) / "config.json").is_file()


def picture(image: str, folder: Path, place: Path, size: int, channels: int) -> tuple[Any, str | None]:
    """The pixels (C, S, S) of a file, or of a held-out image with what it is."""
    from plutao import recipe as recipes
    from plutao.data.images import read_picture
    from plutao.project import Project
    from plutao.stages.vision import held_out

    if not image.isdecimal():
        return read_picture(Path(image), size, channels), None
    file = place / "recipe.toml"
    if not file.is_file():
        raise UserError(f"{place} has no recipe.toml to find its held-out images by: name a picture's file.")
    images = held_out(Project(folder, recipes.load(file)))
    if int(image) >= len(images):
        raise UserError(f"There are {len(images):,} held-out images, numbered from 0: {image} is none of them.")
    return images.pixels[int(image)], images.classes[int(images.labels[int(image)])]


def show(
    place: Path, text: str, found: dict[str, Any], views: "list[View]", language: str, html: Path | None, json: bool
) -> None:
    """As a page, as JSON, or on the terminal."""
    from plutao.cli.inspect import print_json, print_views

    if html is not None:
        from plutao.look.page import write

        write(html, views, text, place.name, language)
        typer.echo(f"Written to {html}.", err=True)
    if json:
        print_json(place, text, found)
    elif html is None:
        print_views(views)
