"""Look inside: how a model cuts a text, what it expected at each place, and how the next token is drawn from its scores."""

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from plutao.errors import UserError
from plutao.serve.answering import Services, find_model
from plutao.serve.api.common import Short
from plutao.serve.backend.contract import EngineFailed, ModelCard
from plutao.serve.errors import ApiError
from plutao.web import charts
from plutao.web.charts import Chart, Series
from plutao.web.people import Asker
from plutao.web.templating import language_of, page, translator

if TYPE_CHECKING:
    from plutao.look.next_token import NextTokens
    from plutao.look.tokens import Tokens
    from plutao.look.view import View
    from plutao.models.decoder import Decoder
    from plutao.text.tokenizer import Tokenizer

router = APIRouter(include_in_schema=False)
TOP = 12
LONGEST = 8000
EXAMPLES = {"pt": "O maior planeta do Sistema Solar é", "en": "The largest planet in the Solar System is"}
one_reader = threading.Lock()
"""Texts are read one at a time beside the pages: the engine's processes keep the other cores."""


@dataclass(frozen=True)
class Seen:
    """What is shown of a text."""

    tokens: "Tokens"
    next: "NextTokens"
    views: "Sequence[View]"
    shows: str
    """Which run, stage and step."""


@router.get("/inside")
async def inside(request: Request, caller: Asker) -> Response:
    return await shown(
        request, {"text": EXAMPLES[language_of(request)], "model": "current", "temperature": "1", "seed": "1"}
    )


async def shown(request: Request, given: dict[str, str], problem: str = "", **context: Any) -> Response:
    services: Services = request.app.state.services
    try:
        cards = [card for card in await services.backend.models() if card.folder is not None]
    except EngineFailed:
        cards = []
    empty = {"seen": None, "chart": None, "card": None, "short": charts.short(language_of(request))}
    status = 400 if problem else 200
    return page(
        request,
        "inside/inside.html",
        status,
        cards=cards,
        given=given,
        problem=problem,
        longest=LONGEST,
        script_words=("charts",),
        **{**empty, **context},
    )


@router.post("/inside")
async def look(
    request: Request,
    caller: Asker,
    text: Annotated[str, Form()] = "",
    model: Annotated[Short, Form()] = "current",
    temperature: Annotated[Short, Form()] = "1",
    seed: Annotated[Short, Form()] = "1",
) -> Response:
    """Reads the text with the model, metered as every other use of it."""
    given = {"text": text[:LONGEST], "model": model, "temperature": temperature, "seed": seed}
    services: Services = request.app.state.services
    try:
        warmth, number = settings_of(text, temperature, seed)
        card = await find_model(services, caller, model)
        if card.folder is None:
            raise UserError("Another engine holds this model: only models of this project can be looked into.")
        await run_in_threadpool(loaded, card.folder, card.fingerprint)  # nobody pays for its being brought into memory
        count = len(await services.backend.tokenize(card.id, text)) + 1
        async with services.meter(caller, card.id, count, 0, "inside") as bill:
            seen = await run_in_threadpool(read, card, text, warmth, number, language_of(request))
            bill.settle(count, 0)
    except (UserError, ApiError) as error:
        return await shown(request, given, str(error))
    return await shown(request, given, seen=seen, card=card, chart=chart_of(request, seen))


def settings_of(text: str, temperature: str, seed: str) -> tuple[float, int]:
    """Raises UserError where something is not right."""
    if len(text) > LONGEST:
        raise UserError(f"The text is longer than {LONGEST:,} characters: look at a piece of it.")
    try:
        warmth, number = float(temperature.replace(",", ".")), int(seed or "1")
    except ValueError as error:
        raise UserError("Temperature is a number such as 0.8, the seed a whole number.") from error
    if not (0 <= warmth <= 10 and 0 <= number < 2**32):
        raise UserError("Temperature is from 0 to 10, the seed from 0 to 4,294,967,295.")
    return warmth, number


def read(card: ModelCard, text: str, temperature: float, seed: int, language: str) -> Seen:
    """Raises UserError where the text is longer than the model's context."""
    from plutao.look import next_token, page, softmax, tokens

    assert card.folder is not None
    with one_reader:
        model, tokenizer = loaded(card.folder, card.fingerprint)
        following = next_token.next_tokens(model, tokenizer, text, TOP)
        drawn = softmax.softmax_steps(model, tokenizer, text, temperature, seed, TOP)
        positions = next_token.positions(model, tokenizer, text)
    views = [next_token.view(following, language), softmax.view(drawn, language)]
    if positions.positions:
        views.append(next_token.view_positions(positions, language))
    return Seen(tokens.cut(tokenizer, text), following, views, page.shown(card.folder, language))


@functools.lru_cache(maxsize=1)
def loaded(folder: Path, _: str) -> "tuple[Decoder, Tokenizer]":
    """The model looked into last; another one, or the same with other weights, takes its place."""
    from plutao.models.interop.huggingface import load_model
    from plutao.text.tokenizer import Tokenizer

    return load_model(folder), Tokenizer.load(folder)


def chart_of(request: Request, seen: Seen) -> Chart:
    """The most probable next tokens as bars."""
    t = translator(request)
    found = seen.next.candidates
    shares = [100 * one.probability for one in found]
    series = Series(t("inside.percent"), [float(place) for place in range(len(found))], shares, "sun", "bars")
    names = [one.text for one in found]
    return Chart("next", t("inside.next"), "", t("inside.token"), "", [series], seen.shows, names, True)
