"""The objective of translation is its formula; each kind of translator learns by it."""

import random

import pytest
import torch
from torch import Tensor

from plutao.data.pair_batches import Marks, PairBatch, PairBatches, rows_of
from plutao.generate.beam import greedy
from plutao.models.seq2seq import Kind, Seq2Seq, Seq2SeqConfig, make
from plutao.recipe import OptimizerSettings, ScheduleSettings
from plutao.train.objectives_translation import translation
from plutao.train.optimizer import Optimizers
from plutao.train.schedule import rate

KINDS: list[Kind] = ["rnn", "attention", "transformer"]
MARKS = Marks(start=4, end=5, pad=1)
VOCABULARY = 16


def model(kind: Kind, width: int = 64, seed: int = 1) -> Seq2Seq:
    layers = 2 if kind == "transformer" else 1
    config = Seq2SeqConfig(kind, VOCABULARY, layers, width, heads=4, hidden=2 * width, dropout=0.0)
    made = make(config)
    made.initialise(seed)
    return made


def words(count: int, seed: int, longest: int = 5) -> list[tuple[list[int], list[int]]]:
    """Words of ten letters with themselves backwards."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        word = [draw.randrange(6, VOCABULARY) for _ in range(draw.randrange(1, longest + 1))]
        found.append((word, word[::-1]))
    return found


def learn(made: Seq2Seq, batches: "PairBatches | PairBatch", steps: int, peak: float) -> float:
    optimizer = Optimizers(made, OptimizerSettings(kind="adamw", learning_rate=peak, weight_decay=0), "cpu")
    objective = translation()
    loss = torch.zeros(())
    for step in range(steps):
        batch = batches if isinstance(batches, PairBatch) else next(batches)
        loss, _ = objective(made, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step(rate(step, steps, ScheduleSettings(warmup=0.1)))
        optimizer.zero_grad()
    return float(loss.detach())


def smoothed(logits: Tensor, targets: list[int], smoothing: float) -> float:
    """−Σ q·log p with q = (1 − ε) at the target + ε ÷ V everywhere (Szegedy et al. 2016, section 7), token by token."""
    nats = []
    for place, target in enumerate(targets):
        logp = logits[place].double().log_softmax(-1)
        share = torch.full((VOCABULARY,), smoothing / VOCABULARY, dtype=torch.double)
        share[target] += 1 - smoothing
        nats.append(float(-(share * logp).sum()))
    return sum(nats) / len(nats)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_label_smoothing_is_its_formula_and_padding_counts_for_nothing(smoothing: float) -> None:
    made = model("transformer").eval().requires_grad_(False)
    pairs = [([6, 7, 8], [9, 10, 11, 12]), ([13], [14])]
    batch = rows_of(pairs, MARKS)
    loss, _ = translation(smoothing)(made, batch)
    alone = []
    for source, target in pairs:
        logits = made(torch.tensor([[*source, MARKS.end]]), torch.tensor([[MARKS.start, *target]]))[0]
        alone.append((smoothed(logits, [*target, MARKS.end], smoothing), len(target) + 1))
    expected = sum(value * count for value, count in alone) / sum(count for _, count in alone)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.compiler
def test_compiled_it_is_the_same() -> None:
    made = model("transformer")
    batch = rows_of(words(30, seed=1), MARKS)
    plain, _ = translation(0.1)(made, batch)
    compiled, _ = translation(0.1, compiled=True)(made, batch)
    torch.testing.assert_close(compiled, plain)


def test_the_rate_is_that_of_the_paper() -> None:
    """Vaswani et al. 2017, equation 3: lrate = d^−½ · min(step^−½, step · warmup^−1.5)."""
    settings = ScheduleSettings(kind="inverse_sqrt", warmup=0.04)
    steps, warmup = 100_000, 4_000
    peak = 512**-0.5 * warmup**-0.5
    for step in (1, 100, 3_999, 4_000, 4_001, 20_000, 100_000):
        paper = 512**-0.5 * min(step**-0.5, step * warmup**-1.5)
        assert peak * rate(step - 1, steps, settings) == pytest.approx(paper, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_one_batch_by_heart(kind: Kind) -> None:
    torch.manual_seed(1)
    made = model(kind)
    batch = rows_of(words(8, seed=1), MARKS)
    assert learn(made, batch, 100, 1e-2 if kind != "transformer" else 3e-3) < 0.05


@pytest.mark.parametrize(("kind", "steps"), [("rnn", 500), ("attention", 250), ("transformer", 200)])
def test_it_learns_to_write_words_backwards(kind: Kind, steps: int) -> None:
    torch.manual_seed(1)
    made = model(kind)
    learn(made, PairBatches(words(3000, seed=1), MARKS, 700, seed=1), steps, 1e-2 if kind != "transformer" else 3e-3)
    made.eval()
    unseen = [pair for pair in words(60, seed=2) if len(pair[0]) > 2]
    batch = rows_of(unseen, MARKS)
    found = greedy(made, batch.source, [10] * len(unseen))
    right = sum(list(each.tokens) == target for each, (_, target) in zip(found, unseen, strict=True))
    assert right / len(unseen) > 0.8
