"""One traced step is a real one: its gradient is p − y, autograd's and the difference quotient's, and the loss falls."""

import copy
import math

import pytest
import torch

from plutao.data.pack import Batch
from plutao.errors import UserError
from plutao.look.one_step import SHARE, TrainingStep, training_step, view, view_neuron, view_weights
from plutao.models.decoder import Decoder
from plutao.models.presets import decoder_config
from plutao.text.tokenizer import Tokenizer
from plutao.train.objectives import IGNORED, next_token

TEXT, EXPECTED = "Mais vale um pássaro na mão do que dois", " cantando"


@pytest.fixture(scope="module")
def step(model: Decoder, tokenizer: Tokenizer) -> TrainingStep:
    return training_step(model, tokenizer, TEXT, EXPECTED, top=10**6)


def lesson(tokenizer: Tokenizer) -> Batch:
    """The same lesson as a batch: only the last prediction is learned."""
    tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(TEXT)]])
    targets = torch.full_like(tokens, IGNORED)
    targets[0, -1] = tokenizer.encode(EXPECTED)[0]
    return Batch(tokens, targets)


def test_the_loss_is_that_of_training(model: Decoder, tokenizer: Tokenizer, step: TrainingStep) -> None:
    loss, _ = next_token()(model, lesson(tokenizer))
    assert step.loss == pytest.approx(loss.item(), rel=1e-5)
    expected = next(guess for guess in step.guesses if guess.expected)
    assert (expected.text, expected.id) == ("·cantando", step.expected_id)
    assert step.loss == pytest.approx(-math.log(expected.probability), rel=1e-5)


def test_the_gradient_of_each_logit_is_predicted_less_expected(step: TrainingStep) -> None:
    assert math.fsum(guess.probability for guess in step.guesses) == pytest.approx(1, abs=1e-9)
    assert math.fsum(guess.expected for guess in step.guesses) == 1
    for guess in step.guesses:
        assert guess.error == pytest.approx(guess.probability - guess.expected)
        assert guess.gradient == pytest.approx(guess.error, abs=1e-6)


def test_the_gradients_of_the_weights_are_those_of_training(
    model: Decoder, tokenizer: Tokenizer, step: TrainingStep
) -> None:
    student = copy.deepcopy(model)
    loss, _ = next_token()(student, lesson(tokenizer))
    loss.backward()
    parts = {name.removesuffix(".weight"): weight.grad for name, weight in student.named_parameters()}
    assert [weight.part for weight in step.weights] == list(parts)
    for weight in step.weights:
        gradient = parts[weight.part]
        assert gradient is not None
        assert weight.gradient == pytest.approx(gradient[weight.place].item(), rel=1e-3, abs=1e-6)
        assert weight.part_gradient == pytest.approx(gradient.norm().item(), rel=1e-3)
        assert weight.after == pytest.approx(weight.before - step.learning_rate * weight.gradient, abs=1e-6)
    assert step.gradient_norm == pytest.approx(math.hypot(*(weight.part_gradient for weight in step.weights)), rel=1e-5)


def test_the_gradients_are_the_slopes_of_the_loss(tokenizer: Tokenizer, model: Decoder, step: TrainingStep) -> None:
    """Central differences in double precision, which autograd knows nothing of."""
    student, batch, nudge = copy.deepcopy(model).double(), lesson(tokenizer), 1e-5
    weights = dict(student.named_parameters())

    def loss_with(name: str, place: tuple[int, ...], change: float) -> float:
        with torch.no_grad():
            weights[name][place] += change
            loss = torch.nn.functional.cross_entropy(student(batch.tokens)[0, -1], batch.targets[0, -1]).item()
            weights[name][place] -= change
        return loss

    for weight in step.weights[::4]:
        name = f"{weight.part}.weight"
        slope = (loss_with(name, weight.place, nudge) - loss_with(name, weight.place, -nudge)) / (2 * nudge)
        assert weight.gradient == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_the_loss_falls_as_the_slope_promised(step: TrainingStep) -> None:
    assert step.loss_after < step.loss
    assert step.promised_loss == pytest.approx((1 - SHARE) * step.loss)
    assert step.loss - step.loss_after == pytest.approx(step.loss - step.promised_loss, rel=0.5)
    expected = next(guess for guess in step.guesses if guess.expected)
    assert expected.probability_after > expected.probability
    assert step.loss_after == pytest.approx(-math.log(expected.probability_after), rel=1e-5)


def test_a_smaller_step_keeps_the_promise_better(model: Decoder, tokenizer: Tokenizer, step: TrainingStep) -> None:
    small = training_step(model, tokenizer, TEXT, EXPECTED, learning_rate=step.learning_rate / 100)
    assert small.loss_after == pytest.approx(small.promised_loss, abs=0.02 * (small.loss - small.promised_loss))


def test_the_models_own_weights_stay_as_they_are(model: Decoder, tokenizer: Tokenizer) -> None:
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    training_step(model, tokenizer, TEXT, EXPECTED)
    assert all(torch.equal(before[name], weight) for name, weight in model.named_parameters())
    assert all(weight.grad is None for weight in model.parameters()) or model.embedding.weight.grad is not None


def test_without_an_expectation_the_last_token_is_taught(model: Decoder, tokenizer: Tokenizer) -> None:
    both = training_step(model, tokenizer, TEXT + EXPECTED), training_step(model, tokenizer, TEXT, EXPECTED)
    assert both[0] == both[1]
    with pytest.raises(UserError, match="something to expect"):
        training_step(model, tokenizer, "")


def test_the_neuron_sums_to_the_logit(step: TrainingStep, model: Decoder, tokenizer: Tokenizer) -> None:
    """Formula 4.1 with neither bias nor activation: the output layer."""
    expected = next(guess for guess in step.guesses if guess.expected)
    few = training_step(model, tokenizer, TEXT, EXPECTED, top=5).neuron
    assert len(few.inputs) == 5 and few.others == model.config.width - 5
    assert few.output == pytest.approx(expected.logit, abs=1e-5)
    assert math.fsum(each.product for each in few.inputs) + few.others_sum == pytest.approx(expected.logit, abs=1e-4)
    for each in few.inputs:
        assert each.product == pytest.approx(each.weight * each.value, rel=1e-5)
        assert each.gradient == pytest.approx(expected.error * each.value, rel=1e-4)


def test_fresh_weights_and_gpt2s_shape_can_be_traced(tokenizer: Tokenizer) -> None:
    """Fresh weights of ours write nothing to the residual stream yet: what lies behind gets no gradient."""
    for preset in ("plutao-1m", "gpt2"):
        shape = {"layers": 1, "width": 32, "heads": 1, "hidden": 64}
        fresh = Decoder(decoder_config(preset, vocabulary=tokenizer.vocabulary_size, context=32, **shape))
        fresh.initialise(0)
        seen = training_step(fresh, tokenizer, "O Sol")
        assert seen.loss == pytest.approx(math.log(tokenizer.vocabulary_size), rel=0.05)
        assert seen.loss_after < seen.loss
        query = next(weight for weight in seen.weights if weight.part.endswith("query"))
        assert (query.part_gradient == 0) == (preset == "plutao-1m")


@pytest.mark.parametrize("language", ["en", "pt"])
def test_pictures_and_tables_say_the_same(model: Decoder, tokenizer: Tokenizer, language: str) -> None:
    seen = training_step(model, tokenizer, TEXT, EXPECTED, top=4)
    shown, weights, neuron = (make(seen, language) for make in (view, view_weights, view_neuron))
    assert list(shown.figure.data[0].x) == [guess.probability for guess in seen.guesses]
    assert list(shown.figure.data[1].x) == [guess.probability_after for guess in seen.guesses]
    assert shown.marked is not None and shown.rows[shown.marked][0] == "·cantando"
    assert [row[0] for row in weights.rows] == list(weights.figure.data[0].y)
    assert list(neuron.figure.data[0].x)[:4] == [each.product for each in seen.neuron.inputs]
