"""One step of training, traced: predicted, expected, loss, gradients, changed weights (the book, section 2.7, Figures 51 to
53; section 4.1, Figures 100 to 102).

The real model and the real cross-entropy, for one prediction: the token after a text. The optimizer is plain gradient
descent, w ← w − η · ∂L/∂w, because there every change can be checked by hand; training itself uses Muon and AdamW. The model
that is given stays as it is: a copy is trained.
"""

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from plutao.errors import UserError
from plutao.look.reading import check_length
from plutao.look.tokens import visible
from plutao.look.view import View, canvas, heat_marker, label, numbers, percent
from plutao.look.words import phrases
from plutao.models.decoder import Decoder
from plutao.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_PARTS = 26
"""Rows of the table of weights: all parts of a model of two layers."""
SHARE = 0.1
"""Without a learning rate, the step is this share of Polyak's (1987, section 5.3.2): η = share · L / ‖∂L/∂w‖², which to
first order takes this share off the loss, whatever the model."""


@dataclass(frozen=True)
class Guess:
    """A token: what the model predicted and what was expected of it."""

    id: int
    text: str
    logit: float
    probability: float
    """Predicted: p."""
    expected: float
    """y: 1 for the token that came, else 0."""
    error: float
    """p − y."""
    gradient: float
    """∂L/∂logit, from autograd: equal to p − y."""
    probability_after: float
    """After the step."""


@dataclass(frozen=True)
class Weight:
    """One weight of a part of the model: the one with the steepest gradient there."""

    part: str
    place: tuple[int, ...]
    before: float
    gradient: float
    after: float
    """before − learning rate · gradient."""
    part_gradient: float
    """Length of the gradient of all weights of this part: how much of the error reached it."""


@dataclass(frozen=True)
class Input:
    """One input of a neuron."""

    number: int
    value: float
    """x."""
    weight: float
    """w; positive excites, negative inhibits (Figure 102)."""
    product: float
    gradient: float
    """Of the loss by this weight, through this neuron: (p − y) · x."""


@dataclass(frozen=True)
class Neuron:
    """The output neuron of the expected token: w₁·x₁ + … + wₙ·xₙ, without bias or activation, is its logit (formula 4.1)."""

    inputs: list[Input]
    """Those with the largest products."""
    others: int
    others_sum: float
    output: float


@dataclass(frozen=True)
class TrainingStep:
    """One step, from prediction to changed weights."""

    text: str
    expected_id: int
    expected: str
    guesses: list[Guess]
    """The most probable tokens, and the expected one."""
    others: int
    others_probability: float
    loss: float
    """Cross-entropy: −ln of the probability of the expected token, in nats."""
    loss_after: float
    promised_loss: float
    """loss − learning rate · ‖gradient‖²: what the slope promised; the difference is the curvature."""
    learning_rate: float
    gradient_norm: float
    parameters: int
    weights: list[Weight]
    neuron: Neuron


def training_step(
    model: Decoder,
    tokenizer: Tokenizer,
    text: str,
    expected: str | None = None,
    learning_rate: float | None = None,
    top: int = 8,
) -> TrainingStep:
    """Teaches a copy of the model, by one step of gradient descent, what comes after a text.

    Args:
        expected: what should come (its first token is taught); None: the last token of the text, after the others.
        learning_rate: η; None: the one that should take a tenth off the loss.

    Raises:
        UserError: there is nothing to expect, or the text is longer than the model's context.
    """
    context, target = lesson(tokenizer, text, expected)
    check_length(context, model.config.context)
    student = copy.deepcopy(model).float().eval()  # eval: no dropout, so that the loss after compares
    for parameter in student.parameters():
        parameter.requires_grad_(True)
    rows = torch.tensor([context], device=student.embedding.weight.device)
    hidden = student.hidden(rows)[0, -1]
    logits = student.logits(hidden)
    logits.retain_grad()
    loss = F.cross_entropy(logits, torch.tensor(target, device=logits.device))
    loss.backward()  # type: ignore[no-untyped-call]
    steepness = sum(float(gradient_of(weight).square().sum()) for weight in student.parameters())
    rate = SHARE * loss.item() / max(steepness, 1e-30) if learning_rate is None else learning_rate
    neuron = neuron_of(student, hidden.detach(), logits.detach(), target, top)
    weights = descend(student, rate)
    with torch.no_grad():
        logits_after = student(rows)[0, -1]
        loss_after = F.cross_entropy(logits_after, torch.tensor(target, device=logits.device)).item()
    guesses = guesses_of(tokenizer, logits, logits_after, target, top)
    return TrainingStep(
        text=tokenizer.decode(context[1:]),
        expected_id=target,
        expected=visible(tokenizer.token_text(target)),
        guesses=guesses,
        others=len(logits) - len(guesses),
        others_probability=max(0.0, 1 - math.fsum(guess.probability for guess in guesses)),
        loss=loss.item(),
        loss_after=loss_after,
        promised_loss=loss.item() - rate * steepness,
        learning_rate=rate,
        gradient_norm=math.sqrt(steepness),
        parameters=sum(weight.numel() for weight in student.parameters()),
        weights=weights,
        neuron=neuron,
    )


def lesson(tokenizer: Tokenizer, text: str, expected: str | None) -> tuple[list[int], int]:
    """(what is read, `<|endoftext|>` in front; the token that should follow)."""
    tokens = tokenizer.encode(text)
    following = tokens[-1:] if expected is None else tokenizer.encode(expected)[:1]
    if not following:
        raise UserError("A training step needs something to expect: give a text of at least one token.")
    return [tokenizer.end_of_text, *(tokens[:-1] if expected is None else tokens)], following[0]


def gradient_of(weight: Tensor) -> Tensor:
    """Zeros where the loss does not depend on a weight."""
    return weight.grad if weight.grad is not None else torch.zeros_like(weight)


def guesses_of(tokenizer: Tokenizer, logits: Tensor, logits_after: Tensor, target: int, top: int) -> list[Guess]:
    """The most probable tokens and the expected one, the most probable first."""
    assert logits.grad is not None
    gradient, logits = logits.grad, logits.detach()
    predicted, after = logits.double().softmax(-1), logits_after.double().softmax(-1)
    listed = predicted.topk(min(top, len(predicted))).indices.tolist()
    listed += [target] * (target not in listed)
    return [
        Guess(
            id=token,
            text=visible(tokenizer.token_text(token)),
            logit=float(logits[token]),
            probability=float(predicted[token]),
            expected=float(token == target),
            error=float(predicted[token]) - float(token == target),
            gradient=float(gradient[token]),
            probability_after=float(after[token]),
        )
        for token in listed
    ]


def neuron_of(student: Decoder, hidden: Tensor, logits: Tensor, target: int, top: int) -> Neuron:
    """The output neuron of the expected token, laid open."""
    weights = student.head.weight.detach()[target]
    products = weights * hidden
    error = float(logits.softmax(-1)[target]) - 1
    largest = products.abs().topk(min(top, len(products))).indices.tolist()
    inputs = [
        Input(
            number,
            float(hidden[number]),
            float(weights[number]),
            float(products[number]),
            error * float(hidden[number]),
        )
        for number in largest
    ]
    rest = float(products.sum()) - math.fsum(each.product for each in inputs)
    return Neuron(inputs, len(products) - len(inputs), rest, float(logits[target]))


@torch.no_grad()
def descend(student: Decoder, rate: float) -> list[Weight]:
    """w ← w − η · ∂L/∂w for every weight; tells, part by part, what became of the steepest one."""
    told = []
    for name, weight in student.named_parameters():
        gradient = gradient_of(weight)
        place = tuple(int(index) for index in torch.unravel_index(gradient.abs().argmax(), weight.shape))
        before = float(weight[place])
        weight.sub_(rate * gradient)
        norm = float(gradient.norm())
        told.append(
            Weight(name.removesuffix(".weight"), place, before, float(gradient[place]), float(weight[place]), norm)
        )
    return told


def view(seen: TrainingStep, language: str = "en") -> View:
    """Predicted against expected, the error of each token and the probability after the step."""
    say, form = phrases(language), numbers(language)
    rows = [
        [
            guess.text,
            form.number(guess.logit, 3),
            percent(form, guess.probability),
            form.number(guess.expected),
            form.number(guess.error, 4),
            form.number(guess.gradient, 4),
            percent(form, guess.probability_after),
        ]
        for guess in seen.guesses
    ]
    return View(
        id="step",
        title=say["step"].format(text=seen.text[-60:], expected=seen.expected),
        note=say["step_note"].format(
            loss=form.number(seen.loss, 4),
            probability=percent(form, math.exp(-seen.loss)),
            after=form.number(seen.loss_after, 4),
            promised=form.number(seen.promised_loss, 4),
            rate=form.significant(seen.learning_rate),
        ),
        columns=[say["token"], say["logit"], say["predicted"], say["expected"], "p − y", "∂L/∂logit", say["after"]],
        rows=rows,
        draw=lambda: picture(seen, language),
        heat=[guess.probability for guess in seen.guesses],
        heated=2,
        marked=[guess.id for guess in seen.guesses].index(seen.expected_id),
    )


def view_weights(seen: TrainingStep, language: str = "en") -> View:
    """For each part of the model, from input to output: its steepest weight before and after, and its whole gradient."""
    say, form = phrases(language), numbers(language)
    parts = steepest(seen.weights)
    return View(
        id="weights",
        title=say["weights"],
        note=say["weights_note"].format(
            parameters=form.number(seen.parameters), norm=form.significant(seen.gradient_norm, 4)
        ),
        columns=[say["part"], say["weight"], say["before"], say["gradient"], say["after"], say["part_gradient"]],
        rows=[
            [
                weight.part,
                str(list(weight.place)),
                form.number(weight.before, 5),
                signed(form.significant(abs(weight.gradient)), weight.gradient),
                form.number(weight.after, 5),
                form.significant(weight.part_gradient),
            ]
            for weight in parts
        ],
        draw=lambda: picture_of_weights(parts, language),
    )


def steepest(weights: list[Weight]) -> list[Weight]:
    """The parts that the most of the error reached, in the model's order; the data have all."""
    least = sorted((weight.part_gradient for weight in weights), reverse=True)[:MOST_PARTS][-1]
    return [weight for weight in weights if weight.part_gradient >= least][:MOST_PARTS]


def signed(figure: str, value: float) -> str:
    return f"-{figure}" if value < 0 else figure


def view_neuron(seen: TrainingStep, language: str = "en") -> View:
    """The sum that makes the expected token's logit."""
    say, form = phrases(language), numbers(language)
    neuron = seen.neuron
    rows = [
        [
            f"x{each.number}",
            form.number(each.value, 3),
            form.number(each.weight, 3),
            form.number(each.product, 3),
            form.number(each.gradient, 3),
        ]
        for each in neuron.inputs
    ]
    if neuron.others:
        rows.append([say["other_inputs"].format(count=neuron.others), "", "", form.number(neuron.others_sum, 3), ""])
    return View(
        id="neuron",
        title=say["neuron"].format(token=seen.expected),
        note=say["neuron_note"].format(output=form.number(neuron.output, 3)),
        columns=[say["input"], "x", "w", "w · x", "∂L/∂w"],
        rows=rows,
        draw=lambda: picture_of_neuron(neuron, language),
    )


def picture(seen: TrainingStep, language: str) -> "go.Figure":
    """Bars: predicted, coloured by probability; diamonds: after the step; the expected token has a border and ▶."""
    import plotly.graph_objects as go

    from plutao.evaluate.report.figures import PLUTO, SUN

    say = phrases(language)
    places = list(range(len(seen.guesses)))
    right = [guess.expected == 1 for guess in seen.guesses]
    figure = canvas(say["probability"], "", language, height=120 + 26 * len(places))
    predicted = [guess.probability for guess in seen.guesses]
    figure.add_trace(
        go.Bar(orientation="h", x=predicted, y=places, name=say["predicted"], marker=heat_marker(predicted, right))
    )
    marks = {"symbol": "diamond", "size": 10, "color": SUN, "line": {"color": PLUTO, "width": 1}}
    after = [guess.probability_after for guess in seen.guesses]
    figure.add_trace(go.Scatter(x=after, y=places, name=say["after"], mode="markers", marker=marks))
    ticks = [f"▶ {label(guess.text)}" if guess.expected else label(guess.text) for guess in seen.guesses]
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", tickvals=places, ticktext=ticks)
    figure.update_layout(showlegend=True)
    return figure


def picture_of_weights(parts: list[Weight], language: str) -> "go.Figure":
    """How long the gradient is in each part, input at the top: the error on its way back through the layers."""
    import plotly.graph_objects as go

    from plutao.evaluate.report.figures import PLUTO

    figure = canvas(phrases(language)["part_gradient"], "", language, height=90 + 20 * len(parts))
    lengths, names = [part.part_gradient for part in parts], [label(part.part) for part in parts]
    figure.add_trace(go.Bar(orientation="h", x=lengths, y=names, marker={"color": PLUTO}))
    figure.update_yaxes(autorange="reversed", tickfont={"size": 11})
    return figure


def picture_of_neuron(neuron: Neuron, language: str) -> "go.Figure":
    """The products that are summed: to the right they excite, to the left (hatched) they inhibit."""
    import plotly.graph_objects as go

    from plutao.evaluate.report.figures import PLUTO, SUN

    say = phrases(language)
    products = [each.product for each in neuron.inputs] + [neuron.others_sum] * bool(neuron.others)
    names = [f"x{each.number}" for each in neuron.inputs]
    names += [say["other_inputs"].format(count=neuron.others)] * bool(neuron.others)
    figure = canvas("w · x", "", language, height=90 + 26 * len(products))
    marker = {
        "color": [SUN if product >= 0 else PLUTO for product in products],
        "pattern": {"shape": ["" if product >= 0 else "/" for product in products]},
    }
    figure.add_trace(go.Bar(orientation="h", x=products, y=names, marker=marker))
    figure.update_yaxes(autorange="reversed", type="category")
    return figure
