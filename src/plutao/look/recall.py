"""What a model still knows of long ago: a symbol is shown, noise follows, then the symbol is asked for (after Hochreiter &
Schmidhuber 1997; the book, sections 4.2 and 4.3).

The task needs nothing but memory. An RNN must carry the symbol through every step; an LSTM keeps it in a cell that gates
guard; a Transformer's decoder looks straight back at it, from any distance that its context holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from plutao.look.gradients import add_line
from plutao.look.view import View, canvas, numbers, percent
from plutao.look.words import phrases
from plutao.models.decoder import Decoder
from plutao.models.presets import decoder_config
from plutao.models.recurrent import RecurrentConfig, RecurrentModel

if TYPE_CHECKING:
    import plotly.graph_objects as go

SYMBOLS, NOISE = 8, 8
ASK = SYMBOLS + NOISE
"""The token that asks."""
VOCABULARY = ASK + 1
LONGEST = 60
"""Largest distance that is trained on."""
DISTANCES = (1, 2, 5, 10, 20, 30, 40, 50, 60)
KINDS = ("rnn", "gru", "lstm", "decoder")
STEPS, BATCH, TESTED = 600, 32, 128
LEARNING_RATE = {"rnn": 1e-3, "gru": 1e-2, "lstm": 1e-2, "decoder": 3e-3}
Model = RecurrentModel | Decoder


@dataclass(frozen=True)
class Recalled:
    """How often one model gave the symbol back, by distance."""

    kind: str
    parameters: int
    accuracies: list[float]


@dataclass(frozen=True)
class Recall:
    """All models' accuracies."""

    distances: list[int]
    steps: int
    models: list[Recalled]
    chance: float = 1 / SYMBOLS


def recall(steps: int = STEPS, longest: int = LONGEST, kinds: Sequence[str] = KINDS, seed: int = 0) -> Recall:
    """Trains a small model of each kind on all distances up to `longest`, and asks each at `DISTANCES`."""
    distances = [distance for distance in DISTANCES if distance <= longest]
    models = []
    for kind in kinds:
        model = make(kind, longest, seed)
        teach(model, kind, steps, longest, seed)
        generator = torch.Generator().manual_seed(seed + 1)
        accuracies = [accuracy(model, distance, generator) for distance in distances]
        models.append(Recalled(kind, sum(p.numel() for p in model.parameters()), accuracies))
    return Recall(distances, steps, models)


def make(kind: str, longest: int, seed: int) -> Model:
    """A fresh model of about 30,000 weights."""
    model: Model
    if kind == "decoder":
        shape = {"layers": 2, "width": 48, "heads": 2, "hidden": 96}
        model = Decoder(decoder_config("plutao-1m", vocabulary=VOCABULARY, context=longest + 2, **shape))
    else:
        hidden = {"rnn": 128, "gru": 72, "lstm": 64}[kind]
        model = RecurrentModel(RecurrentConfig(kind, VOCABULARY, 1, 32, hidden, tied=False))  # type: ignore[arg-type]
    model.initialise(seed)
    return model


def examples(rows: int, distance: int, generator: torch.Generator) -> tuple[Int[Tensor, "B T"], Int[Tensor, " B"]]:
    """Rows of symbol, `distance` − 1 tokens of noise, question; and the symbols."""
    symbols = torch.randint(SYMBOLS, (rows, 1), generator=generator)
    noise = torch.randint(SYMBOLS, SYMBOLS + NOISE, (rows, distance - 1), generator=generator)
    return torch.cat((symbols, noise, torch.full((rows, 1), ASK)), dim=1), symbols[:, 0]


def teach(model: Model, kind: str, steps: int, longest: int, seed: int) -> None:
    """Each step is of one distance, drawn evenly; only the answer is learned. Gradients are clipped at 1."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE[kind])
    model.train()
    for step in range(steps):
        distance = 1 + int(torch.randint(longest, (), generator=generator))
        tokens, symbols = examples(BATCH, distance, generator)
        loss = F.cross_entropy(model.logits(model.hidden(tokens)[:, -1]), symbols)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE[kind] * min(1.0, (step + 1) / 20, 2 * (1 - step / steps))
        optimizer.step()
    model.eval()


@torch.inference_mode()
def accuracy(model: Model, distance: int, generator: torch.Generator) -> float:
    """Share of `TESTED` fresh rows whose most probable answer is the symbol."""
    tokens, symbols = examples(TESTED, distance, generator)
    answers = model.logits(model.hidden(tokens)[:, -1])[:, :VOCABULARY].argmax(-1)
    return float((answers == symbols).double().mean())


def view(seen: Recall, language: str = "en") -> View:
    """The table of accuracies by distance."""
    say, form = phrases(language), numbers(language)
    rows = [
        [str(distance), *(percent(form, each.accuracies[place]) for each in seen.models)]
        for place, distance in enumerate(seen.distances)
    ]
    return View(
        id="recall",
        title=say["recall"],
        note=say["recall_note"].format(
            symbols=SYMBOLS,
            steps=form.number(seen.steps),
            tested=TESTED,
            chance=percent(form, seen.chance),
            parameters=", ".join(f"{say[f'curve_{each.kind}']} {form.number(each.parameters)}" for each in seen.models),
        ),
        columns=[say["distance"], *(say[f"curve_{each.kind}"] for each in seen.models)],
        rows=rows,
        draw=lambda: picture(seen, language),
    )


def picture(seen: Recall, language: str) -> "go.Figure":
    """Accuracy over distance, a line a model."""
    say = phrases(language)
    figure = canvas(say["distance"], say["given_back"], language, height=320)
    for number, each in enumerate(seen.models):
        add_line(figure, say[f"curve_{each.kind}"], each.accuracies, number, x=seen.distances)
    figure.add_hline(y=seen.chance, line={"dash": "dash", "width": 1}, annotation_text=say["chance"])
    figure.update_yaxes(range=[-0.02, 1.04], tickformat=".0%")
    figure.update_layout(showlegend=True)
    return figure
