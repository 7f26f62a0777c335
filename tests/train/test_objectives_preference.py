"""The losses of preferences against computations on paper: sums over pairs, one at a time, with plain Python's logarithm."""

import math
from itertools import combinations
from typing import Any

import pytest
import torch
from toys import tiny_model

from plutao.data.ranking_batches import RankedAnswers, RankingBatch
from plutao.models.reward import RewardModel
from plutao.train.objectives_preference import answer_logprobs, direct_preference, pairwise_loss, ranking

REWARD = 10


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def element(generator: torch.Generator, ranks: list[int]) -> RankedAnswers:
    """Answers of chance with these ranks; the opening is three tokens long."""
    opening = tuple(torch.randint(16, 60, (3,), generator=generator).tolist())
    rows = []
    for _ in ranks:
        length = int(torch.randint(1, 6, (1,), generator=generator))
        rows.append((*opening, *torch.randint(16, 60, (length,), generator=generator).tolist(), 5, REWARD))
    ordered = [(i, j) if ranks[i] < ranks[j] else (j, i) for i, j in combinations(range(len(ranks)), 2)]
    pairs = tuple(pair for pair in ordered if ranks[pair[0]] != ranks[pair[1]])
    weights = (1 / math.comb(len(ranks), 2),) * len(pairs)
    learned = tuple((False,) * 3 + (True,) * (len(row) - 4) + (False,) for row in rows)
    return RankedAnswers(
        tuple(rows),
        learned,
        pairs,
        weights,
        tuple(range(len(ranks))),
        tuple(-float(n + len(rows[0])) for n in range(len(ranks))),
    )


@pytest.fixture
def batch() -> RankingBatch:
    generator = torch.Generator().manual_seed(3)
    return RankingBatch([element(generator, ranks) for ranks in ([1, 2], [2, 1, 3, 1], [3, 1, 2])], 32)


def test_the_reward_models_loss_is_equation_1_of_instructgpt(batch: RankingBatch) -> None:
    model = RewardModel(tiny_model(), REWARD).eval()
    torch.nn.init.normal_(model.score.weight, std=3.0)
    expected = 0.0
    for one in batch.elements:
        rewards = [float(model(torch.tensor([row])).detach()) for row in one.rows]
        total = sum(log_sigmoid(rewards[better] - rewards[worse]) for better, worse in one.pairs)
        expected -= total / math.comb(len(one.rows), 2) / len(batch.elements)
    loss, _ = ranking()(model, batch)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-5)


def test_a_model_that_tells_nothing_is_surprised_by_one_bit_a_pair(batch: RankingBatch) -> None:
    pairs = RankingBatch(batch.elements[:1], 32)
    loss, _ = ranking()(RewardModel(tiny_model(), REWARD), pairs)
    assert float(loss.detach()) == pytest.approx(math.log(2))


def test_dpos_loss_is_equation_7_of_rafailov(batch: RankingBatch) -> None:
    model, beta, smoothing = tiny_model().eval(), 0.3, 0.1
    expected = 0.0
    for one in batch.elements:
        implicit = []
        for row, reference in zip(one.rows, one.reference, strict=True):
            logprobs = model(torch.tensor([row])).detach()[0].log_softmax(-1)
            said = sum(float(logprobs[place - 1, row[place]]) for place in range(3, len(row) - 1))
            implicit.append(beta * (said - reference))
        for better, worse in one.pairs:
            margin = implicit[better] - implicit[worse]
            surprise = -(1 - smoothing) * log_sigmoid(margin) - smoothing * log_sigmoid(-margin)
            expected += surprise / math.comb(len(one.rows), 2) / len(batch.elements)
    loss, _ = direct_preference(beta, smoothing)(model, batch)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-5)


def test_a_model_that_is_its_own_reference_prefers_nothing(batch: RankingBatch) -> None:
    model = tiny_model().eval()
    with torch.no_grad():
        own = batch.by_element(answer_logprobs(model, batch).tolist())
    same = [
        RankedAnswers(one.rows, one.learned, one.pairs, one.weights, one.kept, tuple(values))
        for one, values in zip(batch.elements, own, strict=True)
    ]
    loss, _ = direct_preference(0.1)(model, RankingBatch(same[:1], 32))
    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize("kind", ["reward", "dpo"])
def test_pieces_of_a_batch_add_up_to_its_gradient(batch: RankingBatch, kind: str) -> None:
    def gradient(rows: int) -> torch.Tensor:
        model: Any = tiny_model() if kind == "dpo" else RewardModel(tiny_model(), REWARD)
        objective = direct_preference(0.1) if kind == "dpo" else ranking()
        for piece in batch.split(rows):
            loss, _ = objective(model, piece)
            (loss * (piece.weight / batch.weight)).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    torch.testing.assert_close(gradient(1), gradient(3), atol=1e-6, rtol=1e-4)


def test_label_smoothing_bounds_how_sure_a_model_wants_to_be() -> None:
    margins = torch.linspace(-6, 6, 241)
    losses = torch.stack([pairwise_loss(margin.unsqueeze(0), torch.ones(1), 0.1) for margin in margins])
    best = float(margins[losses.argmin()])
    assert best == pytest.approx(math.log(0.9 / 0.1), abs=0.05)  # σ(best) = 0.9


def test_learning_pairs_orders_the_answers(batch: RankingBatch) -> None:
    model = RewardModel(tiny_model(), REWARD)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss, _ = ranking()(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rewards = model(batch.tokens, batch.segments)
    assert bool((rewards[batch.better] > rewards[batch.worse]).all())
    assert float(loss.detach()) < 0.1
