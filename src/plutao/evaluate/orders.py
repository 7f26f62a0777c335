"""What each order of an n-gram model buys, and what it costs: texts that read better and better (the book's Figures 36 and 37),
and n-grams so many that most were never seen (section 2.2, the curse of dimensionality).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from plutao.evaluate.perplexity import Document, bits_per_byte
from plutao.files import read_json, write_json
from plutao.generate.sampling import Sampling
from plutao.generate.writer import Writer
from plutao.look import page
from plutao.look.view import View, canvas, cividis, numbers
from plutao.models.ngram import NgramModel
from plutao.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import plotly.graph_objects as go

ORDERS, PAGE = "orders.json", "orders.html"
TEXTS = 2
"""Texts that each order writes."""

ENGLISH = {
    "title": "N-grams, order by order",
    "writes": "What each order writes",
    "writes_note": "Order 1 draws every token by its frequency alone, order 2 looks at one token before it, order 3 at two "
    "… (the book's Figures 36 and 37). Line breaks are shown as ⏎.",
    "order": "order",
    "text": "text",
    "bits": "bits per byte",
    "perplexity": "perplexity per token",
    "curse": "The curse of dimensionality",
    "curse_note": "Of all n-grams that the vocabulary allows, a text shows next to none; and of those in text it was not "
    "counted on, more and more were never seen, the longer they are (the book's section 2.2).",
    "seen": "different n-grams seen",
    "possible": "possible",
    "share": "share seen",
    "unseen": "of the validation's n-grams never seen",
    "count": "n-grams",
    "shows": "{name}: counted on {tokens} tokens, vocabulary {vocabulary}",
    "intro": "One model for each order, all of the same text.",
}
PORTUGUESE = {
    "title": "N-gramas, ordem por ordem",
    "writes": "O que cada ordem escreve",
    "writes_note": "A ordem 1 sorteia cada token só pela frequência, a ordem 2 olha um token para trás, a ordem 3 olha dois "
    "… (Figuras 36 e 37 do livro). Quebras de linha aparecem como ⏎.",
    "order": "ordem",
    "text": "texto",
    "bits": "bits por byte",
    "perplexity": "perplexidade por token",
    "curse": "A maldição da dimensionalidade",
    "curse_note": "De todos os n-gramas que o vocabulário permite, um texto mostra quase nenhum; e dos que aparecem em texto "
    "que não foi contado, quanto mais longos, mais nunca foram vistos (seção 2.2 do livro).",
    "seen": "n-gramas diferentes vistos",
    "possible": "possíveis",
    "share": "parte vista",
    "unseen": "dos n-gramas da validação nunca vistos",
    "count": "n-gramas",
    "shows": "{name}: contado em {tokens} tokens, vocabulário de {vocabulary}",
    "intro": "Um modelo para cada ordem, todos do mesmo texto.",
}
WORDS = {"en": ENGLISH, "pt": PORTUGUESE}


@dataclass(frozen=True)
class Order:
    """One order n of one text."""

    order: int
    seen: int
    """Different n-grams of the training text."""
    possible: float
    """Vocabulary to the power of n."""
    validation: int
    """N-grams of the validation text, each time they stand there."""
    unseen: float
    """Share of these that the training text does not have."""
    bits_per_byte: float | None
    """Of the model of this order, on the first of the validation text; None where the tokenizer loses text."""
    perplexity: float
    texts: tuple[str, ...]
    """What the model of this order writes."""


def measure_orders(
    model_of: Callable[[int], NgramModel],
    words: npt.NDArray[np.bool_],
    seen: Sequence[int],
    tokenizer: Tokenizer,
    documents: Sequence[Document],
    sampling: Sampling,
) -> list[Order]:
    """Measures the models of all orders.

    Args:
        model_of: the model of an order, all its n-grams held.
        words: which tokens the training text has.
        seen: for each order, how many different n-grams it has.
        documents: validation text, so much of it as shall be looked at.
    """
    order = len(seen)
    full = model_of(order)
    total, missing = np.zeros(order, np.int64), np.zeros(order, np.int64)
    for document in documents:
        text = document if isinstance(document, str) else document[0]
        tokens = np.array([[tokenizer.end_of_text, *tokenizer.encode(text)]])
        total[0] += tokens.size - 1
        missing[0] += int((~words[tokens[0, 1:]]).sum())
        for n, known in enumerate(full.known(tokens), start=2):
            places = known[0, n - 1 :]  # those with n tokens up to here
            total[n - 1] += len(places)
            missing[n - 1] += int((~places).sum())
    found = []
    for n in range(1, order + 1):
        model = full if n == order else model_of(n)
        measured = bits_per_byte(model, tokenizer, documents)
        [completions] = Writer(model, tokenizer).complete([""], sampling)
        unseen = missing[n - 1] / max(1, total[n - 1])
        texts = tuple(completion.text for completion in completions)
        possible = float(model.vocabulary) ** n
        found.append(
            Order(
                n, seen[n - 1], possible, int(total[n - 1]), unseen, measured.bits_per_byte, measured.perplexity, texts
            )
        )
    return found


def store(orders: Sequence[Order], folder: Path, facts: dict[str, Any], language: str) -> Path:
    """Writes orders.json and orders.html; `facts` are name, tokens and vocabulary."""
    write_json(folder / ORDERS, {**facts, "orders": [asdict(order) for order in orders]})
    say, form = WORDS[language], numbers(language)
    shown = {key: value if isinstance(value, str) else form.number(value) for key, value in facts.items()}
    path = folder / PAGE
    page.write(path, views(orders, language), say["intro"], say["shows"].format(**shown), language, say["title"])
    return path


def read(folder: Path) -> list[Order]:
    """The orders that rest in a stage's folder; none where there are none."""
    if not (folder / ORDERS).is_file():
        return []
    return [Order(**{**order, "texts": tuple(order["texts"])}) for order in read_json(folder / ORDERS)["orders"]]


def views(orders: Sequence[Order], language: str = "en") -> list[View]:
    """The texts, and the counts."""
    say, form = WORDS[language], numbers(language)
    texts = [
        [
            str(one.order),
            one.texts[0].replace("\n", "⏎") if one.texts else "",
            "–" if one.bits_per_byte is None else form.number(one.bits_per_byte, 3),
            form.number(one.perplexity, 1),
        ]
        for one in orders
    ]
    counts = [
        [
            str(one.order),
            form.number(one.seen),
            form.significant(one.possible, 3),
            f"{form.significant(100 * one.seen / one.possible, 2)}%",
            f"{form.number(100 * one.unseen, 1)}%",
        ]
        for one in orders
    ]
    return [
        View(
            "writes",
            say["writes"],
            say["writes_note"],
            [say["order"], say["text"], say["bits"], say["perplexity"]],
            texts,
            lambda: by_loss(orders, language),
            names=2,
        ),
        View(
            "curse",
            say["curse"],
            say["curse_note"],
            [say["order"], say["seen"], say["possible"], say["share"], say["unseen"]],
            counts,
            lambda: by_count(orders, language),
        ),
    ]


def by_loss(orders: Sequence[Order], language: str) -> "go.Figure":
    """Bits per byte over the order (perplexity where there are none)."""
    import plotly.graph_objects as go

    say = WORDS[language]
    comparable = all(one.bits_per_byte is not None for one in orders)
    figure = canvas(say["order"], say["bits" if comparable else "perplexity"], language, 320)
    values = [one.bits_per_byte if comparable else one.perplexity for one in orders]
    figure.add_trace(go.Bar(x=[str(one.order) for one in orders], y=values, marker={"color": cividis(0.35)}))
    return figure


def by_count(orders: Sequence[Order], language: str) -> "go.Figure":
    """N-grams possible and seen, on a logarithmic scale; the share that was never seen on the right."""
    import plotly.graph_objects as go

    from plutao.evaluate.report.figures import PLUTO, QUIET, SUN

    say = WORDS[language]
    figure = canvas(say["order"], say["count"], language, 420)
    x = [str(one.order) for one in orders]
    possible, seen = [one.possible for one in orders], [one.seen for one in orders]
    dotted = {"mode": "lines+markers", "line": {"color": PLUTO, "dash": "dot"}}
    figure.add_trace(go.Scatter(x=x, y=possible, name=say["possible"], **dotted))
    solid = {"mode": "lines+markers", "line": {"color": SUN, "width": 2.5}, "marker": {"symbol": "diamond", "size": 8}}
    figure.add_trace(go.Scatter(x=x, y=seen, name=say["seen"], **solid))
    unseen = [100 * one.unseen for one in orders]
    bars = {"yaxis": "y2", "opacity": 0.35, "marker": {"color": QUIET}}
    figure.add_trace(go.Bar(x=x, y=unseen, name=say["unseen"], **bars))
    figure.update_yaxes(type="log")
    right = {
        "overlaying": "y",
        "side": "right",
        "range": [0, 100],
        "type": "linear",
        "ticksuffix": "%",
        "showgrid": False,
    }
    figure.update_layout(showlegend=True, yaxis2=right, margin={"r": 60})
    return figure
