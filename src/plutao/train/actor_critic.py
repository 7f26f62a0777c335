"""What reinforcement learning trains: the policy that writes, the critic that foretells its scores, and their losses.

PPO (Schulman et al. 2017, as InstructGPT uses it: Ouyang et al. 2022, appendix C.4) has a critic, a model of its own;
GRPO (Shao et al. 2024) compares answers to the same prompt and needs none.

Letters as in policy.py: B answers, T positions, A actions, D the width of the hidden states.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from plutao.data.pack import Batch
from plutao.models.decoder import Decoder
from plutao.models.reward import RewardModel
from plutao.train.objectives import Objective, next_token
from plutao.train.policy import clipped_surrogate, clipped_value_loss, k3, per_answer, token_log_probabilities

Algorithm = Literal["ppo", "grpo"]
VALUE_WEIGHT = 0.1
"""What the critic's loss counts beside the policy's (Ziegler et al. 2019); they share no weights, only the clipping of
gradients."""


class ActorCritic(nn.Module):
    """The models that are trained together, as one model to the loop."""

    def __init__(self, policy: Decoder, critic: RewardModel | None, vocabulary: int, critic_rate: float = 1.0) -> None:
        """Args:
        critic: a reward model to start from: the number it reads at a token becomes what is expected after it.
        vocabulary: tokens that can be drawn; a table of embeddings padded beyond them has rows that never are.
        critic_rate: the critic's learning rate, as a multiple of the policy's.
        """
        super().__init__()
        self.policy, self.critic, self.vocabulary, self.critic_rate = policy, critic, vocabulary, critic_rate

    def expected(self, tokens: Int[Tensor, "B T"], places: Int[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        """What the critic expects before each action: read at the position whose logits the action is drawn from."""
        assert self.critic is not None, "GRPO has no critic"
        values: Tensor = self.critic.everywhere(tokens[:, :-1]).float()  # nothing is drawn after the last token
        return values.gather(1, (places - 1).clamp(min=0))

    def parts(self) -> list[tuple[nn.Module, float]]:
        """The optimizer's: each model with its learning rate as a multiple of the peak."""
        return [(self.policy, 1.0), *([(self.critic, self.critic_rate)] if self.critic is not None else [])]

    @property
    def blocks(self) -> list[nn.Module]:
        """All layers, for the compiler."""
        return [*self.policy.blocks, *(self.critic.blocks if self.critic is not None else [])]


def before(hidden: Float[Tensor, "B T D"], places: Int[Tensor, "B A"]) -> Float[Tensor, "B A D"]:
    """The hidden states that the tokens at `places` were drawn from."""
    index = (places - 1).clamp(min=0).unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
    return hidden.gather(1, index)


def action_log_probabilities(
    policy: Decoder,
    tokens: Int[Tensor, "B T"],
    places: Int[Tensor, "B A"],
    mask: Bool[Tensor, "B A"],
    vocabulary: int,
    temperature: float = 1.0,
) -> Float[Tensor, "B A"]:
    """Log-probabilities of the actions, 0 where there is none; the output layer computes only where there is one."""
    hidden = before(policy.hidden(tokens[:, :-1]), places)[mask]
    actions = tokens.gather(1, places)[mask]
    chosen = token_log_probabilities(hidden, policy.head.weight[:vocabulary], actions, temperature)
    return torch.zeros(mask.shape, dtype=chosen.dtype, device=chosen.device).masked_scatter(mask, chosen)


@dataclass(frozen=True)
class Beside:
    """Rows that are learned from beside the rewards, as text is in PPO-ptx (Ouyang et al. 2022, equation 2)."""

    name: str
    """Of its loss among the metrics: `<name>_loss`."""
    batch: Batch
    coefficient: float
    """Weight of its loss of the next token."""
    share: float = 1.0
    """What a mean over this piece's rows must be multiplied by, so that the pieces of a batch of rollouts, weighted by
    their answers, add up to the mean over all its rows."""


@dataclass(frozen=True)
class Rollouts:
    """Answers as the objectives learn from them: a batch to the loop."""

    tokens: Int[Tensor, "B T"]
    """Prompt and answer, padded on the right: what stands behind a text can't change it."""
    places: Int[Tensor, "B A"]
    """Where each action stands in `tokens`; what a tool gave back is no action."""
    mask: Bool[Tensor, "B A"]
    reference: Float[Tensor, "B A"]
    """Log-probabilities of the actions under the model that training started from."""
    advantages: Float[Tensor, "B A"]
    old: Float[Tensor, "B A"] | None = None
    """Log-probabilities before the first update from these answers; None where there is one update only: then they are
    the policy's own, and the ratio is 1."""
    values: Float[Tensor, "B A"] | None = None
    """What the critic expected before the first update."""
    returns: Float[Tensor, "B A"] | None = None
    beside: tuple[Beside, ...] = ()
    """What is mixed in."""
    kl_coefficient: float = 0.0
    """Of the penalty in GRPO's loss; PPO's is in the rewards already."""
    by_answer: bool = False
    """Whether every answer counts alike (GRPO), or every action (PPO)."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What is known of the answers, for metrics.jsonl."""

    @property
    def weight(self) -> int:
        return self.rows if self.by_answer else int(self.mask.sum())

    @property
    def rows(self) -> int:
        return len(self.tokens)

    def pick(self, rows: Tensor) -> "Rollouts":
        """Some of the answers, without the columns that only they would have padded."""
        mask = self.mask[rows]
        actions = int(mask.sum(1).max())
        length = int(self.places[rows].max()) + 1
        columns: dict[str, Any] = {
            name: None if (tensor := getattr(self, name)) is None else tensor[rows][:, :actions]
            for name in ("places", "mask", "reference", "advantages", "old", "values", "returns")
        }
        return replace(self, tokens=self.tokens[rows][:, :length], **columns)

    def split(self, rows: int) -> list["Rollouts"]:
        """Pieces of at most `rows` answers, each with its part of what is mixed in."""
        if rows >= self.rows:
            return [self]
        pieces = [self.pick(part) for part in torch.split(torch.arange(self.rows, device=self.tokens.device), rows)]
        parts: list[list[Beside]] = [[] for _ in pieces]
        for whole in self.beside:
            cut = whole.batch.split(max(1, -(-whole.batch.rows // len(pieces))))
            for piece, own, part in zip(pieces, parts, cut, strict=False):
                share = (part.weight / whole.batch.weight) / (piece.weight / self.weight)
                own.append(replace(whole, batch=part, share=share))
        return [replace(piece, beside=tuple(own)) for piece, own in zip(pieces, parts, strict=True)]

    def to(self, device: torch.device) -> "Rollouts":
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        beside = tuple(replace(each, batch=each.batch.to(device)) for each in self.beside)
        return replace(self, beside=beside, **moved)


def ppo(clip: float, value_clip: float | None, temperature: float = 1.0) -> Objective:
    """PPO's objective, per action: the clipped surrogate, the critic's loss, and the losses of what is mixed in."""

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        policy_loss, metrics = surrogate(model, batch, clip, temperature)
        values = model.expected(batch.tokens, batch.places)
        value_losses = clipped_value_loss(values, batch.values, batch.returns, value_clip)
        value_loss = mean_over(value_losses, batch.mask)
        metrics |= {"policy_loss": float(policy_loss.detach()), "value_loss": float(value_loss.detach())}
        return with_beside(model, batch, policy_loss + VALUE_WEIGHT * value_loss, metrics)

    return objective


def grpo(clip: float, temperature: float = 1.0) -> Objective:
    """GRPO's objective: the clipped surrogate plus β times the KL divergence as k3, averaged over each answer and then
    over the answers (Shao et al. 2024, equation 3).
    """

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        loss, metrics = surrogate(model, batch, clip, temperature)
        metrics["policy_loss"] = float(loss.detach())
        return with_beside(model, batch, loss, metrics)

    return objective


def surrogate(model: ActorCritic, batch: Rollouts, clip: float, temperature: float) -> tuple[Tensor, dict[str, float]]:
    """The policy's loss, and the share of actions whose gradient was clipped away."""
    policy = action_log_probabilities(
        model.policy, batch.tokens, batch.places, batch.mask, model.vocabulary, temperature
    )
    old = policy.detach() if batch.old is None else batch.old
    losses, clipped = clipped_surrogate(policy, old, batch.advantages, clip)
    if batch.by_answer:
        losses = losses + batch.kl_coefficient * k3(policy, batch.reference)
        loss = per_answer(losses, batch.mask).mean()
    else:
        loss = mean_over(losses, batch.mask)
    return loss, {"clip_fraction": float(mean_over(clipped.float(), batch.mask))}


def mean_over(values: Float[Tensor, "B A"], mask: Bool[Tensor, "B A"]) -> Float[Tensor, ""]:
    return torch.where(mask, values, 0.0).sum() / mask.sum()


def with_beside(
    model: ActorCritic, batch: Rollouts, loss: Tensor, metrics: dict[str, float]
) -> tuple[Tensor, dict[str, float]]:
    """The loss with those of what is mixed in."""
    objective = next_token()
    for each in batch.beside:
        own = objective(model.policy, each.batch)[0] * each.share
        loss = loss + each.coefficient * own
        metrics = metrics | {f"{each.name}_loss": float(own.detach())}
    return loss, metrics
