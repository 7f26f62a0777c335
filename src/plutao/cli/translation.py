"""`plutao complete` where the model is a translator: each line of the text is a sentence, and is translated."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from plutao.errors import UserError
from plutao.generate.sampling import Sampling
from plutao.generate.translator import Translation, Translator, load_translator
from plutao.models.seq2seq import is_translation as is_translation

if TYPE_CHECKING:
    from collections.abc import Sequence

OF_SAMPLING = (
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "stop",
    "stop_probability",
    "seed",
    "best_of",
    "logprobs",
)
"""Options of `plutao complete` that mean nothing to a translator, which searches for the most probable sentence."""
TEMPERATURES = (0.0, 0.8)  # of --greedy, and where nothing is said


def translate(folder: Path, text: str, sampling: Sampling, beam: int | None, json: bool) -> None:
    """Prints the translation of each line; as many alternatives as --n asks for, the best first.

    Raises:
        UserError: there is nothing to translate, or an option that means nothing here was given.
    """
    refuse_sampling(sampling)
    lines = text.splitlines()
    if not any(line.strip() for line in lines):
        raise UserError('There is nothing to translate: give --prompt "…" with a sentence.')
    translator = load_translator(folder)
    width = 1 if sampling.temperature == 0 and beam is None else max(beam or translator.beam, sampling.n)
    places = [place for place, line in enumerate(lines) if line.strip()]
    longest = None if sampling.max_tokens == Sampling.max_tokens else sampling.max_tokens
    found = translator.translate([lines[place] for place in places], width, longest)
    best = dict(zip(places, [some[: sampling.n] for some in found], strict=True))
    if json:
        print_json(translator, lines, best, width)
        return
    for place in range(len(lines)):
        typer.echo("\n".join(each.text for each in best.get(place, [])))


def refuse_sampling(sampling: Sampling) -> None:
    """Options that would silently do nothing are refused."""
    given = [name for name in OF_SAMPLING if getattr(sampling, name) != getattr(Sampling(), name)]
    if sampling.temperature not in TEMPERATURES:
        given.append("temperature")
    if given:
        raise UserError(
            f"--{given[0].replace('_', '-')} is for models that draw their words; a translator searches for the most probable "
            "sentence: leave it out (--beam, --greedy, --max-tokens and --n are for translators)."
        )


def print_json(translator: Translator, lines: "Sequence[str]", best: dict[int, list[Translation]], beam: int) -> None:
    """One JSON object: the sentences with their translations."""
    from json import dumps

    sentences = [
        {"text": line, "translations": [described(translator, each) for each in best.get(place, [])]}
        for place, line in enumerate(lines)
    ]
    told = {"source": translator.source, "target": translator.target, "beam": beam, "sentences": sentences}
    typer.echo(dumps(told, ensure_ascii=False))


def described(translator: Translator, each: Translation) -> dict[str, Any]:
    return {
        "text": each.text,
        "tokens": [{"id": token, "text": translator.tokenizer.token_text(token)} for token in each.tokens],
        "logprob": each.log_probability,
        "score": each.score,
    }
