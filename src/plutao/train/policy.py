"""The terms of reinforcement learning from rewards of whole answers, as functions of tensors.

Letters: B answers, A actions (the tokens that the policy wrote itself) of the longest of them, V tokens of the vocabulary,
D the width of the hidden states. `mask` is True where an answer has an action; what stands elsewhere never counts.

A policy writes an answer token by token; the answer as a whole gets a score. What is maximised is the score less a
coefficient β times the KL divergence from the model that training started from (Ziegler et al. 2019; Stiennon et al. 2020;
Ouyang et al. 2022, InstructGPT, equation 2; the book, section 3.1).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

SPREAD_EPSILON = 1e-4
"""Added to a group's standard deviation: answers of equal score get advantage 0, not 0/0."""
KL_GAIN = 0.1
"""K_β of Ziegler et al. 2019, section 2.2: how fast the coefficient follows the error."""
KL_ERROR_LIMIT = 0.2
"""The error's bounds there: the coefficient changes by at most 2% at each update."""


def token_log_probabilities(
    hidden: Float[Tensor, "N D"], table: Float[Tensor, "V D"], tokens: Int[Tensor, " N"], temperature: float = 1.0
) -> Float[Tensor, " N"]:
    """The log-probability of each token, in nats: of softmax(hidden · tableᵀ ÷ temperature), taken in fp32.

    Of tokens drawn from that distribution, the mean of its negative is the distribution's entropy.
    """
    log_probabilities = (F.linear(hidden, table).float() / temperature).log_softmax(-1)
    return log_probabilities.gather(1, tokens.unsqueeze(1)).squeeze(1)


# ---------------------------------------------------------------------------------------------------------------------
# How far the policy is from where it started


def k1(policy: Float[Tensor, "*rest"], reference: Float[Tensor, "*rest"]) -> Float[Tensor, "*rest"]:
    """log(policy ÷ reference) of tokens that the policy drew: its mean is the KL divergence; single values may be
    negative (Schulman 2020, "Approximating KL divergence").
    """
    return policy - reference


def k3(policy: Float[Tensor, "*rest"], reference: Float[Tensor, "*rest"]) -> Float[Tensor, "*rest"]:
    """ρ − 1 − log ρ with ρ = reference ÷ policy: the same mean as k1 with less variance, never negative (Schulman 2020;
    the penalty in GRPO's loss, Shao et al. 2024, equation 4).
    """
    log_ratio = reference - policy
    return log_ratio.exp() - 1 - log_ratio


@dataclass
class AdaptiveKL:
    """Moves the coefficient so that the KL divergence comes to `target` (Ziegler et al. 2019, section 2.2):
    error = clip((KL − target) ÷ target, −0.2, 0.2); β ← β · (1 + 0.1 · error). Without a target β stays.
    """

    coefficient: float
    target: float | None = None
    """Nats per answer."""

    def update(self, kl: float) -> None:
        """After rollouts whose mean divergence was `kl` nats per answer."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -KL_ERROR_LIMIT), KL_ERROR_LIMIT)
            self.coefficient *= 1 + KL_GAIN * error


# ---------------------------------------------------------------------------------------------------------------------
# From scores to advantages


def token_rewards(
    scores: Float[Tensor, " B"], kl: Float[Tensor, "B A"], mask: Bool[Tensor, "B A"], coefficient: float
) -> Float[Tensor, "B A"]:
    """−β · kl at every action, and the answer's score at its last one (Ziegler et al. 2019; Stiennon et al. 2020,
    section 3.4). Every answer has at least one action, and actions come before padding.
    """
    rewards = torch.where(mask, -coefficient * kl, 0.0)
    last = mask.sum(1, keepdim=True) - 1
    return rewards.scatter_add(1, last, scores.unsqueeze(1).to(rewards.dtype))


def generalised_advantages(
    rewards: Float[Tensor, "B A"],
    values: Float[Tensor, "B A"],
    mask: Bool[Tensor, "B A"],
    gamma: float,
    lam: float,
) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A"]]:
    """(advantages, returns) after Schulman et al. 2016 (GAE), equation 16.

    With δ_t = r_t + γ·V_{t+1} − V_t and V = 0 behind the last action, A_t = Σ_{s ≥ t} (γλ)^{s−t} δ_s; the returns that
    the critic learns are A_t + V_t. The sum is one product with a triangular matrix instead of a walk from the end.
    """
    values = torch.where(mask, values, 0.0)
    following = F.pad(values[:, 1:], (0, 1))
    deltas = torch.where(mask, rewards + gamma * following - values, 0.0)
    steps = torch.arange(mask.shape[1], device=mask.device)
    distance = steps.unsqueeze(1) - steps  # [s, t] = s − t
    weights = torch.where(distance >= 0, (gamma * lam) ** distance.clamp(min=0).to(deltas.dtype), 0.0)
    advantages = torch.where(mask, deltas @ weights, 0.0)
    return advantages, advantages + values


def whiten(values: Float[Tensor, "B A"], mask: Bool[Tensor, "B A"]) -> Float[Tensor, "B A"]:
    """Mean 0 and standard deviation 1 over all actions (as the published code of Ziegler et al. 2019 does;
    Andrychowicz et al. 2021 found little effect either way).
    """
    kept = values[mask]
    deviation = kept.std(correction=0).clamp(min=1e-8)
    return torch.where(mask, (values - kept.mean()) / deviation, 0.0)


@dataclass
class RunningScale:
    """Mean and deviation of all rewards so far, to bring rewards of any size to mean 0 and deviation 1, and a bound
    for what is left (Zheng et al. 2023, "Secrets of RLHF in Large Language Models", reward normalisation and clipping).
    """

    normalise: bool
    clip: float | None
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances from the mean (Welford 1962)."""

    def __call__(self, scores: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The scores as they are learned from; they join the statistics first."""
        if self.normalise:
            self.add(scores)
            scores = (scores - self.mean) / max(math.sqrt(self.squares / self.count), 1e-8)
        return scores if self.clip is None else scores.clamp(-self.clip, self.clip)

    def add(self, scores: Float[Tensor, " N"]) -> None:
        count, mean = len(scores), float(scores.mean())
        squares = float(((scores - mean) ** 2).sum())
        total, apart = self.count + count, mean - self.mean
        self.squares += squares + apart**2 * self.count * count / total
        self.mean += apart * count / total
        self.count = total


def group_advantages(scores: Float[Tensor, "P G"]) -> Float[Tensor, "P G"]:
    """How much better each of a prompt's G answers is than they are on average, in standard deviations of the group
    (GRPO with outcome supervision: Shao et al. 2024, section 4.1.2).
    """
    deviation = scores.std(dim=1, keepdim=True, correction=0)
    return (scores - scores.mean(dim=1, keepdim=True)) / (deviation + SPREAD_EPSILON)


# ---------------------------------------------------------------------------------------------------------------------
# Losses


def clipped_surrogate(
    policy: Float[Tensor, "B A"], old: Float[Tensor, "B A"], advantages: Float[Tensor, "B A"], clip: float
) -> tuple[Float[Tensor, "B A"], Bool[Tensor, "B A"]]:
    """(PPO's loss of each action, whether clipping took its gradient away): −min(ρ·A, clip(ρ, 1 − ε, 1 + ε)·A) with
    ρ = policy ÷ old (Schulman et al. 2017, equation 7). `policy` and `old` are log-probabilities of the actions.
    """
    ratio = (policy - old).exp()
    bounded = ratio.clamp(1 - clip, 1 + clip)
    plain, clipped = ratio * advantages, bounded * advantages
    return -torch.minimum(plain, clipped), (clipped < plain).detach()


def clipped_value_loss(
    values: Float[Tensor, "B A"], old: Float[Tensor, "B A"], returns: Float[Tensor, "B A"], clip: float | None
) -> Float[Tensor, "B A"]:
    """½ · max((V − R)², (V_clipped − R)²), V_clipped within ± `clip` of the value before the update (the published code
    of Schulman et al. 2017 and Ziegler et al. 2019); without `clip` half the squared error.
    """
    error = (values - returns) ** 2
    if clip is not None:
        bounded = old + (values - old).clamp(-clip, clip)
        error = torch.maximum(error, (bounded - returns) ** 2)
    return 0.5 * error


def per_answer(losses: Float[Tensor, "B A"], mask: Bool[Tensor, "B A"]) -> Float[Tensor, " B"]:
    """The mean over each answer's own actions: GRPO lets every answer count alike (Shao et al. 2024, equation 3)."""
    return torch.where(mask, losses, 0.0).sum(1) / mask.sum(1).clamp(min=1)


# ---------------------------------------------------------------------------------------------------------------------
# The alternative without training: draw n answers, keep the one with the highest score


def best_of(scores: Float[Tensor, "P N"], n: int) -> float:
    """The expected score of the best of n answers to a prompt, from N ≥ n drawn ones: the mean over all subsets of n,
    which the sorted scores give at once (the estimator of Nakano et al. 2021, WebGPT).
    """
    count = scores.shape[1]
    assert 1 <= n <= count, f"the best of {n} from {count} answers"
    ways = [math.comb(rank, n - 1) / math.comb(count, n) for rank in range(count)]
    ascending = scores.double().sort(dim=1).values
    return float((ascending @ torch.tensor(ways, dtype=torch.float64, device=scores.device)).mean())


def best_of_kl(n: int) -> float:
    """How far choosing the best of n moves from the model that wrote them, in nats per answer: log n − (n − 1)/n
    (Stiennon et al. 2020, appendix G.3).
    """
    return math.log(n) - (n - 1) / n


def distinct_pairs(answers: Sequence[Sequence[int]]) -> float:
    """The share of an answer's pairs of neighbouring tokens that are distinct (distinct-2 of Li et al. 2016, within each
    answer), averaged over the answers that have a pair; 1 where none has: repetition brings it down.
    """
    shares = [len(set(itertools.pairwise(row))) / (len(row) - 1) for row in answers if len(row) > 1]
    return sum(shares) / len(shares) if shares else 1.0
