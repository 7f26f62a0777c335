"""What a row teaches can be seen: in the terminal without colours, as a table, as a picture."""

import io

import pytest
import torch
from rich.console import Console

from plutao.data.conversation_batches import ConversationStore, pack_all
from plutao.data.pack import Batch
from plutao.look.mask import LEARNED, mask, view
from plutao.look.view import as_json
from plutao.text.chat import Message, ToolCall, encode_for_learning
from plutao.text.tokenizer import Tokenizer, train

CONVERSATIONS = (
    (Message("system", "S"), Message("user", "a <|im_end|> b"), Message("assistant", "yes\nno")),
    (
        Message("user", "12+30"),
        Message("assistant", "", (ToolCall("calculator", {"expression": "12+30"}),)),
        Message("tool", "42"),
        Message("assistant", "42."),
    ),
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train("bpe", ["yes no calculator expression system user assistant tool\n"] * 9, 300)


@pytest.fixture(scope="module")
def batch(tokenizer: Tokenizer):  # type: ignore[no-untyped-def]
    store = ConversationStore(encode_for_learning(tokenizer, each) for each in CONVERSATIONS)
    return next(pack_all({"s": store}, 250, tokenizer.pad, rows=1))


def terminal(seen: object) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(seen)
    return out.getvalue()


def test_the_assistants_turns_stand_between_brackets(tokenizer: Tokenizer, batch) -> None:  # type: ignore[no-untyped-def]
    printed = terminal(view(mask(tokenizer, batch, "sft", 7)).terminal())
    assert "What row 7 of stage sft teaches" in printed
    assert "<|im_start|>assistant⏎\n⟦yes⏎\nno<|im_end|>⟧" in printed
    assert '⟦<tool_call>{"name": "calculator", "arguments": {"expression": "12+30"}}</tool_call><|im_end|>⟧' in printed
    assert "<tool_response>42</tool_response><|im_end|>" in printed and "⟦42.<|im_end|>⟧" in printed
    assert printed.count("⟦") == printed.count("⟧") == 3 + 1  # the note explains them


def test_every_token_of_the_row_is_there_once_in_order(tokenizer: Tokenizer, batch) -> None:  # type: ignore[no-untyped-def]
    seen = mask(tokenizer, batch, "sft", 0)
    for number, messages in enumerate(CONVERSATIONS, start=1):
        encoded = encode_for_learning(tokenizer, messages)
        mine = [each for each in seen.tokens if each.text == number]
        assert [each.token.id for each in mine] == encoded.tokens[: len(mine)]
        assert [each.learned for each in mine] == encoded.learned[: len(mine)]
        assert mine[-1].token.text == "<|im_end|>"
    assert seen.texts == 2 and seen.learned == batch.weight
    assert seen.padding == int((batch.segments == 0).sum())
    assert as_json(seen)["learned"] == seen.learned


def test_pretraining_text_is_learned_from_its_second_token_on(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("yes no yes no system")
    row = torch.tensor([ids])
    seen = mask(tokenizer, Batch(row[:, :-1], row[:, 1:]), "base", 0)
    assert [each.token.id for each in seen.tokens] == ids
    assert [each.learned for each in seen.tokens] == [False] + [True] * (len(ids) - 1)


@pytest.mark.parametrize("language", ["en", "pt"])
def test_picture_and_table_say_the_same(tokenizer: Tokenizer, batch, language: str) -> None:  # type: ignore[no-untyped-def]
    seen = mask(tokenizer, batch, "sft", 0)
    shown = view(seen, language)
    assert len(shown.rows) == len(seen.tokens)
    colours = shown.figure.data[0].marker.color
    assert [colour == LEARNED for colour in colours] == [each.learned for each in seen.tokens]
    assert [shape == "/" for shape in shown.figure.data[0].marker.pattern.shape] == [e.learned for e in seen.tokens]
    assert "⟦" in shown.note
