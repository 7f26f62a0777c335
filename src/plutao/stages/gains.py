"""What reinforcement learning gained: the reward of held-out prompts and the divergence, before and after, beside what
choosing the best of n answers would have gained at the same divergence.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plutao.errors import UserError
from plutao.generate.chat import Chat, Reply
from plutao.generate.sampling import Sampling
from plutao.models.decoder import Decoder
from plutao.recipe import RlSettings
from plutao.stages.rewards import Prompt, Reward
from plutao.stages.rollouts import by_length, collate, in_pieces, penalised, write_answers
from plutao.train.actor_critic import Rollouts, action_log_probabilities
from plutao.train.policy import best_of, best_of_kl, distinct_pairs

BEST_OF = (1, 2, 4, 8, 16)
CONSTANT = 1e-6
"""A standard deviation of the reward below which there is nothing to learn."""


@dataclass(frozen=True)
class Measured:
    """A model's answers to the held-out prompts, in numbers."""

    reward: float
    by_prompt: list[float]
    """Each prompt's mean reward."""
    deviation: float
    """Standard deviation of the reward, answers of all prompts together, before the penalty for missing ends."""
    within: float
    """The same among the answers to one prompt, averaged."""
    kl: float
    """Nats per answer from the model that training started from."""
    entropy: float
    """Nats per token."""
    length: float
    """Tokens per answer."""
    ended: float
    distinct: float
    best_of_n: list[dict[str, float]]
    """For n answers of which the best is chosen: `n`, `reward`, `kl`; empty where fewer were drawn."""
    answers: list[str]
    """The first answer to each prompt."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    chat: Chat, reference: Decoder | None, prompts: Sequence[Prompt], reward: Reward, settings: RlSettings, n: int
) -> Measured:
    """`n` answers to each prompt, always with the same random numbers.

    Args:
        reference: what the divergence is measured from; None for that model itself.
    """
    sampling = Sampling(temperature=settings.temperature, max_tokens=settings.max_tokens, seed=0, n=n)
    replies = [reply for some in write_answers(chat, prompts, sampling) for reply in some]
    repeated = [prompt for prompt in prompts for _ in range(n)]
    given = reward(repeated, replies)
    scores = penalised(given, replies, settings.end_penalty).view(-1, n)
    written = [[token for token, own in zip(reply.tokens, reply.written, strict=True) if own] for reply in replies]
    drawn = [value for reply in replies for value, own in zip(reply.logprobs, reply.written, strict=True) if own]
    return Measured(
        reward=float(scores.mean()),
        by_prompt=scores.mean(1).tolist(),
        deviation=float(given.std(correction=0)),
        within=float(given.view(-1, n).std(dim=1, correction=0).mean()),
        kl=0.0 if reference is None else divergence(chat, reference, replies, settings),
        entropy=-sum(drawn) / len(drawn),
        length=sum(map(len, written)) / len(written),
        ended=sum(reply.finish_reason == "stop" for reply in replies) / len(replies),
        distinct=distinct_pairs(written),
        best_of_n=[{"n": k, "reward": best_of(scores, k), "kl": best_of_kl(k)} for k in BEST_OF if k <= n]
        if reference is None
        else [],
        answers=[replies[place].text for place in range(0, len(replies), n)],
    )


@torch.no_grad()
def divergence(chat: Chat, reference: Decoder, replies: Sequence[Reply], settings: RlSettings) -> float:
    """Mean over the answers of log(policy ÷ reference), in nats, at the temperature they were drawn with."""
    engine = chat.engine
    written = collate(replies, chat.tokenizer.pad, engine.device)
    nothing = torch.zeros_like(written.log_probabilities)
    whole = Rollouts(written.tokens, written.places, written.mask, reference=nothing, advantages=nothing)
    order = by_length(written.lengths, torch.arange(len(replies), device=engine.device))
    pieces = torch.split(order, settings.micro_batch or len(replies))

    def under(model: Decoder) -> Float[Tensor, "N A"]:
        return in_pieces(
            whole,
            pieces,
            lambda part: action_log_probabilities(
                model, part.tokens, part.places, part.mask, engine.vocabulary, settings.temperature
            ),
        )

    drawn = written.log_probabilities if settings.temperature == 1 else under(engine.model)
    return float((drawn - under(reference)).sum() / len(replies))


def check_can_learn(measured: Measured, settings: RlSettings) -> None:
    """Refuses to start where the reward or the answers leave nothing to learn from.

    Raises:
        UserError: the reward is the same for all answers, or most answers do not end.
    """
    if measured.ended < 0.5:
        raise UserError(
            f"Only {measured.ended:.0%} of the SFT model's answers come to an end within rl.max_tokens = "
            f"{settings.max_tokens}: raise it, or train stage sft longer, until it has learned to end its turns."
        )
    among = "to one prompt " if settings.algorithm == "grpo" else ""
    if (measured.within if among else measured.deviation) < CONSTANT:
        raise UserError(
            f"The reward is the same for all answers {among}that were tried: there is nothing to "
            "follow. Look at rl.reward, or at the accuracy of stage reward."
        )


def gain(before: Measured, after: Measured) -> dict[str, float]:
    """The mean difference of the prompts' rewards with its 95% interval (normal approximation over prompts)."""
    differences = [new - old for old, new in zip(before.by_prompt, after.by_prompt, strict=True)]
    mean = sum(differences) / len(differences)
    spread = math.sqrt(sum((value - mean) ** 2 for value in differences) / max(len(differences) - 1, 1))
    margin = 1.96 * spread / math.sqrt(len(differences))
    return {"value": mean, "low": mean - margin, "high": mean + margin, "n": len(differences)}


def best_of_at(curve: Sequence[dict[str, float]], kl: float) -> float | None:
    """The reward of choosing the best of n at the divergence `kl`, between the measured n; None beyond them."""
    for left, right in itertools.pairwise(curve):
        if left["kl"] <= kl <= right["kl"]:
            share = (kl - left["kl"]) / (right["kl"] - left["kl"])
            return left["reward"] + share * (right["reward"] - left["reward"])
    return None
