"""A ladder of trainings shown: loss against size, tokens and operations, with the law of scaling that the dial uses.

"Tamanho de modelo não é documento" (the size of a model proves nothing): for each amount of computing one size is best, and
larger ones are worse.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plutao.errors import UserError
from plutao.files import read_json, write_json
from plutao.look import page
from plutao.look.view import View, canvas, cividis, numbers
from plutao.models.presets import decoder_config
from plutao.models.scaling import DEFAULT, Law, Rung, fit

if TYPE_CHECKING:
    import plotly.graph_objects as go

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star", "x", "hexagon")
POINTS = 40
"""Of a line that shows the law."""

ENGLISH = {
    "title": "Loss against size, tokens and operations",
    "by_size": "Loss against size",
    "by_size_note": "One line for each number of tokens. Where it hardly falls, a larger model would be wasted.",
    "by_tokens": "Loss against tokens",
    "by_tokens_note": "One line for each size. Small models fall first and flatten first.",
    "by_flops": "Loss against operations",
    "by_flops_note": "One line for each size: each budget has its own best size.",
    "parameters": "parameters",
    "tokens": "tokens",
    "operations": "operations",
    "bits": "bits per byte",
    "size": "size",
    "law": "law",
    "rows": "rows a step",
    "shows": "{name}: {count} trainings",
    "lines": "Points are trainings; lines are the law {law}",
    "by": "{count} tokens",
}
PORTUGUESE = {
    "title": "Perda por tamanho, tokens e operações",
    "by_size": "Perda por tamanho",
    "by_size_note": "Uma linha para cada número de tokens. Onde ela quase não cai, um modelo maior seria desperdício.",
    "by_tokens": "Perda por tokens",
    "by_tokens_note": "Uma linha para cada tamanho. Modelos pequenos caem primeiro e param de cair primeiro.",
    "by_flops": "Perda por operações",
    "by_flops_note": "Uma linha para cada tamanho: cada orçamento tem o seu melhor tamanho. Tamanho de modelo não é documento.",
    "parameters": "parâmetros",
    "tokens": "tokens",
    "operations": "operações",
    "bits": "bits por byte",
    "size": "tamanho",
    "law": "lei",
    "rows": "linhas por passo",
    "shows": "{name}: {count} treinamentos",
    "lines": "Os pontos são treinamentos; as linhas são a lei {law}",
    "by": "{count} tokens",
}
WORDS = {"en": ENGLISH, "pt": PORTUGUESE}


@dataclass(frozen=True)
class Ladder:
    """Trainings of several sizes and lengths on one text, and the law they follow."""

    name: str
    cards: tuple[dict[str, Any], ...]
    """What each rung came to, small and short ones first."""
    law: Law
    note: str = ""
    """Why the law is not their own, where it is not."""

    def as_json(self) -> dict[str, Any]:
        keys = (
            "preset",
            "parameters",
            "tokens",
            "batch_tokens",
            "unique_tokens",
            "flops",
            "seconds",
            "tokens_per_second",
        )
        rungs = [
            {key: card[key] for key in keys} | {"bits_per_byte": loss_of(card), "predicted": predicted(self.law, card)}
            for card in self.cards
        ]
        return {"name": self.name, "rungs": rungs, "law": self.law.as_json(), "note": self.note}


def read(folder: Path, text: str, name: str) -> Ladder:
    """All finished rungs of a text in `folder` (a project's runs/scaling), with the law fitted to them.

    Args:
        text: the fingerprint of the token shards.
        name: of the text, for the law's source.

    Raises:
        UserError: there is no finished rung.
    """
    cards = [read_json(path) for path in folder.glob("*/stage.json")]
    cards = [card for card in cards if card.get("complete") and card.get("text") == text]
    if not cards:
        raise UserError(f"{folder} holds no finished training: `plutao compare --scaling` trains some.")
    cards.sort(key=lambda card: (card["parameters"], card["tokens"], card["batch_tokens"]))
    try:
        law, note = fit([rung_of(card) for card in cards], source_of(name, cards)), ""
    except UserError as error:
        law, note = DEFAULT, str(error)
    return Ladder(name, tuple(cards), law, note)


def rung_of(card: dict[str, Any]) -> Rung:
    return Rung(card["parameters"], card["tokens"], card["batch_tokens"], card["unique_tokens"], loss_of(card))


def loss_of(card: dict[str, Any]) -> float:
    """Bits per byte of the rung's validation text.

    Raises:
        UserError: its tokenizer does not give texts back.
    """
    bits = card["validation"].get("bits_per_byte")
    if bits is None:
        raise UserError(
            "This tokenizer does not give texts back byte for byte, so losses can't be told in bits per byte: use bpe."
        )
    return float(bits)


def predicted(law: Law, card: dict[str, Any]) -> float:
    return law.loss(card["parameters"], card["tokens"], card["batch_tokens"], card["unique_tokens"])


def source_of(name: str, cards: Sequence[dict[str, Any]]) -> str:
    """`12 trainings of 0.9M to 7.2M parameters on 0.25M to 2.00M tokens of livros-pt`."""
    sizes = [card["parameters"] / 1e6 for card in cards]
    tokens = [card["tokens"] / 1e6 for card in cards]
    return (
        f"{len(cards)} trainings of {min(sizes):.1f}M to {max(sizes):.1f}M parameters "
        f"on {min(tokens):.2f}M to {max(tokens):.2f}M tokens of {name}"
    )


def store(ladder: Ladder, folder: Path, language: str = "en") -> Path:
    """Writes scaling.json and scaling.html, and law.json (which the dial reads) where the law is their own; returns the page."""
    write_json(folder / "scaling.json", ladder.as_json())
    if not ladder.note:
        write_json(folder / "law.json", ladder.law.as_json())
    say = WORDS[language]
    law = formula(ladder.law)
    shows = say["shows"].format(name=ladder.name, count=len(ladder.cards))
    text = say["lines"].format(law=law) + (f"\n{ladder.note}" if ladder.note else "")
    path = folder / "scaling.html"
    page.write(path, views(ladder, language), text, shows, language, say["title"])
    return path


def formula(law: Law) -> str:
    return f"L = {law.E:.3g} + {law.A:.3g} / N^{law.alpha:.3f} + {law.B:.3g} / ({law.D0:.2g} + D)^{law.beta:.3f}"


# ---------------------------------------------------------------------------------------------------------------------
# Pictures


def views(ladder: Ladder, language: str = "en") -> list[View]:
    """Loss against size, tokens and operations; each has the same table."""
    say = WORDS[language]
    names = ("by_size", "by_tokens", "by_flops")
    draws: tuple[Callable[[], go.Figure], ...] = (
        lambda: by_size(ladder, language),
        lambda: by_work(ladder, language, "tokens"),
        lambda: by_work(ladder, language, "flops"),
    )
    return [
        View(name, say[name], say[f"{name}_note"], columns(say), rows(ladder, language), draw)
        for name, draw in zip(names, draws, strict=True)
    ]


def columns(say: dict[str, str]) -> list[str]:
    return [say["size"], say["parameters"], say["tokens"], say["rows"], say["operations"], say["bits"], say["law"]]


def rows(ladder: Ladder, language: str) -> list[list[str]]:
    form = numbers(language)
    return [
        [
            card["preset"],
            form.number(card["parameters"]),
            form.number(card["tokens"]),
            form.number(card["batch_tokens"]),
            form.significant(card["flops"]),
            form.number(loss_of(card), 3),
            form.number(predicted(ladder.law, card), 3),
        ]
        for card in ladder.cards
    ]


def by_size(ladder: Ladder, language: str) -> "go.Figure":
    """A line for each number of tokens, at the commonest batch; the law goes on to four times the largest size."""
    cards = usual_batch(ladder.cards)
    sizes = spread(min(c["parameters"] for c in cards), 4 * max(c["parameters"] for c in cards))
    lengths = sorted({round(card["tokens"], -4) for card in cards})
    figure = canvas(WORDS[language]["parameters"], WORDS[language]["bits"], language, 420)
    for place, length in enumerate(lengths):
        some = [card for card in cards if round(card["tokens"], -4) == length]
        name = WORDS[language]["by"].format(count=f"{length / 1e6:g}M")
        first = some[0]
        law = [ladder.law.loss(n, first["tokens"], first["batch_tokens"], first["unique_tokens"]) for n in sizes]
        add(
            figure,
            name,
            place,
            len(lengths),
            [(c["parameters"], loss_of(c)) for c in some],
            list(zip(sizes, law, strict=True)),
        )
    return finished(figure)


def by_work(ladder: Ladder, language: str, key: str) -> "go.Figure":
    """A line for each size over tokens or operations, at the commonest batch; the law goes on to eight times the longest."""
    cards = usual_batch(ladder.cards)
    presets = sorted({card["preset"] for card in cards}, key=lambda name: decoder_config(name).parameters())
    longest = max(card["tokens"] for card in cards)
    say = WORDS[language]
    figure = canvas(say["tokens" if key == "tokens" else "operations"], say["bits"], language, 420)
    for place, preset in enumerate(presets):
        some = [card for card in cards if card["preset"] == preset]
        first = some[0]
        a_token = 1.0 if key == "tokens" else first["flops"] / first["tokens"]
        lengths = spread(min(card["tokens"] for card in some), 8 * longest)
        law = [
            (
                length * a_token,
                ladder.law.loss(first["parameters"], length, first["batch_tokens"], first["unique_tokens"]),
            )
            for length in lengths
        ]
        add(figure, preset, place, len(presets), [(card[key], loss_of(card)) for card in some], law)
    return finished(figure)


def usual_batch(cards: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rungs of the commonest batch: others would not lie on the lines."""
    sizes = [card["batch_tokens"] for card in cards]
    usual = max(sorted(set(sizes)), key=sizes.count)
    return [card for card in cards if card["batch_tokens"] == usual]


def spread(low: float, high: float) -> list[float]:
    """Numbers from `low` to `high`, evenly on a logarithmic scale."""
    return [low * (high / low) ** (place / (POINTS - 1)) for place in range(POINTS)]


def add(
    figure: "go.Figure",
    name: str,
    place: int,
    count: int,
    points: Sequence[tuple[float, float]],
    law: Sequence[tuple[float, float]],
) -> None:
    """One series: the trainings as markers of a shape of their own, the law as a line of their colour."""
    import plotly.graph_objects as go

    colour = cividis(0.9 * place / max(1, count - 1))
    marker = {"size": 10, "symbol": SYMBOLS[place % len(SYMBOLS)], "color": colour}
    x, y = zip(*points, strict=True)
    figure.add_trace(go.Scatter(x=x, y=y, name=name, mode="markers", marker=marker, legendgroup=name))
    x, y = zip(*law, strict=True)
    line = {"color": colour, "width": 1.5, "dash": "dot"}
    figure.add_trace(go.Scatter(x=x, y=y, name=name, mode="lines", line=line, legendgroup=name, showlegend=False))


def finished(figure: "go.Figure") -> "go.Figure":
    figure.update_xaxes(type="log")
    figure.update_layout(showlegend=True)
    return figure
