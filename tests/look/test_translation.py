"""A translation step by step: what is shown is what the model computes."""

import pytest
import torch

from plutao.errors import UserError
from plutao.generate.beam import forbid
from plutao.generate.translator import Translator
from plutao.look.translation import EOS, SOS, decoding, view, view_attention, views
from plutao.models.seq2seq import Kind, Seq2SeqConfig, make
from plutao.text.tokenizer import Tokenizer, train

TEXT = "je suis étudiant"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train("bpe", ["je suis étudiant. I am a student."] * 5, 290)


def translator(tokenizer: Tokenizer, kind: Kind = "transformer") -> Translator:
    config = Seq2SeqConfig(kind, tokenizer.vocabulary_size, 2, 32, heads=4, hidden=64, dropout=0.1)
    model = make(config)
    model.initialise(3)
    return Translator(model, tokenizer, "fr", "en", beam=3)


def test_the_steps_are_what_the_model_computes(tokenizer: Tokenizer) -> None:
    ours = translator(tokenizer)
    seen = decoding(ours, TEXT)
    best = ours.translate([TEXT])[0][0]
    assert seen.translation == best.text and seen.log_probability == best.log_probability
    assert seen.source[-1] == seen.written[-1] == EOS and seen.read[0] == SOS
    assert [len(step.reads) for step in seen.steps] == list(range(1, len(best.tokens) + 2))
    assert seen.read[1:] == seen.written[:-1]  # what is written is read at the next step
    total = sum(torch.tensor(step.probability).log().item() for step in seen.steps)
    assert total == pytest.approx(best.log_probability, abs=1e-3)
    rows, tokens = torch.tensor([ours.encode(TEXT)]), torch.tensor([[4, *best.tokens]])
    first = forbid(ours.model, ours.model(rows, tokens), tokenizer.vocabulary_size)[0, 0].exp()
    for text, probability in seen.steps[0].instead:
        assert probability in [pytest.approx(each) for each in first.topk(4).values.tolist()], text


def test_all_three_kinds_of_attention_are_there_and_the_future_is_dark(tokenizer: Tokenizer) -> None:
    seen = decoding(translator(tokenizer), TEXT, beam=1)
    maps = {name: torch.tensor(each) for name, each in seen.attention.items()}
    source, written = len(seen.source), len(seen.steps)
    shapes = {"encoder": (2, 4, source, source), "decoder": (2, 4, written, written), "cross": (2, 4, written, source)}
    assert {name: tuple(each.shape) for name, each in maps.items()} == shapes
    assert maps["decoder"].triu(1).max() == 0
    for number, step in enumerate(seen.steps):
        assert step.looks_at == pytest.approx(maps["cross"][:, :, number].mean(dim=(0, 1)).tolist(), abs=1e-6)


def test_the_views_say_the_same_numbers(tokenizer: Tokenizer) -> None:
    seen = decoding(translator(tokenizer), TEXT, beam=1)
    steps = view(seen, "pt")
    assert len(steps.rows) == len(seen.steps) and "Figuras 154 a 159" in steps.note
    assert list(steps.figure.data[0].x) == [step.probability for step in seen.steps]
    one = view_attention(seen, "cross", layer=1, head=2)
    assert [list(row) for row in one.figure.data[0].z] == seen.attention["cross"][0][1]
    assert len(one.columns) == 1 + len(seen.source) and "Layer 1 of 2, head 2 of 4" in one.note
    mean = view_attention(seen, "encoder")
    expected = torch.tensor(seen.attention["encoder"][1]).mean(0)
    torch.testing.assert_close(torch.tensor(mean.figure.data[0].z), expected)
    assert [each.id for each in views(seen)] == [
        "translation",
        "attention-cross",
        "attention-decoder",
        "attention-encoder",
    ]


def test_models_with_less_attention_show_less(tokenizer: Tokenizer) -> None:
    attentive, plain = (decoding(translator(tokenizer, kind), TEXT, beam=1) for kind in ("attention", "rnn"))
    assert [each.id for each in views(attentive)] == ["translation", "attention-cross"]
    assert [each.id for each in views(plain, language="pt")] == ["translation"]
    assert all(row[-1] == "nothing" for row in view(plain).rows)
    with pytest.raises(UserError, match="kind rnn has no attention called 'cross'; it has: none at all"):
        view_attention(plain)
    with pytest.raises(UserError, match="layers 1 to 1 and heads 1 to 1"):
        view_attention(attentive, head=2)


def test_a_single_sentence_is_asked_for(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="A single sentence"):
        decoding(translator(tokenizer), "one\ntwo")
