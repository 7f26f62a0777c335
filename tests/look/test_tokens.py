"""Every byte of a text is in its tokens, and everything can be seen: spaces, line ends, halves of characters."""

import io

import pytest
from rich.console import Console

from plutao.look.tokens import cut, lines_of, view, visible
from plutao.text.tokenizer import Tokenizer, train

TEXT = "O Sol é uma estrela.\nPlutão 🪐\té\u200b um planeta anão: [bold]<b>"


def terminal(seen: object, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(seen)
    return out.getvalue()


def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(tokenizer: Tokenizer) -> None:
    seen = cut(tokenizer, TEXT)
    assert bytes.fromhex("".join(token.bytes for token in seen.tokens)) == TEXT.encode()
    assert [token.id for token in seen.tokens] == tokenizer.encode(TEXT)
    assert sum(token.size for token in seen.tokens) == seen.bytes == len(TEXT.encode())
    assert seen.bytes_per_token == pytest.approx(seen.bytes / len(seen.tokens))
    assert seen.gives_back


def test_what_has_no_shape_is_made_visible(tokenizer: Tokenizer) -> None:
    assert visible(" a\tb\r\n\u200b") == "·a⇥b␍⏎\\u200b"
    texts = [token.text for token in cut(tokenizer, "Plutão é\num").tokens]
    assert "".join(texts) == "Plutão·é⏎um"


def test_halves_of_characters_are_shown_as_bytes_and_marked(tokenizer: Tokenizer) -> None:
    """The planet is in no sentence of the classroom: its four bytes are four tokens."""
    planet = cut(tokenizer, "🪐").tokens
    assert [token.text for token in planet] == [r"\xf0", r"\x9f", r"\xaa", r"\x90"]
    assert not any(token.whole for token in planet)
    assert all(token.whole for token in cut(tokenizer, "Sol").tokens)


def test_special_tokens_typed_in_a_text_are_text(tokenizer: Tokenizer) -> None:
    assert not any(token.special for token in cut(tokenizer, "<|endoftext|>").tokens)


def test_a_tokenizer_that_loses_text_says_so() -> None:
    words = train("word", ["um dois três quatro " * 3], 20)
    assert "byte for byte" in view(cut(words, "um cinco")).note


def test_the_table_has_a_row_a_token_and_the_terminal_shows_text_as_it_is(tokenizer: Tokenizer) -> None:
    seen = cut(tokenizer, TEXT)
    shown = view(seen)
    assert [row[1] for row in shown.rows] == [str(token.id) for token in seen.tokens]
    printed = terminal(shown.terminal())
    assert str(seen.tokens[0].id) in printed
    assert "[" in printed and "⏎" in printed  # rich's markup in a text is text
    assert "&lt;" in shown._repr_html_() or "<b>" not in "".join(row[0] for row in shown.rows)


def test_the_picture_has_a_tile_a_token_without_overlaps(tokenizer: Tokenizer) -> None:
    seen = cut(tokenizer, TEXT * 3)
    bar = view(seen).figure.data[0]
    assert len(bar.x) == len(seen.tokens)
    assert sum(shape == "/" for shape in bar.marker.pattern.shape) == sum(not token.whole for token in seen.tokens)
    for line in lines_of(seen.tokens):
        ends = [start + width for _, start, width in line]
        assert all(end < start for end, (_, start, _) in zip(ends, line[1:], strict=False))


def test_an_empty_text_has_no_tokens(tokenizer: Tokenizer) -> None:
    seen = cut(tokenizer, "")
    assert seen.tokens == [] and seen.bytes_per_token == 0
    assert view(seen).rows == []
