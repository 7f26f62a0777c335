"""A tiny model that learned a few conversations by heart, for tests of what talks: it greets, adds and calls the calculator."""

import functools
from pathlib import Path

import torch

from plutao.models.decoder import Decoder, DecoderConfig
from plutao.models.interop.huggingface import save_model
from plutao.text.chat import Message, Messages, ToolCall, encode_for_learning
from plutao.text.tokenizer import Tokenizer, train


def said(*turns: str) -> Messages:
    """A conversation of user and assistant in turns."""
    return tuple(Message("assistant" if place % 2 else "user", turn) for place, turn in enumerate(turns))


def sum_with_tool(question: str, expression: str, result: str, answer: str) -> Messages:
    call = Message("assistant", "", (ToolCall("calculator", {"expression": expression}),))
    return (Message("user", question), call, Message("tool", result), Message("assistant", answer))


LEARNED = (
    said("Oi", "Olá. Eu falo do céu.", "Qual é o maior planeta?", "O maior planeta é Júpiter."),
    said("Qual é o maior planeta?", "O maior planeta é Júpiter."),
    said("Which planet is red?", "Mars is the red planet."),
    sum_with_tool("Quanto é 12+30?", "12+30", "42", "12+30 dá 42."),
    sum_with_tool("Quanto é 25+50?", "25+50", "75", "25+50 dá 75."),
    sum_with_tool("Quanto é 11/0?", "11/0", "error: division by zero", "Não se divide por zero."),
)


@functools.cache
def talker() -> tuple[Decoder, Tokenizer]:
    """The model, trained for some seconds once, and its tokenizer."""
    texts = [message.content for conversation in LEARNED for message in conversation]
    tokenizer = train(
        "bpe", [" ".join(texts) * 20, '{"name": "calculator", "arguments": {"expression": "1+1"}}' * 20], 380
    )
    model = Decoder(
        DecoderConfig(
            vocabulary=tokenizer.vocabulary_size,
            context=160,
            layers=2,
            width=64,
            heads=4,
            kv_heads=4,
            head_width=16,
            hidden=128,
        )
    )
    model.initialise(0)
    rows = [encode_for_learning(tokenizer, conversation) for conversation in LEARNED]
    length = max(len(row.tokens) for row in rows)
    tokens = torch.tensor([row.tokens + [0] * (length - len(row.tokens)) for row in rows])
    learned = torch.tensor([row.learned + [False] * (length - len(row.tokens)) for row in rows])
    targets = tokens.masked_fill(~learned, -100)
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    for _ in range(200):
        loss = torch.nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), targets[:, 1:].flatten())
        if loss < 0.02:
            break
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 0.05, f"the talker did not learn: {loss:.3f}"
    return model.eval(), tokenizer


def save_talker(folder: Path) -> None:
    """A Hugging Face folder with the talker."""
    model, tokenizer = talker()
    tokenizer.save(folder)
    ends = [tokenizer.special("<|im_end|>"), tokenizer.end_of_text]
    save_model(model, folder, bos=tokenizer.end_of_text, eos=ends, pad=tokenizer.pad)
