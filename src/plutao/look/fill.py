"""Filling in: what a BERT reads into the holes of a text, from both sides (Devlin et al. 2019; the book, section 2.12)."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from plutao.errors import UserError
from plutao.look.view import View, canvas, heat_marker, label, numbers, percent
from plutao.look.words import phrases
from plutao.models.encoder import MaskedModel
from plutao.text.bert import join, signs_of
from plutao.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import plotly.graph_objects as go

HOLE = re.compile(r"\[MASK\]|<\|mask\|>|<mask>")


@dataclass(frozen=True)
class Guess:
    """A token that may stand in a hole."""

    id: int
    text: str
    probability: float


@dataclass(frozen=True)
class Hole:
    """A hole and its likeliest fillings, the likeliest first."""

    number: int
    """Counted from 1."""
    guesses: tuple[Guess, ...]


@dataclass(frozen=True)
class Filled:
    """A text with holes, and what may stand in each of them."""

    text: str
    holes: tuple[Hole, ...]
    filled: str
    """The text with each hole's likeliest token in it."""


@torch.no_grad()
def fill(model: MaskedModel, tokenizer: Tokenizer, text: str, top: int = 10) -> Filled:
    """What may stand in the holes, written [MASK], of a text; each is filled on its own, the others left as holes.

    Raises:
        UserError: there is no hole, or the text is longer than the model reads.
    """
    parts = HOLE.split(text)
    if len(parts) < 2:
        raise UserError(f'The text has no hole: write [MASK] where a word is to be filled in, as "{text} [MASK]".')
    if tokenizer.kind not in ("wordpiece", "word"):  # there a word's token holds the blank before it
        parts = [*(piece.removesuffix(" ") for piece in parts[:-1]), parts[-1]]
    signs = signs_of(tokenizer)
    ids: list[int] = []
    for number, piece in enumerate(parts):
        ids += ([signs.mask] if number else []) + tokenizer.encode(piece)
    room = model.config.context - 2
    if len(ids) > room:
        raise UserError(f"The text has {len(ids)} tokens, and this model reads {room}: give a shorter one.")
    tokens = torch.tensor([join(signs, ids, None, model.config.context).tokens])
    vectors = model.encoder(tokens)[tokens == signs.mask]
    scores = model.logits(vectors).float()
    scores[:, [one for one in tokenizer.special_ids if one < scores.shape[1]]] = float("-inf")
    scores[:, tokenizer.vocabulary_size :] = float("-inf")
    likely = scores.softmax(-1).topk(min(top, tokenizer.vocabulary_size), dim=-1)
    holes = []
    for number, (probabilities, found) in enumerate(zip(likely.values.tolist(), likely.indices.tolist(), strict=True)):
        guesses = [Guess(one, shown(tokenizer, one), p) for one, p in zip(found, probabilities, strict=True)]
        holes.append(Hole(number + 1, tuple(guesses)))
    whole = "".join(
        piece + (holes[number].guesses[0].text.removeprefix("##") if number < len(holes) else "")
        for number, piece in enumerate(parts)
    )
    return Filled(text, tuple(holes), whole)


def shown(tokenizer: Tokenizer, token: int) -> str:
    """A token as it is read: pieces inside a word keep their ##."""
    return tokenizer.token_name(token) if tokenizer.kind == "wordpiece" else tokenizer.token_text(token)


def view(filled: Filled, language: str = "en") -> list[View]:
    """A table and a figure for each hole."""
    words, form = phrases(language), numbers(language)
    return [
        View(
            id=f"fill-{hole.number}",
            title=words["fill"].format(number=hole.number, text=filled.text),
            note=words["fill_note"],
            columns=[words["token"], words["probability"]],
            rows=[[guess.text, percent(form, guess.probability)] for guess in hole.guesses],
            draw=lambda hole=hole: draw(hole, language),  # type: ignore[misc]
            heat=[guess.probability for guess in hole.guesses],
            heated=1,
        )
        for hole in filled.holes
    ]


def draw(hole: Hole, language: str) -> "go.Figure":
    """Bars, the likeliest at the top."""
    words = phrases(language)
    figure = canvas(words["probability"], words["token"], language, 60 + 28 * len(hole.guesses))
    probabilities = [guess.probability for guess in hole.guesses]
    figure.add_bar(
        x=probabilities,
        y=[label(guess.text) for guess in hole.guesses],
        orientation="h",
        marker=heat_marker(probabilities),
    )
    figure.update_xaxes(tickformat=".0%")
    figure.update_yaxes(autorange="reversed", type="category")
    return figure
