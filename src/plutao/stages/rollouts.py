"""Rollouts: the policy answers prompts, the answers are scored, and what is learned from them is made ready.

They are batches to the loop: a round of answers is one batch or several, and between two rounds a training can be saved and
taken up again; which prompts and random numbers a round draws depends only on its number and the seed.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from plutao.data.conversation_batches import ConversationBatches
from plutao.data.pack import PretrainBatches
from plutao.errors import UserError
from plutao.generate.chat import Chat, Reply
from plutao.generate.sampling import Sampling
from plutao.models.decoder import Decoder
from plutao.recipe import RlSettings
from plutao.stages.rewards import Prompt, Reward
from plutao.train import parallel
from plutao.train.actor_critic import ActorCritic, Beside, Rollouts, action_log_probabilities
from plutao.train.device import Device
from plutao.train.loop import Ended
from plutao.train.parallel import World
from plutao.train.policy import (
    AdaptiveKL,
    RunningScale,
    distinct_pairs,
    generalised_advantages,
    group_advantages,
    k1,
    k3,
    token_rewards,
    whiten,
)
from plutao.train.progress import Progress, Silence

ANSWERS_PER_ROW = 4
"""Of what is mixed in: a row for every so many answers."""
Judge = Callable[[Sequence[dict[str, float]]], str | None]
"""Looks at the figures of all rounds so far; says why training should end, or None."""


# ---------------------------------------------------------------------------------------------------------------------
# Answers as tensors


@dataclass(frozen=True)
class Written:
    """N answers as tensors; letters as in train/policy.py."""

    tokens: Int[Tensor, "N T"]
    places: Int[Tensor, "N A"]
    mask: Bool[Tensor, "N A"]
    log_probabilities: Float[Tensor, "N A"]
    """As the engine drew them, at temperature 1."""

    @property
    def lengths(self) -> Int[Tensor, " N"]:
        """Tokens of prompt and answer."""
        return self.places.amax(1) + 1


def collate(replies: Sequence[Reply], pad: int, device: torch.device) -> Written:
    """Prompts and answers side by side, padded on the right."""
    rows = [torch.tensor(reply.prompt + reply.tokens) for reply in replies]
    places = [torch.tensor(reply.written).nonzero().squeeze(1) + len(reply.prompt) for reply in replies]
    drawn = [torch.tensor(reply.logprobs)[torch.tensor(reply.written)] for reply in replies]
    mask = [torch.ones(len(row), dtype=torch.bool) for row in places]
    return Written(
        pad_sequence(rows, batch_first=True, padding_value=pad).to(device),
        pad_sequence(places, batch_first=True).to(device),
        pad_sequence(mask, batch_first=True).to(device),
        pad_sequence(drawn, batch_first=True).to(device),
    )


@torch.no_grad()
def in_pieces(
    whole: Rollouts, pieces: Sequence[Tensor], compute: Callable[[Rollouts], Float[Tensor, "b a"]]
) -> Float[Tensor, "N A"]:
    """`compute` of pieces of the answers, put together: pieces of similar length are hardly padded."""
    result = torch.zeros(whole.mask.shape, device=whole.mask.device)
    for rows in pieces:
        part = whole.pick(rows)
        result[rows, : part.mask.shape[1]] = compute(part).float()
    return torch.where(whole.mask, result, 0.0)


def by_length(lengths: Int[Tensor, " N"], rows: Tensor) -> Tensor:
    """The rows in the order of their lengths, so that those of a piece are alike."""
    return rows[lengths[rows].argsort(stable=True)]


def write_answers(chat: Chat, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Reply]]:
    """`sampling.n` replies to each prompt; one that is there twice is answered with other random numbers each time."""
    replies: list[list[Reply]] = [[] for _ in prompts]
    waiting = list(range(len(prompts)))
    seed = sampling.seed or 0
    while waiting:
        first = {prompts[place].messages: place for place in reversed(waiting)}
        now = sorted(first.values())
        answered = chat.answer([prompts[place].messages for place in now], replace(sampling, seed=seed))
        for place, some in zip(now, answered, strict=True):
            replies[place] = some
        waiting = [place for place in waiting if place not in set(now)]
        seed = random.Random(f"again/{seed}").getrandbits(48)
    return replies


def penalised(scores: Float[Tensor, " N"], replies: Sequence[Reply], penalty: float) -> Float[Tensor, " N"]:
    """Scores, less a penalty for answers that did not come to their end (as Ziegler et al. 2019 punish samples without
    the wanted end).
    """
    unended = torch.tensor([reply.finish_reason != "stop" for reply in replies], device=scores.device)
    return scores - penalty * unended


# ---------------------------------------------------------------------------------------------------------------------
# The batches


@dataclass
class Stream:
    """Rows to mix in: pretraining text (PPO-ptx), or the demonstrations that stage sft learned from."""

    name: str
    batches: PretrainBatches | ConversationBatches
    coefficient: float


class RolloutBatches(Iterator[Rollouts]):
    """Rounds of answers, each taken apart into `inner_epochs` × `minibatches` batches; endless unless `judge` objects."""

    def __init__(
        self,
        model: ActorCritic,
        reference: Decoder,
        chat: Chat,
        prompts: Sequence[Prompt],
        reward: Reward,
        settings: RlSettings,
        device: Device,
        seed: int,
        *,
        world: World | None = None,
        beside: Sequence[Stream] = (),
        judge: Judge | None = None,
        watched: tuple[Prompt, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Rollouts of `model.policy`.

        Args:
            chat: writes with `model.policy`; it is refreshed before each round.
            reference: the model that training started from; it stays as it is.
            settings: with `micro_batch` set; `batch` prompts a round, over all processes.
            beside: what is mixed in, each batch of it for one batch of answers.
            watched: a prompt and its answer before training, shown beside the answer of each round.

        Raises:
            UserError: the prompts of a round can't be shared evenly by the processes.
        """
        self.world = world or World()
        if settings.batch % self.world.size:
            raise UserError(
                f"{settings.batch} prompts a round can't be shared by {self.world.size} processes: make rl.batch a "
                f"multiple of {self.world.size}."
            )
        self.model, self.reference, self.chat = model, reference.eval(), chat
        self.prompts, self.reward, self.settings, self.device, self.seed = prompts, reward, settings, device, seed
        self.beside, self.judge = list(beside), judge
        self.watched, self.progress = watched, progress or Silence()
        self.control = AdaptiveKL(settings.kl, settings.kl_target)
        self.scale = RunningScale(settings.normalise_reward, settings.reward_clip)
        self.round = 0
        self.history: list[dict[str, float]] = []
        self.queue: list[Rollouts] = []

    @property
    def at_rest(self) -> bool:
        """Between rounds: what `state_dict` holds is all there is."""
        return not self.queue

    def state_dict(self) -> dict[str, Any]:
        beside = {stream.name: stream.batches.state_dict() for stream in self.beside}
        state = {"round": self.round, "coefficient": self.control.coefficient, "history": list(self.history)}
        scale = [self.scale.count, self.scale.mean, self.scale.squares]
        return state | {"beside": beside, "scale": scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.round, self.control.coefficient = state["round"], state["coefficient"]
        self.history, self.queue = list(state["history"]), []
        self.scale.count, self.scale.mean, self.scale.squares = state["scale"]
        for stream in self.beside:
            stream.batches.load_state_dict(state["beside"][stream.name])

    def __next__(self) -> Rollouts:
        if not self.queue:
            self.queue = self.next_round()
        return self.queue.pop(0)

    def next_round(self) -> list[Rollouts]:
        """Answers of the policy as it is now, ready to be learned from.

        Raises:
            Ended: the figures say that going on would do harm.
        """
        started = time.perf_counter()
        self.chat.engine.refresh()
        prompts, replies = self.answers()
        writing = time.perf_counter() - started
        with self.device.autocast():  # a reward model judges in the precision that it was trained in
            scores = self.reward(prompts, replies)
        scores = penalised(scores, replies, self.settings.end_penalty).to(self.device.place)
        written = collate(replies, self.chat.tokenizer.pad, self.device.place)
        batches = self.learnable(written, self.scale(scores), self.tell(replies, scores))
        self.round += 1
        self.control.update(self.history[-1]["kl"])
        if self.judge is not None and (reason := self.judge(self.history)) is not None:
            raise Ended(reason)
        figures = self.history[-1] | {"writing_seconds": round(writing, 3)}
        return [replace(batches[0], metrics=figures), *batches[1:]]

    def answers(self) -> tuple[list[Prompt], list[Reply]]:
        """(the prompt of each answer, the answers) of this process's share of the round, those to one prompt together."""
        places = self.places(self.round)[self.world.rank :: self.world.size]
        prompts = [self.prompts[place] for place in places]
        sampling = Sampling(
            temperature=self.settings.temperature,
            max_tokens=self.settings.max_tokens,
            seed=random.Random(f"{self.seed}/{self.round}").getrandbits(48),
            n=self.settings.answers,
        )
        if self.watched is None:
            replies = write_answers(self.chat, prompts, sampling)
        else:
            prompt, before = self.watched
            *replies, watched = write_answers(self.chat, [*prompts, prompt], sampling)
            self.progress.exchange(prompt.messages[-1].content, before, watched[0].text)
        repeated = [prompt for prompt in prompts for _ in range(self.settings.answers)]
        return repeated, [reply for some in replies for reply in some]

    def places(self, round_: int) -> list[int]:
        """Which prompts a round takes: all of them in a random order, then all in another."""
        count, batch = len(self.prompts), self.settings.batch
        draws = range(round_ * batch, (round_ + 1) * batch)
        orders = {
            pass_: random.Random(f"{self.seed}/{pass_}").sample(range(count), count)
            for pass_ in sorted({draw // count for draw in draws})
        }
        return [orders[draw // count][draw % count] for draw in draws]

    # -----------------------------------------------------------------------------------------------------------------
    # What is learned

    def learnable(self, written: Written, scores: Float[Tensor, " N"], figures: dict[str, float]) -> list[Rollouts]:
        """The round's batches; `figures` are completed with the divergence and join the history."""
        whole = Rollouts(
            written.tokens,
            written.places,
            written.mask,
            reference=torch.zeros_like(written.log_probabilities),
            advantages=torch.zeros_like(written.log_probabilities),
            by_answer=self.settings.algorithm == "grpo",
        )
        batches = self.divided(written, epoch=0)
        pieces = [piece for rows in batches for piece in torch.split(rows, self.settings.micro_batch or len(rows))]
        whole = replace(whole, reference=in_pieces(whole, pieces, self.by_reference))
        drawn = written.log_probabilities
        if self.settings.temperature != 1:
            drawn = in_pieces(whole, pieces, self.by_policy)
        kl = torch.where(written.mask, k1(drawn, whole.reference), 0.0)
        self.remember(figures, drawn, whole)
        whole = self.with_advantages(whole, scores, kl, pieces)
        if self.settings.inner_epochs * self.settings.minibatches > 1:
            whole = replace(whole, old=in_pieces(whole, pieces, self.as_trained))
        later = [rows for epoch in range(1, self.settings.inner_epochs) for rows in self.divided(written, epoch)]
        return [self.with_beside(whole.pick(rows)) for rows in [*batches, *later]]

    def with_advantages(
        self, whole: Rollouts, scores: Float[Tensor, " N"], kl: Float[Tensor, "N A"], pieces: Sequence[Tensor]
    ) -> Rollouts:
        """PPO: of penalised rewards and the critic's expectations. GRPO: of the answers to a prompt among themselves."""
        settings = self.settings
        if settings.algorithm == "grpo":
            advantages = group_advantages(scores.view(-1, settings.answers)).view(-1, 1).expand(whole.mask.shape)
            coefficient = self.control.coefficient
            advantages = torch.where(whole.mask, advantages, 0.0)
            return replace(whole, advantages=advantages, kl_coefficient=coefficient)
        values = in_pieces(whole, pieces, self.by_critic)
        rewards = token_rewards(scores, kl, whole.mask, self.control.coefficient)
        advantages, returns = generalised_advantages(rewards, values, whole.mask, settings.gamma, settings.gae)
        if settings.whiten:
            advantages = whiten(advantages, whole.mask)
        return replace(whole, advantages=advantages, values=values, returns=returns)

    def divided(self, written: Written, epoch: int) -> list[Tensor]:
        """The answers of each batch of an inner epoch, in a random order between them and sorted by length within."""
        generator = torch.Generator().manual_seed(random.Random(f"{self.seed}/{self.round}/{epoch}").getrandbits(62))
        order = torch.randperm(len(written.tokens), generator=generator).to(self.device.place)
        return [by_length(written.lengths, rows) for rows in torch.tensor_split(order, self.settings.minibatches)]

    def with_beside(self, batch: Rollouts) -> Rollouts:
        drawn = [Beside(each.name, next(each.batches), each.coefficient) for each in self.beside]
        return replace(batch, beside=tuple(drawn))

    def by_reference(self, part: Rollouts) -> Float[Tensor, "b a"]:
        return self.log_probabilities(self.reference, part)

    def by_policy(self, part: Rollouts) -> Float[Tensor, "b a"]:
        return self.log_probabilities(self.model.policy, part)

    def log_probabilities(self, model: Decoder, part: Rollouts) -> Float[Tensor, "b a"]:
        """In fp32, as the engine computes them: the divergence is a small difference of large numbers."""
        temperature = self.settings.temperature
        return action_log_probabilities(model, part.tokens, part.places, part.mask, self.model.vocabulary, temperature)

    def as_trained(self, part: Rollouts) -> Float[Tensor, "b a"]:
        """As the objective computes them, so that the first ratio is 1."""
        with self.device.autocast():
            return self.by_policy(part)

    def by_critic(self, part: Rollouts) -> Float[Tensor, "b a"]:
        with self.device.autocast():
            return self.model.expected(part.tokens, part.places)

    # -----------------------------------------------------------------------------------------------------------------
    # What is told

    def tell(self, replies: Sequence[Reply], scores: Float[Tensor, " N"]) -> dict[str, float]:
        """The round's figures that need no second look at the tokens."""
        answers = [
            [token for token, written in zip(reply.tokens, reply.written, strict=True) if written] for reply in replies
        ]
        return {
            "reward": float(scores.mean()),
            "reward_deviation": float(scores.std(correction=0)),
            "length": sum(map(len, answers)) / len(answers),
            "ended": sum(reply.finish_reason == "stop" for reply in replies) / len(replies),
            "distinct": distinct_pairs(answers),
        }

    def remember(self, figures: dict[str, float], drawn: Float[Tensor, "N A"], whole: Rollouts) -> None:
        """Completes the round's figures, and agrees on them with the other processes."""
        kl, kl_k3 = (
            float(torch.where(whole.mask, estimate(drawn, whole.reference), 0.0).sum() / len(drawn))
            for estimate in (k1, k3)
        )
        entropy = -float(drawn[whole.mask].mean())
        figures = figures | {"kl": kl, "kl_k3": kl_k3, "entropy": entropy}
        place = self.device.place
        shared = {
            name: parallel.total(value, self.world, place) / self.world.size for name, value in sorted(figures.items())
        }
        self.history.append({name: shared[name] for name in ORDER} | {"kl_coefficient": self.control.coefficient})


ORDER = ("reward", "kl", "entropy", "length", "ended", "distinct", "kl_k3", "reward_deviation")
"""Of the figures, as people see them."""
