"""`plutao inspect`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plutao.errors import UserError

if TYPE_CHECKING:
    from plutao.look.view import View
    from plutao.models.decoder import Decoder


def inspect(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The project folder.")] = Path(),
    text: Annotated[
        str | None, typer.Option(help="The text to look at; left out: the beginning of a document.")
    ] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="How the text is cut, and the ids (no model needed).")
    ] = False,
    next: Annotated[bool, typer.Option("--next", help="Which tokens may come next, and how probable each is.")] = False,
    surprise: Annotated[
        bool, typer.Option("--surprise", help="For each token of the text: what was expected, its rank, its bits.")
    ] = False,
    softmax: Annotated[bool, typer.Option("--softmax", help="How the next token is drawn, step by step.")] = False,
    chain: Annotated[bool, typer.Option("--chain", help="The text's log-probability by the chain rule.")] = False,
    step: Annotated[
        bool, typer.Option("--step", help="One step of training on a copy: the text's last token is taught.")
    ] = False,
    mask: Annotated[
        bool,
        typer.Option(
            "--mask", help="A row of training (stage base or sft): what is learned of it, and what only read."
        ),
    ] = False,
    fill: Annotated[bool, typer.Option("--fill", help="What a BERT reads into each [MASK] of the text.")] = False,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="What a BERT that was fine-tuned for this task says of the text.")
    ] = None,
    second: Annotated[
        str | None, typer.Option(help="For --task: the second text of a pair, or the question about the text.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NUMBER", help="What a network sees in a picture, or in a held-out image (by number)."
        ),
    ] = None,
    gradients: Annotated[
        bool,
        typer.Option("--gradients", help="How errors fade through time in RNN, GRU and LSTM, and what each remembers."),
    ] = False,
    senses: Annotated[
        str | None, typer.Option(metavar="WORD", help="The two senses of a word, as an ELMo sees them: banco, bank.")
    ] = None,
    translate: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A translator at work: each step, and all its attention.")
    ] = None,
    layer: Annotated[
        int | None, typer.Option(min=1, help="For --translate: attention of this layer; left out: the last.")
    ] = None,
    head: Annotated[
        int | None, typer.Option(min=1, help="For --translate: of this head; left out: the mean of all.")
    ] = None,
    neighbours: Annotated[
        str | None, typer.Option(metavar="WORD", help="Word vectors: the words nearest to this one.")
    ] = None,
    analogy: Annotated[str | None, typer.Option(metavar='"A B C"', help="Word vectors: A is to B as C is to …")] = None,
    map: Annotated[
        bool, typer.Option("--map", help="Word vectors: a map in two and three dimensions; --text names the words.")
    ] = False,
    bias: Annotated[
        bool, typer.Option("--bias", help="Word vectors: which words lean to one gender; and with that taken out.")
    ] = False,
    row: Annotated[
        int, typer.Option(min=0, help="For --mask: which row, counted from 0 in the order of training.")
    ] = 0,
    temperature: Annotated[float, typer.Option(help="For --softmax: below 1 surer, above 1 bolder, 0 greedy.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="For --softmax: the same seed draws the same r.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="For --step; left out: what should take a tenth off the loss.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Tokens listed.")] = 10,
    run: Annotated[
        str | None, typer.Option(metavar="RUN[:STAGE]", help="A run, or a path to a model's folder.")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="The stage, where not the last one.")] = None,
    language: Annotated[str, typer.Option(help="Of the explanations: en or pt.")] = "en",
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with pictures and tables.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Look inside: tokens, next tokens, softmax, chain rule, a training step, masks. Tokens and next tokens by default."""
    from plutao.cli import memory, seeing, vectors
    from plutao.look.words import phrases
    from plutao.project import resolve_model

    phrases(language)
    if mask:
        show_mask(folder, run, stage, row, language, html, json)
        return
    if gradients:
        memory.show_gradients(language, html, json)
        return
    if senses is not None:
        memory.show_senses(resolve_model(run, folder, stage or "elmo"), senses, language, html, json)
        return
    if neighbours is not None or analogy is not None or map or bias:
        wishes = {"neighbours": neighbours, "analogy": analogy, "map": map, "bias": bias}
        place = vectors.vectors_in(folder, run, stage)
        vectors.show_vectors(place, wishes, text, top, language, html, json)
        return
    if image is not None:
        seeing.show_image(folder, run, stage, image, language, html, json)
        return
    if fill or task is not None:
        place = resolve_model(run, folder, stage or "bert")
        if task is not None:
            seeing.show_task(place, task, text, second, json)
        else:
            seeing.show_fill(place, text, top, language, html, json)
        return
    if translate is not None:
        show_translation(resolve_model(run, folder, stage), translate, layer, head, top, language, html, json)
        return
    asked = {"tokens": tokens, "next": next, "surprise": surprise, "softmax": softmax, "chain": chain, "step": step}
    wanted = [name for name, on in asked.items() if on] or (["tokens", "next"] if text else ["next"])
    if not text and (useless := [name for name in wanted if name not in ("next", "softmax")]):
        raise UserError(f'--{useless[0]} needs a text of at least one token: give --text "…".')
    place = resolve_model(run, folder, stage)
    refuse_translators(place, wanted)
    settings = {"temperature": temperature, "seed": seed, "learning_rate": learning_rate, "top": top}
    found = look(place, text or "", wanted, settings)
    views = [view for name, data in found.items() for view in views_of(name, data, language)]
    if html is not None:
        from plutao.look.page import shown, write

        write(html, views, text or "", shown(place, language), language)
        typer.echo(f"Written to {html}.", err=True)
    if json:
        print_json(place, text or "", found)
    elif html is None:
        print_views(views)


def look(place: Path, text: str, wanted: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    """What is seen, by the name of its option; the model is loaded only where one is needed."""
    from plutao.look import chain_rule, next_token, one_step, softmax, tokens
    from plutao.models.interop.huggingface import load_model
    from plutao.text.tokenizer import Tokenizer

    top, tokenizer = settings["top"], Tokenizer.load(place)
    found: dict[str, Any] = {"tokens": tokens.cut(tokenizer, text)} if "tokens" in wanted else {}
    looks: dict[str, Callable[[Decoder], Any]] = {
        "next": lambda model: next_token.next_tokens(model, tokenizer, text, top),
        "surprise": lambda model: next_token.positions(model, tokenizer, text),
        "softmax": lambda model: softmax.softmax_steps(
            model, tokenizer, text, settings["temperature"], settings["seed"], top
        ),
        "chain": lambda model: chain_rule.chain_rule(model, tokenizer, text),
        "step": lambda model: one_step.training_step(
            model, tokenizer, text, learning_rate=settings["learning_rate"], top=top
        ),
    }
    if any(name in looks for name in wanted):
        model = load_model(place)
        found |= {name: looks[name](model) for name in wanted if name in looks}
    return found


def views_of(name: str, data: Any, language: str) -> "list[View]":
    """The views of what one option saw."""
    from plutao.look import chain_rule, next_token, one_step, softmax, tokens

    views: dict[str, list[Callable[[Any, str], View]]] = {
        "tokens": [tokens.view],
        "next": [next_token.view],
        "surprise": [next_token.view_positions],
        "softmax": [softmax.view],
        "chain": [chain_rule.view],
        "step": [one_step.view, one_step.view_weights, one_step.view_neuron],
    }
    return [view(data, language) for view in views[name]]


def show_mask(
    folder: Path, run: str | None, stage: str | None, row: int, language: str, html: Path | None, json: bool
) -> None:
    """A row that a stage trains on; the run needs its tokenizer, the stage need not have been trained."""
    from plutao.look.mask import mask, strip, view
    from plutao.stages.rows import run_of, training_row

    name, _, named = (run or "current").partition(":")
    project = run_of(folder, name)
    wanted = named or stage or ("sft" if project.recipe.sft is not None else "base")
    seen = mask(*training_row(project, wanted, row), wanted, row)
    views = [view(seen, language)]
    if html is not None:
        from plutao.look.page import write

        write(html, views, strip(seen.tokens).plain, f"{project.run}, {wanted}", language)
        typer.echo(f"Written to {html}.", err=True)
    if json:
        print_json(project.stage_dir(wanted), "", {"mask": seen})
    elif html is None:
        print_views(views)


def refuse_translators(place: Path, wanted: list[str]) -> None:
    """Translators have no next token without a sentence to translate; how text is cut can be seen of them, too."""
    from plutao.models.seq2seq import is_translation

    if is_translation(place) and (others := [name for name in wanted if name != "tokens"]):
        raise UserError(
            f'--{others[0]} is for models that continue texts, and {place} holds a translator: --translate "…".'
        )


def show_translation(
    place: Path, text: str, layer: int | None, head: int | None, top: int, language: str, html: Path | None, json: bool
) -> None:
    """A translation step by step."""
    from plutao.generate.translator import load_translator
    from plutao.look.translation import decoding, views

    seen = decoding(load_translator(place), text, top=min(top, 3))
    shown_views = views(seen, layer, head, language)
    if html is not None:
        from plutao.look.page import shown, write

        write(html, shown_views, text, shown(place, language), language)
        typer.echo(f"Written to {html}.", err=True)
    if json:
        print_json(place, text, {"translation": seen})
    elif html is None:
        print_views(shown_views)


def print_views(views: "list[View]") -> None:
    from rich.console import Console

    # Tables keep their columns in a pipe, too.
    console = Console() if Console().is_terminal else Console(width=120)
    for view in views:
        console.print(view.terminal())


def print_json(place: Path, text: str, found: dict[str, Any]) -> None:
    """One object: the model's folder, the text, and the numbers by the option that asked for them."""
    from json import dumps

    from plutao.look.view import as_json

    typer.echo(
        dumps({"model": str(place), "text": text, **{n: as_json(d) for n, d in found.items()}}, ensure_ascii=False)
    )
