"""What a row teaches: each token of it learned, or only read (the book, section 3.1)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from plutao.data.pack import NOT_LEARNED, Batch, PackedBatch
from plutao.look.tokens import LINE, MOST_SHOWN, Token, lines_of, token
from plutao.look.view import View, canvas, label, numbers
from plutao.look.words import phrases
from plutao.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import plotly.graph_objects as go

LEARNED, READ = "#F2B84B", "#D9D6CF"
ON_BOTH = "#161513"
WORDS = {
    "en": {
        "title": "What row {row} of stage {stage} teaches",
        "note": "{learned} of {tokens} tokens are learned ({share}): those in ⟦ ⟧, which the model is corrected on; the others it "
        "only reads. {texts}; padding fills {padding} of its {positions} "
        "positions (the book, section 3.1).",
        "texts": "{count} texts share the row, and none sees another",
        "text": "One text has the row to itself",
        "is_learned": "learned",
        "of_text": "text",
        "yes": "learned",
        "no": "read",
    },
    "pt": {
        "title": "O que a linha {row} da etapa {stage} ensina",
        "note": "{learned} de {tokens} tokens são aprendidos ({share}): os que estão entre ⟦ ⟧, nos quais o modelo é corrigido; os "
        "outros ele só lê. {texts}; o preenchimento ocupa {padding} das suas {positions} posições "
        "(o livro, seção 3.1).",
        "texts": "{count} textos dividem a linha, e nenhum vê outro",
        "text": "Um só texto está na linha",
        "is_learned": "aprendido",
        "of_text": "texto",
        "yes": "aprendido",
        "no": "lido",
    },
}


@dataclass(frozen=True)
class Taught:
    """One token of a row."""

    token: Token
    learned: bool
    """Whether the model is corrected on what it expected here."""
    text: int
    """Which of the row's texts it belongs to, counted from 1."""


@dataclass(frozen=True)
class Mask:
    """A row of training."""

    stage: str
    row: int
    tokens: list[Taught]
    positions: int
    padding: int
    texts: int

    @property
    def learned(self) -> int:
        return sum(each.learned for each in self.tokens)


def mask(tokenizer: Tokenizer, batch: Batch | PackedBatch, stage: str, row: int) -> Mask:
    """The tokens of a batch's only row, each with whether it is a target of training.

    A row's targets are its tokens one place later; the last target stands behind its last token.
    """
    assert batch.rows == 1
    tokens, targets = batch.tokens[0].tolist(), batch.targets[0].tolist()
    segments = batch.segments[0].tolist() if isinstance(batch, PackedBatch) else [1] * len(tokens)
    taught: list[Taught] = []
    before = 0
    for place, (number, target, segment) in enumerate(zip(tokens, targets, segments, strict=True)):
        if not segment:
            continue
        if segment != before:  # nothing stands in front of a text's first token: it can't be expected
            taught.append(Taught(token(tokenizer, number), False, segment))
        following = segments[place + 1] if place + 1 < len(segments) else 0
        if target != NOT_LEARNED or following == segment:
            shown = target if target != NOT_LEARNED else tokens[place + 1]
            taught.append(Taught(token(tokenizer, shown), target != NOT_LEARNED, segment))
        before = segment
    return Mask(stage, row, taught, len(tokens), segments.count(0), len(set(segments) - {0}))


def view(seen: Mask, language: str = "en") -> View:
    """The row in two colours; as a table, one line a token."""
    phrases(language)
    say, form = WORDS[language], numbers(language)
    shown = seen.tokens[:MOST_SHOWN]
    texts = say["text"] if seen.texts == 1 else say["texts"].format(count=form.number(seen.texts))
    note = say["note"].format(
        learned=form.number(seen.learned),
        tokens=form.number(len(seen.tokens)),
        share=f"{form.number(100 * seen.learned / max(len(seen.tokens), 1))}%",
        texts=texts,
        padding=form.number(seen.padding),
        positions=form.number(seen.positions),
    )
    if len(shown) < len(seen.tokens):
        note += " " + phrases(language)["first_shown"].format(count=MOST_SHOWN)
    columns = phrases(language)
    return View(
        id="mask",
        title=say["title"].format(row=seen.row, stage=seen.stage),
        note=note,
        columns=[columns["token"], say["is_learned"], columns["id"], say["of_text"]],
        rows=[
            [each.token.text, say["yes"] if each.learned else say["no"], str(each.token.id), str(each.text)]
            for each in shown
        ],
        draw=lambda: picture(shown, language),
        names=2,
        strip=strip(seen.tokens),
    )


def strip(tokens: list[Taught]) -> Text:
    """The row as running text for a terminal: what is learned in colour and between ⟦ ⟧, special tokens bold, an
    empty line between texts."""
    text, before = Text(), None
    for each in tokens:
        other = before is not None and each.text != before.text
        if before is not None and before.learned and (not each.learned or other):
            text.append("⟧")
        if other:
            text.append("\n\n")
        if each.learned and (before is None or other or not before.learned):
            text.append("⟦")
        colours = f"{ON_BOTH} on {LEARNED}" if each.learned else ""
        text.append(readable(each.token), style=f"bold {colours}" if each.token.special else colours)
        before = each
    text.append("⟧\n" if before is not None and before.learned else "\n")
    return text


def readable(one: Token) -> str:
    """A token in running text: spaces as they are, line ends shown and obeyed."""
    return one.text.replace("·", " ").replace("⏎", "⏎\n")


def picture(tokens: list[Taught], language: str) -> "go.Figure":
    """Each token a tile; those that are learned in another colour and hatched."""
    import plotly.graph_objects as go

    say = WORDS[language]
    lines = lines_of([each.token for each in tokens])
    figure = canvas("", "", language, height=40 + 44 * len(lines))
    cells = [(row, *cell) for row, line in enumerate(lines) for cell in line]
    kinds = [say["yes"] if each.learned else say["no"] for each in tokens]
    figure.add_trace(
        go.Bar(
            orientation="h",
            y=[row for row, *_ in cells],
            base=[start for _, _, start, _ in cells],
            x=[width + 0.6 for *_, width in cells],
            text=[label(one.text) for _, one, *_ in cells],
            customdata=[[label(one.text), kind] for (_, one, *_), kind in zip(cells, kinds, strict=True)],
            hovertemplate="%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            constraintext="none",
            textfont={"family": "ui-monospace, Menlo, Consolas, monospace", "size": 13, "color": ON_BOTH},
            marker={
                "color": [LEARNED if each.learned else READ for each in tokens],
                "pattern": {
                    "shape": ["/" if each.learned else "" for each in tokens],
                    "fillmode": "overlay",
                    "fgopacity": 0.25,
                    "solidity": 0.2,
                },
            },
            width=0.8,
        )
    )
    figure.update_xaxes(visible=False, range=[-0.5, LINE + 0.5])
    figure.update_yaxes(visible=False, range=[len(lines) - 0.5, -0.5])
    return figure
