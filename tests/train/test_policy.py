"""Every term of PPO and GRPO, against a computation by hand: loops over single numbers."""

import itertools
import math

import numpy as np
import pytest
import torch

from plutao.train.policy import (
    AdaptiveKL,
    RunningScale,
    best_of,
    best_of_kl,
    clipped_surrogate,
    clipped_value_loss,
    distinct_pairs,
    generalised_advantages,
    group_advantages,
    k1,
    k3,
    per_answer,
    token_log_probabilities,
    token_rewards,
    whiten,
)

LENGTHS = [5, 1, 3]


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.fixture
def mask() -> torch.Tensor:
    return torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(1)


def test_log_probabilities(draw: torch.Generator) -> None:
    hidden, table = torch.randn(4, 6, generator=draw), torch.randn(9, 6, generator=draw)
    tokens = torch.tensor([0, 8, 3, 3])
    chosen = token_log_probabilities(hidden, table, tokens, temperature=0.7)
    for row in range(4):
        logits = [sum(float(h) * float(t) for h, t in zip(hidden[row], table[v], strict=True)) / 0.7 for v in range(9)]
        shares = [math.exp(value) / sum(math.exp(other) for other in logits) for value in logits]
        assert float(chosen[row]) == pytest.approx(math.log(shares[tokens[row]]), abs=1e-5)


def test_both_estimators_have_the_divergence_as_their_mean() -> None:
    """Schulman 2020: over draws from the policy; k3 is never negative and varies less."""
    policy, reference = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.4, 0.4, 0.2])
    exact = float((policy * (policy / reference).log()).sum())
    first, third = k1(policy.log(), reference.log()), k3(policy.log(), reference.log())
    for estimate in (first, third):
        assert float((policy * estimate).sum()) == pytest.approx(exact, abs=1e-6)
    assert float(third.min()) >= 0 > float(first.min())
    variance = [float((policy * (estimate - exact) ** 2).sum()) for estimate in (first, third)]
    assert variance[1] < variance[0]


def test_the_coefficient_follows_its_target() -> None:
    control = AdaptiveKL(0.2, target=6.0)
    control.update(60.0)  # the error is cut to 0.2
    assert control.coefficient == pytest.approx(0.2 * 1.02)
    control.update(5.4)
    assert control.coefficient == pytest.approx(0.2 * 1.02 * (1 - 0.1 * 0.1))
    fixed = AdaptiveKL(0.2)
    fixed.update(60.0)
    assert fixed.coefficient == 0.2


def test_the_penalty_is_paid_at_every_action_and_the_score_at_the_last(
    draw: torch.Generator, mask: torch.Tensor
) -> None:
    kl, scores = torch.randn(3, 5, generator=draw), torch.tensor([1.0, -2.0, 0.5])
    rewards = token_rewards(scores, kl, mask, 0.1)
    for row, length in enumerate(LENGTHS):
        for step in range(5):
            expected = -0.1 * float(kl[row, step]) if step < length else 0.0
            expected += float(scores[row]) if step == length - 1 else 0.0
            assert float(rewards[row, step]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.9, 0.0)])
def test_advantages_walk_back_from_the_end(draw: torch.Generator, mask: torch.Tensor, gamma: float, lam: float) -> None:
    """The recursion A_t = δ_t + γλ·A_{t+1} of Schulman et al. 2016, one number after the other."""
    rewards, values = torch.randn(3, 5, generator=draw), torch.randn(3, 5, generator=draw)
    advantages, returns = generalised_advantages(torch.where(mask, rewards, 0.0), values, mask, gamma, lam)
    for row, length in enumerate(LENGTHS):
        later = following = 0.0
        for step in reversed(range(length)):
            delta = float(rewards[row, step]) + gamma * following - float(values[row, step])
            later = delta + gamma * lam * later
            following = float(values[row, step])
            assert float(advantages[row, step]) == pytest.approx(later, abs=1e-5)
            assert float(returns[row, step]) == pytest.approx(later + following, abs=1e-5)
        assert advantages[row, length:].abs().sum() == 0


def test_whitened_values_have_mean_0_and_deviation_1(draw: torch.Generator, mask: torch.Tensor) -> None:
    values = torch.randn(3, 5, generator=draw) * 7 + 3
    white = whiten(values, mask)
    kept = values[mask].numpy()
    np.testing.assert_allclose(white[mask].numpy(), (kept - kept.mean()) / kept.std(), rtol=1e-5)
    assert white[~mask].abs().sum() == 0


def test_rewards_of_any_size_come_to_one_scale(draw: torch.Generator) -> None:
    scale = RunningScale(normalise=True, clip=1.5)
    rounds = [torch.randn(7, generator=draw) * 30 + 100 for _ in range(4)]
    for number, scores in enumerate(rounds, start=1):
        seen = torch.cat(rounds[:number]).double()
        expected = ((scores.double() - seen.mean()) / seen.std(correction=0)).clamp(-1.5, 1.5).float()
        torch.testing.assert_close(scale(scores), expected, atol=1e-4, rtol=1e-4)
    assert RunningScale(normalise=False, clip=None)(rounds[0]) is rounds[0]


def test_a_groups_advantages_are_its_standard_scores() -> None:
    scores = torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])
    advantages = group_advantages(scores)
    deviation = math.sqrt(((1 - 3) ** 2 + (2 - 3) ** 2 + (6 - 3) ** 2) / 3)
    expected = [(value - 3) / (deviation + 1e-4) for value in (1, 2, 6)]
    assert advantages[0].tolist() == pytest.approx(expected, rel=1e-5)
    assert advantages[1].tolist() == [0, 0, 0]  # nothing to learn where all are alike


def test_the_surrogate_is_clipped_where_it_would_promise_more(draw: torch.Generator) -> None:
    policy = torch.randn(4, 6, generator=draw) * 0.5
    old, advantages = torch.randn(4, 6, generator=draw) * 0.5, torch.randn(4, 6, generator=draw)
    losses, clipped = clipped_surrogate(policy, old, advantages, 0.2)
    for place in itertools.product(range(4), range(6)):
        ratio, advantage = math.exp(float(policy[place] - old[place])), float(advantages[place])
        bounded = min(max(ratio, 0.8), 1.2)
        assert float(losses[place]) == pytest.approx(-min(ratio * advantage, bounded * advantage), abs=1e-5)
        assert bool(clipped[place]) == ((advantage > 0 and ratio > 1.2) or (advantage < 0 and ratio < 0.8))
    assert 0 < clipped.float().mean() < 1


def test_the_critic_is_held_near_what_it_said(draw: torch.Generator) -> None:
    values, old, returns = (torch.randn(4, 6, generator=draw) for _ in range(3))
    losses = clipped_value_loss(values, old, returns, 0.2)
    for place in itertools.product(range(4), range(6)):
        value, before, target = (float(tensor[place]) for tensor in (values, old, returns))
        bounded = min(max(value, before - 0.2), before + 0.2)
        assert float(losses[place]) == pytest.approx(
            0.5 * max((value - target) ** 2, (bounded - target) ** 2), abs=1e-5
        )
    torch.testing.assert_close(clipped_value_loss(values, old, returns, None), 0.5 * (values - returns) ** 2)


def test_answers_count_alike_whatever_their_length(draw: torch.Generator, mask: torch.Tensor) -> None:
    losses = torch.randn(3, 5, generator=draw)
    means = [np.mean(losses[row, :length].numpy()) for row, length in enumerate(LENGTHS)]
    np.testing.assert_allclose(per_answer(losses, mask).numpy(), means, rtol=1e-5)


def test_the_best_of_n_is_the_mean_over_all_choices_of_n(draw: torch.Generator) -> None:
    scores = torch.randn(3, 6, generator=draw)
    for n in (1, 2, 4, 6):
        every = [
            np.mean([max(float(scores[row, i]) for i in some) for some in itertools.combinations(range(6), n)])
            for row in range(3)
        ]
        assert best_of(scores, n) == pytest.approx(np.mean(every), abs=1e-6)


def test_the_best_of_n_is_as_far_as_stiennon_and_others_say() -> None:
    assert best_of_kl(1) == 0
    assert best_of_kl(16) == pytest.approx(math.log(16) - 15 / 16)


def test_repetition_is_seen() -> None:
    assert distinct_pairs([[1, 2, 3, 4]]) == 1
    assert distinct_pairs([[7, 7, 7, 7, 7], [1, 2, 3]]) == pytest.approx((1 / 4 + 1) / 2)
    assert distinct_pairs([[1], []]) == 1
