"""How a text is cut into tokens, and the numbers they become (the book, section 2.5, Figure 39)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from plutao.look.view import View, canvas, label, numbers
from plutao.look.words import phrases
from plutao.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import plotly.graph_objects as go

TINTS = ("#F3D6AE", "#C7D6E8", "#E9E3CF", "#D8CEE4")
"""Neighbours differ; what a colour says, the gap between tokens says too."""
ON_TINT = "#161513"
SIGNS = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"}
LINE = 78
"""Characters of a line, in the picture and in a terminal."""
MOST_SHOWN = 600
"""Tokens in a picture or table; the data have all."""


@dataclass(frozen=True)
class Token:
    """One token of a text."""

    id: int
    text: str
    r"""For the eye: a space as ·, a line end as ⏎, a byte of a broken character as \xNN."""
    bytes: str
    """What it stands for, in hexadecimal: "20 53 6f 6c"."""
    size: int
    """Bytes."""
    whole: bool
    """Whether it is whole characters; False where a character is shared with its neighbours."""
    special: bool


@dataclass(frozen=True)
class Tokens:
    """A text as a model sees it."""

    text: str
    kind: str
    """Of the tokenizer."""
    vocabulary: int
    tokens: list[Token]
    characters: int
    bytes: int
    """Of the text in UTF-8."""
    words: int
    gives_back: bool
    """Whether the text comes back byte for byte."""

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / len(self.tokens) if self.tokens else 0.0


def cut(tokenizer: Tokenizer, text: str) -> Tokens:
    """Cuts a text; special tokens typed in it are text and are cut like any other."""
    ids = tokenizer.encode(text)
    return Tokens(
        text=text,
        kind=tokenizer.kind,
        vocabulary=tokenizer.vocabulary_size,
        tokens=[token(tokenizer, number) for number in ids],
        characters=len(text),
        bytes=len(text.encode("utf-8", "replace")),
        words=len(text.split()),
        gives_back=tokenizer.decode(ids) == text,
    )


def token(tokenizer: Tokenizer, number: int) -> Token:
    """One token by its id."""
    content = tokenizer.token_bytes(number)
    return Token(
        id=number,
        text=visible(tokenizer.token_text(number)),
        bytes=content.hex(" "),
        size=len(content),
        whole=is_utf8(content),
        special=number in tokenizer.special_ids,
    )


def visible(text: str) -> str:
    """A token's text with everything that has no shape of its own made visible."""
    return "".join(SIGNS.get(sign) or (sign if sign.isprintable() else escape(sign)) for sign in text)


def escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


def is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def view(seen: Tokens, language: str = "en") -> View:
    """The tokens in colours with their ids; as a table, one row a token."""
    say, form = phrases(language), numbers(language)
    shown = seen.tokens[:MOST_SHOWN]
    note = say["tokens_note"].format(
        words=form.number(seen.words),
        characters=form.number(seen.characters),
        bytes=form.number(seen.bytes),
        tokens=form.number(len(seen.tokens)),
        ratio=form.number(seen.bytes_per_token, 2),
        kind=seen.kind,
        vocabulary=form.number(seen.vocabulary),
    )
    if not seen.gives_back:
        note += " " + say["not_given_back"]
    if len(shown) < len(seen.tokens):
        note += " " + say["first_shown"].format(count=MOST_SHOWN)
    return View(
        id="tokens",
        title=say["tokens"],
        note=note,
        columns=[say["token"], say["id"], say["bytes"], say["size"]],
        rows=[[token.text, str(token.id), token.bytes, str(token.size)] for token in shown],
        draw=lambda: picture(shown, language),
        names=1,
        strip=strip(shown, say),
    )


def lines_of(tokens: list[Token]) -> list[list[tuple[Token, int, int]]]:
    """Tokens laid out in lines: (token, first column, columns), wide enough for its text and its id."""
    lines: list[list[tuple[Token, int, int]]] = [[]]
    start = 0
    for token in tokens:
        width = max(len(token.text), len(str(token.id)), len(str(token.size)) + 2)
        if lines[-1] and start + width > LINE:
            lines.append([])
            start = 0
        lines[-1].append((token, start, width))
        start += width + 1
    return lines


def strip(tokens: list[Token], say: dict[str, str]) -> Text:
    """Three lines for a terminal, and again: tokens in colours, their ids, their bytes."""
    text, place = Text(), 0
    for line in lines_of(tokens):
        for token, _, width in line:
            text.append(token.text.ljust(width), style=f"{ON_TINT} on {TINTS[place % len(TINTS)]}")
            text.append(" ")
            place += 1
        text.append("\n")
        text.append(" ".join(str(token.id).ljust(width) for token, _, width in line))
        text.append(f"   {say['id']}\n")
        text.append(" ".join(f"{token.size} B".ljust(width) for token, _, width in line), style="dim")
        text.append("\n\n")
    return text


def picture(tokens: list[Token], language: str) -> "go.Figure":
    """Each token a tile with its text and id; hatched where it holds only a part of a character."""
    import plotly.graph_objects as go

    say = phrases(language)
    lines = lines_of(tokens)
    figure = canvas("", "", language, height=40 + 52 * len(lines))
    cells = [(row, *cell) for row, line in enumerate(lines) for cell in line]
    figure.add_trace(
        go.Bar(
            orientation="h",
            y=[row for row, *_ in cells],
            base=[start for _, _, start, _ in cells],
            x=[width + 0.6 for *_, width in cells],
            text=[f"{label(token.text)}<br><sup>{token.id}</sup>" for _, token, *_ in cells],
            customdata=[[label(token.text), token.id, token.bytes, token.size] for _, token, *_ in cells],
            hovertemplate=f"%{{customdata[0]}}<br>{say['id']} %{{customdata[1]}}<br>{say['bytes']} %{{customdata[2]}}<extra></extra>",
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            constraintext="none",
            textfont={"family": "ui-monospace, Menlo, Consolas, monospace", "size": 13, "color": ON_TINT},
            marker={
                "color": [TINTS[place % len(TINTS)] for place in range(len(cells))],
                "pattern": {"shape": ["" if token.whole else "/" for _, token, *_ in cells], "fgcolor": "#B9B2A2"},
            },
            width=0.8,
        )
    )
    figure.update_xaxes(visible=False, range=[-0.5, LINE + 0.5])
    figure.update_yaxes(visible=False, range=[len(lines) - 0.5, -0.5])
    return figure
