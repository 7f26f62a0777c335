"""Rollouts on a tiny model: exact log-probabilities, seeds by round, and a policy that goes after its reward."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from plutao.data.pack import Batch, PackedBatch
from plutao.generate.chat import Chat, Reply
from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.models.decoder import Decoder
from plutao.models.presets import decoder_config
from plutao.models.reward import RewardModel, reward_token
from plutao.recipe import OptimizerSettings, RlSettings
from plutao.stages.rewards import Prompt
from plutao.stages.rollouts import RolloutBatches, collate, write_answers
from plutao.text.chat import Message
from plutao.text.tokenizer import Tokenizer, train
from plutao.train.actor_critic import ActorCritic, Beside, Rollouts, action_log_probabilities, grpo, ppo
from plutao.train.budget import Budget
from plutao.train.device import Device
from plutao.train.loop import fit
from plutao.train.objectives import IGNORED

CPU = Device("cpu", 0, "fp32", False, "a test")
QUESTIONS = [
    "the sun?",
    "a moon?",
    "is pluto far?",
    "ice?",
    "who is there?",
    "is the planet far?",
    "why?",
    "sun or ice?",
]
PROMPTS = [Prompt((Message("user", question),)) for question in QUESTIONS]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train("char", ["the sun and pluto talk about ice? a moon is who why far planet or\n"], 64)


class Letters:
    """The reward: a point for each `a`."""

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[Reply]) -> Tensor:
        return torch.tensor([float(reply.text.count("a")) for reply in replies])


class Toy:
    """A random model and everything that trains it."""

    def __init__(self, tokenizer: Tokenizer, reward: Any = None, seed: int = 0, **changes: Any) -> None:
        chosen: dict[str, Any] = {
            "batch": 8,
            "answers": 4,
            "max_tokens": 8,
            "micro_batch": 8,
            "kl": 0.0,
            "end_penalty": 0.0,
            "optimizer": OptimizerSettings(kind="adamw", learning_rate=3e-3, weight_decay=0.0),
            "value_learning_rate": 3e-3,
            "sample_at": (),
        }
        self.settings = RlSettings(**(chosen | changes))
        shape = decoder_config(
            "plutao-1m", vocabulary=128, context=64, layers=2, width=32, heads=2, kv_heads=2, hidden=64
        )
        policy = Decoder(shape)
        policy.initialise(seed)
        torch.manual_seed(seed)
        for block in policy.blocks:  # the zeros of a fresh model would hide mistakes
            for parameter in block.parameters():
                parameter.data += 0.1 * torch.randn(parameter.shape)
        self.reference = copy.deepcopy(policy).requires_grad_(False)
        critic = RewardModel(copy.deepcopy(policy), reward_token(tokenizer))
        torch.nn.init.normal_(critic.score.weight, std=0.1)
        self.chat = Chat(Engine(policy, tokenizer, slots=32))
        is_ppo = self.settings.algorithm == "ppo"
        self.model = ActorCritic(policy, critic if is_ppo else None, self.chat.engine.vocabulary)
        self.batches = RolloutBatches(
            self.model, self.reference, self.chat, PROMPTS, reward or Letters(), self.settings, CPU, seed
        )

    def train(self, out: Path, rounds: int) -> list[dict[str, float]]:
        settings = self.settings
        objective = grpo(settings.clip) if settings.algorithm == "grpo" else ppo(settings.clip, settings.value_clip)
        steps = rounds * settings.inner_epochs * settings.minibatches
        fit(self.model, objective, self.batches, settings, Budget(steps=steps), out, CPU)
        return self.batches.history


def test_the_engines_log_probabilities_are_the_models_own(tokenizer: Tokenizer) -> None:
    """The behaviour policy's, as the engine tells them, and what a plain pass in fp32 gives, in any company."""
    toy = Toy(tokenizer)
    replies = [
        reply for some in write_answers(toy.chat, PROMPTS, Sampling(max_tokens=20, seed=1, n=3)) for reply in some
    ]
    written = collate(replies, tokenizer.pad, torch.device("cpu"))
    with torch.no_grad():
        own = action_log_probabilities(
            toy.model.policy, written.tokens, written.places, written.mask, toy.chat.engine.vocabulary
        )
        alone = toy.model.policy(torch.tensor([replies[5].prompt + replies[5].tokens]))[0]
    torch.testing.assert_close(own, written.log_probabilities, atol=1e-4, rtol=0)
    scores = alone[:, : toy.chat.engine.vocabulary].log_softmax(-1)
    start = len(replies[5].prompt)
    for place, token in enumerate(replies[5].tokens):
        assert float(scores[start + place - 1, token]) == pytest.approx(replies[5].logprobs[place], abs=1e-4)


def test_what_a_tool_gave_back_is_no_action(tokenizer: Tokenizer) -> None:
    reply = Reply(
        (), "", [5, 6], [20, 21, 22, 23, 24], [True, True, False, False, True], [-1.0, -2.0, 0, 0, -3.0], "stop", 0
    )
    written = collate([reply, Reply((), "", [7], [8], [True], [-4.0], "stop", 0)], 1, torch.device("cpu"))
    assert written.tokens.tolist() == [[5, 6, 20, 21, 22, 23, 24], [7, 8, 1, 1, 1, 1, 1]]
    assert written.places.tolist() == [[2, 3, 6], [1, 0, 0]]
    assert written.mask.tolist() == [[True, True, True], [True, False, False]]
    assert written.log_probabilities.tolist() == [[-1, -2, -3], [-4, 0, 0]]
    assert written.lengths.tolist() == [7, 2]


def test_the_same_prompt_twice_gets_two_answers(tokenizer: Tokenizer) -> None:
    toy = Toy(tokenizer)
    twice = write_answers(toy.chat, [PROMPTS[0], PROMPTS[1], PROMPTS[0]], Sampling(max_tokens=20, seed=1))
    assert twice[0][0].tokens != twice[2][0].tokens
    again = write_answers(toy.chat, [PROMPTS[0], PROMPTS[1], PROMPTS[0]], Sampling(max_tokens=20, seed=1))
    assert [some[0].tokens for some in twice] == [some[0].tokens for some in again]


def test_every_prompt_is_asked_once_before_any_is_asked_again(tokenizer: Tokenizer) -> None:
    batches = Toy(tokenizer, batch=3, micro_batch=3).batches
    asked = [place for round_ in range(8) for place in batches.places(round_)]
    for start in (0, 8, 16):
        assert sorted(asked[start : start + 8]) == list(range(8))
    assert asked[:8] != asked[8:16]


def test_a_round_drawn_again_is_the_same_round(tokenizer: Tokenizer) -> None:
    toy = Toy(tokenizer)
    next(toy.batches)
    state = toy.batches.state_dict()
    second = next(toy.batches)
    toy.batches.load_state_dict(state)
    again = next(toy.batches)
    assert torch.equal(second.tokens, again.tokens)
    torch.testing.assert_close(second.advantages, again.advantages)
    assert state["round"] == 1


def test_the_first_ratio_is_one_however_a_round_is_divided(tokenizer: Tokenizer) -> None:
    toy = Toy(tokenizer, inner_epochs=2, minibatches=2, micro_batch=8)
    parts = [next(toy.batches) for _ in range(4)]
    assert toy.batches.at_rest
    assert [len(part.tokens) for part in parts] == [16, 16, 16, 16]
    for piece in parts[0].split(8):
        now = action_log_probabilities(toy.model.policy, piece.tokens, piece.places, piece.mask, toy.model.vocabulary)
        assert piece.old is not None
        assert torch.equal(now[piece.mask], piece.old[piece.mask])
    firsts, seconds = (
        sorted(row.tolist() for part in some for row in lengths(part)) for some in (parts[:2], parts[2:])
    )
    assert firsts == seconds  # the second inner epoch learns from the same answers


def lengths(part: Rollouts) -> Tensor:
    return torch.stack((part.mask.sum(1), part.places.amax(1)), dim=1)


def test_rewards_and_advantages_of_a_round_follow_by_hand(tokenizer: Tokenizer) -> None:
    """PPO's terms put together: penalty against the reference, score at the end, the critic's values, whitening off."""
    toy = Toy(tokenizer, kl=0.3, whiten=False, gamma=0.9, gae=0.8, end_penalty=0.5)
    with torch.no_grad():
        weight = toy.model.policy.blocks[0].feed_forward.down.weight
        weight += torch.randn(weight.shape)  # now the policy differs from the reference
    batch = next(toy.batches)
    toy.batches.load_state_dict({"round": 0, "coefficient": 0.3, "history": [], "text": None, "scale": [0, 0, 0]})
    prompts, replies = toy.batches.answers()
    scores = Letters()(prompts, replies)
    by_tokens = {
        tuple(reply.prompt + reply.tokens): (reply, float(score)) for reply, score in zip(replies, scores, strict=True)
    }
    assert batch.values is not None and batch.returns is not None
    for row in range(batch.rows):
        actions = int(batch.mask[row].sum())
        end = int(batch.places[row, actions - 1]) + 1
        reply, score = by_tokens[tuple(batch.tokens[row, :end].tolist())]
        score -= 0.5 * (reply.finish_reason != "stop")
        tokens = torch.tensor([reply.prompt + reply.tokens])
        with torch.no_grad():
            reference = toy.reference(tokens)[0, :, : toy.model.vocabulary].log_softmax(-1)
            assert toy.model.critic is not None
            values = toy.model.critic.everywhere(tokens)[0]
        advantage = following = 0.0
        for step in reversed(range(actions)):
            place = len(reply.prompt) + step
            kl = reply.logprobs[step] - float(reference[place - 1, reply.tokens[step]])
            reward = -0.3 * kl + (score if step == actions - 1 else 0.0)
            value = float(values[place - 1])
            advantage = reward + 0.9 * following - value + 0.9 * 0.8 * advantage
            following = value
            assert float(batch.advantages[row, step]) == pytest.approx(advantage, abs=1e-3)
            assert float(batch.values[row, step]) == pytest.approx(value, abs=1e-4)
            assert float(batch.returns[row, step]) == pytest.approx(advantage + value, abs=1e-3)
    assert toy.batches.history == []
    assert batch.metrics["kl_k3"] > 1e-3


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_it_raises_its_reward(tokenizer: Tokenizer, tmp_path: Path, algorithm: str) -> None:
    """Answers of eight letters, one point for each `a`: from about one to most of them within seconds."""
    history = Toy(tokenizer, algorithm=algorithm).train(tmp_path, 40)
    first, last = (sum(figures["reward"] for figures in some) / len(some) for some in (history[:1], history[-5:]))
    assert first < 2
    assert last > 5
    assert history[-1]["kl"] > 5
    assert history[-1]["entropy"] < history[0]["entropy"]


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_a_heavy_penalty_keeps_the_policy_where_it_was(tokenizer: Tokenizer, tmp_path: Path, algorithm: str) -> None:
    settings = {"algorithm": algorithm, "kl": 100.0, "whiten": False}
    free = Toy(tokenizer, algorithm=algorithm).train(tmp_path / "free", 25)[-1]["kl"]
    held = Toy(tokenizer, **settings, optimizer=OptimizerSettings(kind="adamw", learning_rate=3e-4)).train(
        tmp_path / "held", 25
    )
    assert abs(held[-1]["kl"]) < 0.1 < free


def test_several_epochs_and_minibatches_learn_too(tokenizer: Tokenizer, tmp_path: Path) -> None:
    history = Toy(tokenizer, inner_epochs=2, minibatches=2).train(tmp_path, 12)
    assert history[-1]["reward"] > 3 * max(history[0]["reward"], 0.2)
    assert len(history) == 12


def test_pieces_of_a_batch_add_up_to_the_whole(tokenizer: Tokenizer) -> None:
    """Losses and gradients do not depend on how many answers are computed at once, nor do those of what is mixed in: text,
    and demonstrations of which each row has another number of tokens to learn.
    """
    toy = Toy(tokenizer)
    text = torch.randint(64, (5, 17), generator=torch.Generator().manual_seed(0))
    targets = text[:, 1:].clone()
    for row in range(5):
        targets[row, : 3 * row] = IGNORED
    demonstrations = PackedBatch(text[:, :-1], targets, torch.ones_like(targets))
    beside = (
        Beside("text", Batch(text[:, :-1], text[:, 1:]), 2.0),
        Beside("demonstrations", demonstrations, 1.5),
    )
    batch = replace(next(toy.batches), beside=beside)
    objective = ppo(0.2, 0.2)
    results = []
    for rows in (32, 8, 3):
        toy.model.zero_grad()
        total = 0.0
        for piece in batch.split(rows):
            loss, _ = objective(toy.model, piece)
            share = piece.weight / batch.weight
            (loss * share).backward()
            total += float(loss.detach()) * share
        gradient = toy.model.policy.blocks[0].attention.query.weight.grad
        assert gradient is not None
        results.append((total, gradient.clone()))
    for total, gradient in results[1:]:
        assert total == pytest.approx(results[0][0], rel=1e-4)
        torch.testing.assert_close(gradient, results[0][1], atol=1e-5, rtol=1e-3)


def test_mixed_in_text_is_learned(tokenizer: Tokenizer) -> None:
    toy = Toy(tokenizer)
    batch = next(toy.batches)
    text = torch.randint(64, (4, 17), generator=torch.Generator().manual_seed(0))
    mixed = replace(batch, beside=(Beside("text", Batch(text[:, :-1], text[:, 1:]), 2.0),))
    with torch.no_grad():
        plain, _ = ppo(0.2, 0.2)(toy.model, batch)
        with_text, told = ppo(0.2, 0.2)(toy.model, mixed)
        logits = toy.model.policy(text[:, :-1])
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
    assert told["text_loss"] == pytest.approx(float(expected), rel=1e-4)
    assert float(with_text - plain) == pytest.approx(2 * float(expected), rel=1e-3)


def test_other_temperatures_have_their_own_distribution(tokenizer: Tokenizer) -> None:
    """At temperature 2 policy and reference are both flattened: at the start they still agree exactly."""
    toy = Toy(tokenizer, temperature=2.0)
    metrics = next(toy.batches).metrics
    assert metrics["kl"] == pytest.approx(0, abs=1e-4)
    assert metrics["entropy"] > next(Toy(tokenizer).batches).metrics["entropy"] - 0.5
    assert math.isfinite(metrics["kl_k3"])


def test_the_coefficient_adapts_between_rounds(tokenizer: Tokenizer) -> None:
    toy = Toy(tokenizer, kl=0.5, kl_target=3.0)
    assert next(toy.batches).metrics["kl_coefficient"] == 0.5
    assert next(toy.batches).metrics["kl_coefficient"] == pytest.approx(0.5 * 0.98)  # as far below as may count
