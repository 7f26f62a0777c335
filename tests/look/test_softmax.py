"""What is shown is what is done: the walk picks the engine's token, and every step follows from the one before."""

import math

import pytest
import torch

from plutao.errors import UserError
from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.look.softmax import compare, softmax_steps, steps_of, stretches, view
from plutao.models.decoder import Decoder
from plutao.text.tokenizer import Tokenizer

TEXT = "Eu vou retirar dinheiro no"
WORDS = ["restaurante", "banco", "caixa", "supermercado"]
BOOK = torch.tensor([0.1, 0.3, 0.4, 0.2]).log()


def test_the_draw_of_the_book() -> None:
    """Section 2.8, Figures 55 and 56: caixa 0.4, banco 0.3; 0.4 + 0.3 = 0.7 > 0.65, so banco is drawn."""
    seen = steps_of(BOOK, WORDS.__getitem__, temperature=1.0, r=0.65)
    assert [step.text for step in seen.steps] == ["caixa", "banco", "supermercado", "restaurante"]
    assert [step.cumulative for step in seen.steps] == pytest.approx([0.4, 0.7, 0.9, 1.0])
    assert seen.chosen.text == "banco"
    assert (seen.chosen.before, seen.chosen.cumulative) == pytest.approx((0.4, 0.7))
    assert steps_of(BOOK, WORDS.__getitem__, 1.0, r=0.39).chosen.text == "caixa"


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.5])
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 9])
def test_the_engine_draws_the_same_token(model: Decoder, tokenizer: Tokenizer, seed: int, temperature: float) -> None:
    seen = softmax_steps(model, tokenizer, TEXT, temperature, seed)
    sampling = Sampling(temperature=temperature, seed=seed, max_tokens=1)
    [[completion]] = Engine(model, tokenizer, slots=1).complete([TEXT], sampling)
    assert [seen.chosen.id] == completion.tokens


@pytest.mark.parametrize("r", [0.0, 0.3, 0.93, 0.985, 0.999999])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_every_step_follows_from_the_one_before(
    model: Decoder, tokenizer: Tokenizer, temperature: float, r: float
) -> None:
    logits = model(torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(TEXT)]]))[0, -1].detach()
    seen = steps_of(logits, tokenizer.token_text, temperature, r, top=5)
    assert sum(step.tokens for step in seen.steps) == len(logits)
    assert math.fsum(step.probability for step in seen.steps) == pytest.approx(1, abs=1e-6)
    assert [step.chosen for step in seen.steps].count(True) == 1
    assert seen.chosen.before <= r < seen.chosen.cumulative
    sum_so_far = 0.0
    for step in seen.steps:
        assert step.before == pytest.approx(sum_so_far, abs=1e-9)
        sum_so_far += step.probability
        assert step.cumulative == pytest.approx(sum_so_far, abs=1e-9)
        if step.tokens == 1:
            assert step.logit is not None and step.scaled is not None and step.exponential is not None
            assert step.scaled == pytest.approx(step.logit / temperature, rel=1e-6)
            assert step.exponential / seen.denominator == pytest.approx(step.probability, rel=1e-4, abs=1e-12)


def test_groups_leave_out_no_token() -> None:
    assert stretches(4, 10, 2) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert stretches(9, 2, 1) == [(0, 1), (1, 2), (2, 9)]
    assert stretches(9, 2, 2) == [(0, 1), (1, 2), (2, 3), (3, 9)]
    assert stretches(9, 2, 8) == [(0, 1), (1, 2), (2, 8), (8, 9)]


def test_a_seed_repeats_the_draw_and_none_is_fresh(model: Decoder, tokenizer: Tokenizer) -> None:
    assert softmax_steps(model, tokenizer, TEXT, seed=5) == softmax_steps(model, tokenizer, TEXT, seed=5)
    fresh = softmax_steps(model, tokenizer, TEXT)
    assert softmax_steps(model, tokenizer, TEXT, seed=fresh.seed).r == fresh.r


def test_temperature_sharpens_and_flattens(model: Decoder, tokenizer: Tokenizer) -> None:
    """BOX 3, Figure 57."""
    cold, plain, hot = (softmax_steps(model, tokenizer, TEXT, t, seed=1) for t in (0.5, 1.0, 2.0))
    assert cold.steps[0].probability > plain.steps[0].probability > hot.steps[0].probability
    figure = compare([cold, plain, hot], "pt")
    assert [trace.name for trace in figure.data] == ["T = 0,50", "T = 1,00", "T = 2,00"]
    assert len({trace.marker.symbol for trace in figure.data}) == 3


def test_greedy_takes_the_most_probable_and_says_so(model: Decoder, tokenizer: Tokenizer) -> None:
    seen = softmax_steps(model, tokenizer, TEXT, temperature=0, seed=3)
    assert seen.chosen.rank == 1
    assert "greedy" in view(seen).note
    assert not view(seen).figure.layout.shapes


def test_the_picture_is_the_walk_and_the_picked_token_is_marked(model: Decoder, tokenizer: Tokenizer) -> None:
    seen = softmax_steps(model, tokenizer, TEXT, 2.0, seed=0, top=3)
    shown = view(seen)
    bar = shown.figure.data[0]
    assert [base + length for base, length in zip(bar.base, bar.x, strict=True)] == pytest.approx(
        [step.cumulative for step in seen.steps], abs=1e-6
    )
    [line] = shown.figure.layout.shapes
    assert line.x0 == seen.r
    assert shown.marked is not None and seen.steps[shown.marked].chosen
    assert shown.figure.layout.yaxis.ticktext[shown.marked].startswith("▶ ")


def test_an_impossible_temperature_is_refused(model: Decoder, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="temperature = -1"):
        softmax_steps(model, tokenizer, TEXT, temperature=-1)
