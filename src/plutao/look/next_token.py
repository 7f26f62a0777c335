"""Which tokens may come next, and how surprised the model is by those that did come (the book, sections 1.2.4 and 2.7;
Figures 25 to 27 and 47).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from plutao.look.reading import drawable, read, read_tokens
from plutao.look.tokens import visible
from plutao.look.view import View, canvas, heat_marker, label, numbers, percent
from plutao.look.words import phrases
from plutao.models.decoder import Decoder
from plutao.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import plotly.graph_objects as go

BITS = 1 / math.log(2)
"""Bits of one nat."""
MOST_BARS = 200


@dataclass(frozen=True)
class Candidate:
    """A token that may come next."""

    rank: int
    """1: the most probable."""
    id: int
    text: str
    logit: float
    probability: float
    log_probability: float
    """In nats."""


@dataclass(frozen=True)
class NextTokens:
    """The most probable next tokens after a text, and what is left for the others."""

    text: str
    candidates: list[Candidate]
    others: int
    """Tokens not listed."""
    others_probability: float
    entropy: float
    """Of the whole distribution, in bits: 0 where the model is certain, log2 V where it has no idea."""
    came: Candidate | None = None
    """The token that did come, where one is known."""


@dataclass(frozen=True)
class Position:
    """One token of a text, and what the model had expected there."""

    id: int
    text: str
    probability: float
    rank: int
    """1: it was the most probable token."""
    surprise: float
    """−log2 of its probability: bits."""
    predicted_id: int
    predicted: str
    predicted_probability: float
    entropy: float
    """Bits of surprise that the model expected on average."""


@dataclass(frozen=True)
class Positions:
    """A text, token by token."""

    text: str
    positions: list[Position]

    @property
    def mean_surprise(self) -> float:
        """Bits per token."""
        return sum(position.surprise for position in self.positions) / max(len(self.positions), 1)


def next_tokens(model: Decoder, tokenizer: Tokenizer, text: str, top: int = 10) -> NextTokens:
    """What may come after a text, at temperature 1: softmax of the logits of all tokens that can be drawn.

    Raises:
        UserError: the text is longer than the model's context.
    """
    return candidates_of(read(model, tokenizer, text).logits(-1)[: drawable(model, tokenizer)], tokenizer, text, top)


def next_in_answer(
    model: Decoder, tokenizer: Tokenizer, tokens: Sequence[int], place: int, since: int = 0, top: int = 10
) -> NextTokens:
    """What might have come at one place of an answer, and the token that did: why this word.

    Args:
        tokens: the conversation and the answer, as the model read and wrote them.
        place: where the token in question stands.
        since: where the answer begins; the title shows the text from there on.
    """
    assert 0 < place < len(tokens)
    logits = read_tokens(model, list(tokens[:place])).logits(-1)[: drawable(model, tokenizer)]
    return candidates_of(logits, tokenizer, tokenizer.decode(tokens[since:place]), top, tokens[place])


def candidates_of(
    logits: Float[Tensor, " V"], tokenizer: Tokenizer, text: str, top: int, came: int | None = None
) -> NextTokens:
    """The table of one softmax."""
    logs = logits.double().log_softmax(-1)
    order = logs.argsort(descending=True, stable=True)[: min(top, len(logs))].tolist()

    def candidate(rank: int, token: int) -> Candidate:
        log = float(logs[token])
        return Candidate(rank, token, visible(tokenizer.token_text(token)), float(logits[token]), math.exp(log), log)

    candidates = [candidate(rank, token) for rank, token in enumerate(order, 1)]
    rest = logs.clone()
    rest[order] = -math.inf
    found = None
    if came is not None:
        found = candidate(1 + int((logs > logs[came]).sum()), came)
    return NextTokens(text, candidates, len(logs) - len(order), float(rest.exp().sum()), entropy(logs), found)


def positions(model: Decoder, tokenizer: Tokenizer, text: str) -> Positions:
    """For each token of a text: its probability, rank and surprise, and the token the model held most probable.

    Counted over all of the model's table, as bits per byte are.

    Raises:
        UserError: the text is longer than the model's context.
    """
    reading = read(model, tokenizer, text)
    seen = []
    for place, token in enumerate(reading.tokens[1:]):
        logs = reading.log_probabilities(place)
        best = int(logs.argmax())
        seen.append(
            Position(
                id=token,
                text=visible(tokenizer.token_text(token)),
                probability=math.exp(logs[token]),
                rank=1 + int((logs > logs[token]).sum()),
                surprise=-float(logs[token]) * BITS,
                predicted_id=best,
                predicted=visible(tokenizer.token_text(best)),
                predicted_probability=math.exp(logs[best]),
                entropy=entropy(logs),
            )
        )
    return Positions(text, seen)


def entropy(log_probabilities: Float[Tensor, " V"]) -> float:
    """Bits; from natural logarithms."""
    return float(torch.special.entr(log_probabilities.exp()).sum()) * BITS


def view(seen: NextTokens, language: str = "en") -> View:
    """The table of next tokens, the most probable first."""
    say, form = phrases(language), numbers(language)
    shown, others, others_probability, marked = list(seen.candidates), seen.others, seen.others_probability, None
    if seen.came is not None:
        ids = [candidate.id for candidate in shown]
        if seen.came.id not in ids:  # too improbable for the table's first rows: it gets one of its own
            shown.append(seen.came)
            others, others_probability = others - 1, others_probability - seen.came.probability
        marked = [*ids, seen.came.id].index(seen.came.id)
    rows = [
        [
            candidate.text,
            str(candidate.id),
            percent(form, candidate.probability),
            form.number(candidate.log_probability, 3),
            form.number(candidate.logit, 3),
        ]
        for candidate in shown
    ]
    if others:
        name = say["others"].format(count=form.number(others))
        rows.append([name, "", percent(form, others_probability), "", ""])
    shares = [candidate.probability for candidate in shown]
    return View(
        id="next",
        title=say["next"].format(text=tail(seen.text))
        if seen.text
        else say["first_of_answer" if seen.came else "first"],
        note=say["next_note"].format(bits=form.number(seen.entropy, 2), choices=form.significant(2**seen.entropy)),
        columns=[say["token"], say["id"], say["probability"], say["log_probability"], say["logit"]],
        rows=rows,
        draw=lambda: picture(seen, say["others"].format(count=form.number(seen.others)), language),
        heat=[*shares, *([None] if others else [])],
        heated=2,
        marked=marked,
    )


def tail(text: str) -> str:
    """The end of a text, for a title."""
    shown = visible(text).replace("·", " ")
    return shown if len(shown) <= 60 else f"… {shown[-58:]}"


def picture(seen: NextTokens, others: str, language: str) -> "go.Figure":
    """A bar for each token, coloured and labelled by its probability; the last, hatched, is all others together."""
    import plotly.graph_objects as go

    say, form = phrases(language), numbers(language)
    shares = [candidate.probability for candidate in seen.candidates] + [seen.others_probability] * bool(seen.others)
    names = [candidate.text for candidate in seen.candidates] + [others] * bool(seen.others)
    figure = canvas(say["probability"], "", language, height=90 + 26 * len(shares))
    marker = heat_marker(shares)
    marker["pattern"] = {"shape": [""] * len(seen.candidates) + ["/"] * bool(seen.others)}
    figure.add_trace(
        go.Bar(
            orientation="h",
            x=shares,
            y=list(range(len(shares))),
            text=[percent(form, share) for share in shares],
            textposition="outside",
            cliponaxis=False,
            marker=marker,
            hoverinfo="text",
            hovertext=[f"{label(name)}: {percent(form, share)}" for name, share in zip(names, shares, strict=True)],
        )
    )
    figure.update_xaxes(tickformat=".0%", rangemode="tozero", range=[0, 1.15 * max(shares)])
    ticks = {"tickvals": list(range(len(shares))), "ticktext": [label(name) for name in names]}
    figure.update_yaxes(autorange="reversed", **ticks)
    return figure


def view_positions(seen: Positions, language: str = "en") -> View:
    """A text token by token: what was expected, what came, how surprising that was."""
    say, form = phrases(language), numbers(language)
    return View(
        id="surprise",
        title=say["surprise"],
        note=say["surprise_note"].format(mean=form.number(seen.mean_surprise, 2)),
        columns=[
            say["token"],
            say["expected_token"],
            say["its_probability"],
            say["probability"],
            say["rank"],
            say["bits"],
        ],
        rows=[
            [
                position.text,
                position.predicted,
                percent(form, position.predicted_probability),
                percent(form, position.probability),
                form.number(position.rank),
                form.number(position.surprise, 2),
            ]
            for position in seen.positions
        ],
        draw=lambda: picture_of_positions(seen, language),
        heat=[position.probability for position in seen.positions],
        heated=3,
        names=2,
    )


def picture_of_positions(seen: Positions, language: str) -> "go.Figure":
    """The bits of surprise of each token; colour tells its probability."""
    import plotly.graph_objects as go

    say, form = phrases(language), numbers(language)
    shown = seen.positions[:MOST_BARS]
    figure = canvas("", say["bits"], language, height=300)
    figure.add_trace(
        go.Bar(
            x=list(range(len(shown))),
            y=[position.surprise for position in shown],
            marker=heat_marker([position.probability for position in shown]),
            hoverinfo="text",
            hovertext=[
                f"{label(position.text)}: {form.number(position.surprise, 2)} {say['bits']}, {say['rank']} {position.rank}"
                f"<br>{say['expected_token']}: {label(position.predicted)} {percent(form, position.predicted_probability)}"
                for position in shown
            ],
        )
    )
    ticks = {"tickvals": list(range(len(shown))), "ticktext": [label(position.text) for position in shown]}
    figure.update_xaxes(showgrid=False, **ticks)
    return figure
