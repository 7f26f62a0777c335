"""How probable a whole text is: the chain rule (the book, section 2.9, formula 2.9).

P(t_1 … t_n) = P(t_1) · P(t_2 | t_1) · … · P(t_n | t_1 … t_{n−1}); as logarithms, a sum that never becomes too small for
the computer. `<|endoftext|>` stands in front and is not counted: P(t_1) is the probability that a document begins so.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plutao.look.reading import read
from plutao.look.tokens import visible
from plutao.look.view import View, canvas, heat_marker, label, numbers, percent
from plutao.look.words import phrases
from plutao.models.decoder import Decoder
from plutao.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_BARS = 200


@dataclass(frozen=True)
class Factor:
    """One factor of the product: a token, given all tokens before it."""

    id: int
    text: str
    probability: float
    log_probability: float
    """Natural logarithm (nats)."""
    running: float
    """Sum of the logarithms so far."""


@dataclass(frozen=True)
class ChainRule:
    """The probability of a text, token by token."""

    text: str
    factors: list[Factor]
    bytes: int
    """Of the text in UTF-8."""

    @property
    def log_probability(self) -> float:
        """log P of the whole text, in nats."""
        return self.factors[-1].running if self.factors else 0.0

    @property
    def product(self) -> float:
        """P itself: 0.0 where a computer's numbers can't hold it any more, which is why logarithms are summed."""
        return math.exp(self.log_probability)

    @property
    def perplexity(self) -> float:
        """e^(−log P ÷ n): as if each token had been a fair choice among so many."""
        return math.exp(-self.log_probability / max(len(self.factors), 1))

    @property
    def bits_per_byte(self) -> float:
        return -self.log_probability / math.log(2) / max(self.bytes, 1)


def chain_rule(model: Decoder, tokenizer: Tokenizer, text: str) -> ChainRule:
    """The factors of a text's probability; at temperature 1, counted over all of the model's table.

    Raises:
        UserError: the text is longer than the model's context.
    """
    reading = read(model, tokenizer, text)
    factors, running = [], 0.0
    for place, token in enumerate(reading.tokens[1:]):
        log = float(reading.log_probabilities(place)[token])
        running += log
        factors.append(Factor(token, visible(tokenizer.token_text(token)), math.exp(log), log, running))
    return ChainRule(text, factors, len(text.encode("utf-8", "replace")))


def view(seen: ChainRule, language: str = "en") -> View:
    """One row a factor; the last sum is the logarithm of the text's probability."""
    say, form = phrases(language), numbers(language)
    return View(
        id="chain",
        title=say["chain"],
        note=say["chain_note"].format(
            total=form.number(seen.log_probability, 3),
            product=form.significant(seen.product),
            perplexity=form.significant(seen.perplexity),
            tokens=form.number(len(seen.factors)),
            bits=form.number(seen.bits_per_byte, 3),
        ),
        columns=[say["factor"], say["probability"], say["log_probability"], say["running"]],
        rows=[
            [
                formula(seen, place),
                percent(form, factor.probability),
                form.number(factor.log_probability, 3),
                form.number(factor.running, 3),
            ]
            for place, factor in enumerate(seen.factors)
        ],
        draw=lambda: picture(seen, language),
        heat=[factor.probability for factor in seen.factors],
        heated=1,
    )


def formula(seen: ChainRule, place: int) -> str:
    """P(·Sol | O), with as much of what stands before as fits."""
    before = "".join(factor.text for factor in seen.factors[:place])
    if not before:
        return f"P({seen.factors[place].text})"
    return f"P({seen.factors[place].text} | {before if len(before) <= 28 else '…' + before[-27:]})"


def picture(seen: ChainRule, language: str) -> "go.Figure":
    """A staircase: each bar hangs where the one before ended and is as long as its token was improbable."""
    import plotly.graph_objects as go

    say, form = phrases(language), numbers(language)
    shown = seen.factors[:MOST_BARS]
    figure = canvas("", say["running"], language, height=340)
    figure.add_trace(
        go.Bar(
            x=list(range(len(shown))),
            base=[factor.running - factor.log_probability for factor in shown],
            y=[factor.log_probability for factor in shown],
            marker=heat_marker([factor.probability for factor in shown]),
            hoverinfo="text",
            hovertext=[
                f"{label(factor.text)}: {percent(form, factor.probability)}, log {form.number(factor.log_probability, 3)}"
                f"<br>{say['running']} {form.number(factor.running, 3)}"
                for factor in shown
            ],
        )
    )
    ticks = {"tickvals": list(range(len(shown))), "ticktext": [label(factor.text) for factor in shown]}
    figure.update_xaxes(showgrid=False, side="top", **ticks)
    return figure
