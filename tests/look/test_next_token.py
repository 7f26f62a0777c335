"""The table is the model's own distribution; surprise is what the loss is made of."""

import math

import pytest
import torch
import torch.nn.functional as F

from plutao.errors import UserError
from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.look.next_token import next_in_answer, next_tokens, positions, view, view_positions
from plutao.models.decoder import Decoder
from plutao.models.presets import decoder_config
from plutao.text.tokenizer import Tokenizer

TEXT = "Eu vou retirar dinheiro no"


def test_the_model_of_the_classroom_knows_the_proverb(model: Decoder, tokenizer: Tokenizer) -> None:
    """As in Figure 47: one bird in the hand is worth two flying."""
    best = next_tokens(model, tokenizer, "Mais vale um pássaro na mão do que dois").candidates[0]
    assert best.text == "·voando"
    assert best.probability > 0.7


def test_probabilities_sum_to_one(model: Decoder, tokenizer: Tokenizer) -> None:
    seen = next_tokens(model, tokenizer, TEXT, top=7)
    assert sum(each.probability for each in seen.candidates) + seen.others_probability == pytest.approx(1, abs=1e-12)
    assert len(seen.candidates) + seen.others == tokenizer.vocabulary_size
    everything = next_tokens(model, tokenizer, TEXT, top=10**6)
    assert everything.others == 0 and everything.others_probability == 0
    assert sum(each.probability for each in everything.candidates) == pytest.approx(1, abs=1e-12)
    bits = -sum(each.probability * math.log2(each.probability) for each in everything.candidates)
    assert everything.entropy == pytest.approx(bits)


def test_the_table_is_what_the_engine_draws_from(model: Decoder, tokenizer: Tokenizer) -> None:
    [[completion]] = Engine(model, tokenizer, slots=1).complete(
        [TEXT], Sampling(temperature=0, max_tokens=1, logprobs=5)
    )
    seen = next_tokens(model, tokenizer, TEXT, top=5)
    assert [each.id for each in seen.candidates] == [token for token, _ in completion.alternatives[0] or ()]
    logs = [log for _, log in completion.alternatives[0] or ()]
    assert [each.log_probability for each in seen.candidates] == pytest.approx(logs, abs=1e-4)
    assert [each.rank for each in seen.candidates] == [1, 2, 3, 4, 5]


def test_tokens_beyond_the_tokenizer_are_never_candidates(tokenizer: Tokenizer) -> None:
    shape = {"layers": 1, "width": 32, "heads": 1, "hidden": 64}
    padded = Decoder(decoder_config("plutao-1m", vocabulary=tokenizer.vocabulary_size + 12, context=32, **shape))
    padded.initialise(0)
    seen = next_tokens(padded, tokenizer, "O Sol", top=10**6)
    assert len(seen.candidates) == tokenizer.vocabulary_size
    assert sum(each.probability for each in seen.candidates) == pytest.approx(1)


def test_surprise_is_the_loss_in_bits(model: Decoder, tokenizer: Tokenizer) -> None:
    seen = positions(model, tokenizer, TEXT)
    tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(TEXT)]])
    loss = F.cross_entropy(model(tokens[:, :-1])[0], tokens[0, 1:]).item()
    assert seen.mean_surprise * math.log(2) == pytest.approx(loss, rel=1e-5)


def test_each_position_says_what_was_expected_and_what_came(model: Decoder, tokenizer: Tokenizer) -> None:
    text = "The Sun is a star. Pluto is a banco"
    seen = positions(model, tokenizer, text).positions
    assert [each.id for each in seen] == tokenizer.encode(text)
    for each in seen:
        assert each.surprise == pytest.approx(-math.log2(each.probability))
        assert (each.rank == 1) == (each.predicted_id == each.id)
        assert each.predicted_probability >= each.probability
    assert seen[-1].rank > 1
    assert seen[-1].surprise > 3 * seen[3].surprise


def test_the_model_comes_back_as_it_was(model: Decoder, tokenizer: Tokenizer) -> None:
    model.train()
    next_tokens(model, tokenizer, TEXT)
    assert model.training
    model.eval()


def test_a_text_that_is_too_long_is_refused_with_the_remedy(model: Decoder, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"holds 63: shorten the text by 17\."):
        next_tokens(model, tokenizer, "a," * 40)


@pytest.mark.parametrize("language", ["en", "pt"])
def test_the_picture_and_the_table_say_the_same(model: Decoder, tokenizer: Tokenizer, language: str) -> None:
    seen = next_tokens(model, tokenizer, TEXT, top=4)
    shown = view(seen, language)
    bar = shown.figure.data[0]
    assert list(bar.text) == [row[2] for row in shown.rows]
    assert list(bar.x) == pytest.approx([*(each.probability for each in seen.candidates), seen.others_probability])
    words = view_positions(positions(model, tokenizer, TEXT), language)
    assert len(words.rows) == len(words.figure.data[0].x) == len(tokenizer.encode(TEXT))


def test_numbers_are_written_as_the_language_does(model: Decoder, tokenizer: Tokenizer) -> None:
    seen = next_tokens(model, tokenizer, TEXT, top=1)
    share = 100 * seen.candidates[0].probability
    assert view(seen, "en").rows[0][2] == f"{share:.1f}%"
    assert view(seen, "pt").rows[0][2] == f"{share:.1f}%".replace(".", ",")


def test_a_language_that_is_not_spoken_is_refused(model: Decoder, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="en and pt, not 'fr'"):
        view(next_tokens(model, tokenizer, TEXT), "fr")


def test_why_a_token_of_an_answer_came(model: Decoder, tokenizer: Tokenizer) -> None:
    """The table of a place in an answer is the model's own there; the token that came is marked, however improbable."""
    tokens = [tokenizer.end_of_text, *tokenizer.encode("Pluto is a dwarf planet")]
    place = len(tokens) - 2
    seen = next_in_answer(model, tokenizer, tokens, place, since=1, top=3)
    with torch.no_grad():
        logs = model(torch.tensor([tokens[:place]]))[0, -1, : tokenizer.vocabulary_size].double().log_softmax(-1)
    assert seen.text == tokenizer.decode(tokens[1:place])
    assert [candidate.id for candidate in seen.candidates] == logs.topk(3).indices.tolist()
    assert seen.came is not None and seen.came.id == tokens[place]
    assert seen.came.log_probability == pytest.approx(float(logs[tokens[place]]), abs=1e-4)
    shown = view(seen)
    assert shown.marked is not None and shown.rows[shown.marked][1] == str(tokens[place])
    total = sum(float(row[2].rstrip("%")) for row in shown.rows)
    assert total == pytest.approx(100, abs=0.6), "the one that came is not counted twice"
