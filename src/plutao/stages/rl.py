"""Stage 4 · reinforcement learning: the assistant tries answers and follows the reward (the book's section 3.1).

PPO as InstructGPT uses it (Ouyang et al. 2022, appendix C.4), or GRPO (Shao et al. 2024). Its batches are rollouts and its
objective is PPO's or GRPO's; the loop is that of every other stage.
"""

import copy
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from plutao.data.pack import PretrainBatches
from plutao.errors import UserError
from plutao.evaluate.chat_exam import take_chat_exam
from plutao.evaluate.responders import ChatResponder
from plutao.files import fingerprint, read_json, write_json
from plutao.generate.chat import Chat
from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.generate.tools import Calculator
from plutao.models.decoder import Decoder
from plutao.models.reward import RewardModel, load_reward, reward_token
from plutao.project import Project
from plutao.recipe import Recipe, RlSettings
from plutao.stages import demonstrations
from plutao.stages.card import read_card, write_card
from plutao.stages.common import budget, describe, row_length, save_chat_model, train
from plutao.stages.diagnosis import Watch, diagnose
from plutao.stages.examples import identity
from plutao.stages.gains import BEST_OF, Measured, check_can_learn, gain, measure
from plutao.stages.prompts import Prompts, collect, places_of, sources_of
from plutao.stages.rewards import MODEL, ModelReward, Reward, load_function, reward_fingerprint
from plutao.stages.rollouts import ANSWERS_PER_ROW, RolloutBatches, Stream, write_answers
from plutao.train import device as devices
from plutao.train.actor_critic import ActorCritic, grpo, ppo
from plutao.train.budget import Budget
from plutao.train.device import Device
from plutao.train.loop import Evaluate, Sample, Trained
from plutao.train.objectives import Objective
from plutao.train.parallel import World
from plutao.train.progress import Progress
from plutao.worlds import world

SLOTS = 64
"""Answers written at once, at most."""
ROWS_AT_ONCE = 16
"""Answers learned from at once where the recipe says nothing: few enough that a piece's lengths are alike."""
AFTER = 4
"""Answers to each held-out prompt that the trained model is measured with."""
SAMPLES = 3
SHORTEST_PROMPT = 16
"""Tokens that an answer of the longest length must leave to the prompt."""


def settings_of(recipe: Recipe) -> RlSettings:
    assert recipe.rl is not None, "the recipe has no [rl] section"
    return recipe.rl


def inputs(project: Project) -> str:
    """Names what this stage depends on: its settings, the seed, the SFT model, the reward and the prompts."""
    recipe, settings = project.recipe, settings_of(project.recipe)
    given = [settings.model_dump(mode="json"), recipe.seed, recipe.model.context, recipe.report.language]
    started_from = read_card(project.stage_dir("sft"))["inputs"]
    from_model = settings.reward == MODEL
    reward = read_card(project.stage_dir("reward"))["inputs"] if from_model else named(settings, project)
    return fingerprint(["rl", given, started_from, reward, identity(places_of(recipe, project.root))])


def named(settings: RlSettings, project: Project) -> str:
    return reward_fingerprint(settings.reward, project.root)


def check(recipe: Recipe, root: Path | None = None) -> None:
    """What can be refused before any long work; with the project's folder, also the reward function.

    Raises:
        UserError: a reward function that can't be loaded, answers that leave no room for prompts, no prompts, or rounds
            that can't be divided.
    """
    settings = settings_of(recipe)
    devices.choose(settings.precision, settings.compile)
    if settings.max_tokens + SHORTEST_PROMPT > recipe.model.context:
        raise UserError(
            f"rl.max_tokens = {settings.max_tokens} leaves no room for prompts in model.context = {recipe.model.context}: "
            f"lower it to {max(recipe.model.context // 2, 1)} or so."
        )
    answers = settings.batch * settings.answers
    if answers < settings.minibatches:
        raise UserError(
            f"{answers} answers a round (rl.batch × rl.answers) can't be divided into rl.minibatches = "
            f"{settings.minibatches}: lower it."
        )
    if root is not None and settings.reward != MODEL:
        load_function(settings.reward, root)
    if root is not None and not places_of(recipe, root):
        raise UserError("Stage rl has no prompts: name some in [[rl.prompts]].")


@dataclass
class Ready:
    """All that a training needs, made from the project."""

    settings: RlSettings
    device: Device
    model: ActorCritic
    reference: Decoder
    chat: Chat
    reward: Reward
    prompts: Prompts


def prepare(project: Project, world_: World) -> Ready:
    """Loads the SFT model three times (policy, reference, engine's view) and the reward model twice (reward, critic).

    Raises:
        UserError: a reward model of another tokenizer, a reward function that can't be loaded, or no prompts.
    """
    settings = settings_of(project.recipe)
    if settings.micro_batch is None:
        settings = settings.model_copy(update={"micro_batch": ROWS_AT_ONCE})
    # Rollouts have other shapes at every step: compiling would never pay.
    device = devices.choose(settings.precision, "on" if settings.compile == "on" else "off", world_.local_rank)
    tokenizer = project.tokenizer()
    policy = project.model("sft").to(device.place)
    reference = copy.deepcopy(policy).eval().requires_grad_(False)
    reward: Reward
    if settings.reward == MODEL:
        judge = load_reward(project.stage_dir("reward"), tokenizer).to(device.place)
        reward, critic = ModelReward(judge, tokenizer), copy.deepcopy(judge)
    else:
        reward = load_function(settings.reward, project.root)
        critic = RewardModel(copy.deepcopy(policy), reward_token(tokenizer)).to(device.place)
    slots = min(SLOTS, settings.batch * settings.answers + 1)
    engine = Engine(policy, tokenizer, slots=slots)
    rate = settings.value_learning_rate / settings.optimizer.learning_rate
    model = ActorCritic(policy, critic if settings.algorithm == "ppo" else None, engine.vocabulary, rate)
    chat = Chat(engine, (Calculator(),))
    return Ready(settings, device, model, reference, chat, reward, collect(project, chat))


def run(project: Project, world_: World, progress: Progress, minutes: float | None = None) -> None:
    """Improves the SFT model by reinforcement learning and stores it as an assistant, measured, in the run.

    Args:
        minutes: wall time for all of it, measuring included, in place of the recipe's own length.

    Raises:
        UserError: the reward is constant, most answers don't end, a reward function fails, or as `prepare`.
    """
    started = time.perf_counter()
    ready = prepare(project, world_)
    if ready.prompts.long:
        progress.note(f"{ready.prompts.long:,} prompts are longer than the context leaves room for and are left out.")
    measuring = time.perf_counter()
    before = measured_before(project, ready, world_)
    measuring = time.perf_counter() - measuring
    check_can_learn(before, ready.settings)
    left = None if minutes is None else minutes - (time.perf_counter() - started + measuring * AFTER / BEST_OF[-1]) / 60
    batches = batches_of(project, ready, before, world_, progress)
    trained = train(
        project,
        "rl",
        ready.model,
        ready.model.policy.config,
        objective_of(ready.settings),
        batches,
        ready.settings,
        length(ready, left),
        ready.device,
        world_,
        progress,
        evaluate=validation(ready),
        sample=sampler(ready),
    )
    if world_.first:
        finish(project, ready, before, batches, trained)


def measured_before(project: Project, ready: Ready, world_: World) -> Measured:
    """The SFT model's answers to the held-out prompts, kept so that a resumed training need not write them again.

    A training that was begun with another reward, other prompts or another model is not gone on with.
    """
    path, made_from = project.stage_dir("rl") / "before.json", inputs(project)
    kept = read_json(path) if path.is_file() else {}
    if kept.get("inputs") == made_from:
        return Measured(**kept["measured"])
    if kept and world_.first:
        shutil.rmtree(path.parent / "checkpoints", ignore_errors=True)
    n = BEST_OF[-1]
    before = measure(ready.chat, None, ready.prompts.measured, ready.reward, ready.settings, n)
    if world_.first:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"inputs": made_from, "measured": before.as_json()})
    return before


def batches_of(project: Project, ready: Ready, before: Measured, world_: World, progress: Progress) -> RolloutBatches:
    """The rollouts, with what the recipe mixes in."""
    recipe, settings = project.recipe, ready.settings
    return RolloutBatches(
        ready.model,
        ready.reference,
        ready.chat,
        ready.prompts.train,
        ready.reward,
        settings,
        ready.device,
        recipe.seed,
        world=world_,
        beside=mixed_in(project, ready, world_),
        judge=Watch(settings.kl_stop, recipe.report.language),
        watched=(ready.prompts.measured[0], before.answers[0]),
        progress=progress,
    )


def mixed_in(project: Project, ready: Ready, world_: World) -> list[Stream]:
    """Pretraining text and demonstrations, where the recipe gives their losses a weight."""
    recipe, settings = project.recipe, ready.settings
    rows = max(1, settings.batch * settings.answers // settings.minibatches // ANSWERS_PER_ROW) * world_.size
    context = row_length(recipe, ready.reference.config)
    streams = []
    if settings.pretraining:
        shards = project.shards().open()
        text = PretrainBatches(
            shards, recipe.data.weights, rows, context, recipe.seed, "stream", world_.rank, world_.size
        )
        streams.append(Stream("text", text, settings.pretraining))
    if settings.demonstrations:
        tokenizer = ready.chat.tokenizer
        made = demonstrations.read(project, tokenizer, context)
        batches = demonstrations.batches_of(project, tokenizer, made, context, world_, rows)
        streams.append(Stream("demonstrations", batches, settings.demonstrations))
    return streams


def objective_of(settings: RlSettings) -> Objective:
    if settings.algorithm == "grpo":
        return grpo(settings.clip, settings.temperature)
    return ppo(settings.clip, settings.value_clip, settings.temperature)


def length(ready: Ready, minutes: float | None) -> Budget:
    """The recipe's length; it counts rounds of rollouts, the loop counts the steps that each of them is divided into."""
    settings = ready.settings
    rounds = budget(settings, len(ready.prompts.train), settings.batch, minutes)
    if rounds.steps is None:
        return rounds
    return replace(rounds, steps=rounds.steps * settings.inner_epochs * settings.minibatches)


def validation(ready: Ready) -> Evaluate:
    """A look at the held-out prompts on the way: one answer to each."""

    def evaluate(model: nn.Module) -> dict[str, float]:
        ready.chat.engine.refresh()
        now = measure(ready.chat, ready.reference, ready.prompts.measured, ready.reward, ready.settings, 1)
        return {"reward": now.reward, "kl": now.kl, "length": now.length}

    return evaluate


def sampler(ready: Ready) -> Sample:
    """Lets the policy answer a few held-out prompts while it learns."""
    prompts = ready.prompts.measured[:SAMPLES]
    sampling = Sampling(temperature=0.0, max_tokens=ready.settings.sample_tokens, seed=0)

    def sample(model: nn.Module) -> list[dict[str, str]]:
        ready.chat.engine.refresh()
        replies = write_answers(ready.chat, prompts, sampling)
        return [
            {"prompt": prompt.messages[-1].content, "text": some[0].text}
            for prompt, some in zip(prompts, replies, strict=True)
        ]

    return sample


def finish(project: Project, ready: Ready, before: Measured, batches: RolloutBatches, trained: Trained) -> None:
    """Measures the trained policy, says what happened, and completes the stage's folder."""
    recipe, settings = project.recipe, ready.settings
    ready.chat.engine.refresh()
    after = measure(ready.chat, ready.reference, ready.prompts.measured, ready.reward, settings, AFTER)
    policy, out = ready.model.policy, project.stage_dir("rl")
    results = describe(policy.config, ready.device, trained, settings, recipe)
    results |= {
        "algorithm": settings.algorithm,
        "reward": settings.reward,
        "rounds": batches.round,
        "prompts": {
            "train": len(ready.prompts.train),
            "measured": len(ready.prompts.measured),
            "long": ready.prompts.long,
        },
        "reward_before": before.reward,
        "reward_after": after.reward,
        "reward_gain": gain(before, after),
        "kl": after.kl,
        "kl_target": settings.kl_target,
        "kl_coefficient": batches.control.coefficient,
        "stopped": trained.ended,
        "best_of_n": before.best_of_n,
        "diagnosis": diagnose(before, after, settings.kl_target, trained.ended, recipe.report.language),
        "answers": {"before": figures(before), "after": figures(after)},
        "examples": examples(ready, before, after),
    }
    results |= exam(ready.chat, recipe)
    save_chat_model(policy, ready.chat.tokenizer, out)
    write_card(out, "rl", inputs(project), results)


def figures(measured: Measured) -> dict[str, float]:
    return {name: getattr(measured, name) for name in ("length", "ended", "distinct", "entropy", "deviation")}


def examples(ready: Ready, before: Measured, after: Measured, count: int = 5) -> list[dict[str, str]]:
    """The same prompts answered before and after."""
    asked = [prompt.messages[-1].content for prompt in ready.prompts.measured[:count]]
    rows = zip(asked, before.answers, after.answers, strict=False)
    return [{"prompt": prompt, "before": first, "after": then} for prompt, first, then in rows]


def exam(chat: Chat, recipe: Recipe) -> dict[str, Any]:
    """The exam of the world that the prompts are of, as stage sft takes it."""
    results: dict[str, Any] = {}
    for name in sorted({source.world for source in sources_of(recipe) if source.world}):
        questions = world(name).questions("exam", None, recipe.seed)
        results["exam"] = take_chat_exam(ChatResponder(chat), world(name), questions, seed=recipe.seed).as_json()
    return results
