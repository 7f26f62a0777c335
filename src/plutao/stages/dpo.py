"""Stage dpo: preferences learned directly, without a reward model and without reinforcement learning.

Direct preference optimization (Rafailov et al. 2023) moves the SFT model so that the better answer of each pair gains
probability over the worse one, relative to the SFT model itself. β · log(model ÷ SFT model) of an answer is the reward
that the model has learned without saying so, and is measured as stage reward's is.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from plutao.data.ranking_batches import RankedAnswers, RankingBatch, RankingBatches
from plutao.data.rankings import Labelled
from plutao.evaluate.chat_exam import take_chat_exam
from plutao.evaluate.divergence import divergence
from plutao.evaluate.preference import Judged, accuracy, judge, measure
from plutao.evaluate.responders import ChatResponder
from plutao.files import fingerprint, read_json, write_json
from plutao.generate.chat import Chat
from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.generate.tools import Calculator
from plutao.models.decoder import Decoder
from plutao.project import Project
from plutao.recipe import DpoSettings, Recipe
from plutao.stages import rankings as sources
from plutao.stages.card import read_card, write_card
from plutao.stages.common import budget, describe, row_length, save_chat_model, train
from plutao.stages.reward import (
    Encoded,
    at_once,
    describe_rankings,
    device_for,
    encode,
    mean_loss,
    simulated,
    weights_of,
)
from plutao.text.chat import Messages
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train.device import Device
from plutao.train.loop import Evaluate, Sample, without_compiling
from plutao.train.objectives_preference import answer_logprobs, direct_preference
from plutao.train.parallel import World
from plutao.train.progress import Progress
from plutao.worlds import world

ON_THE_WAY = 64
"""Held-out prompts looked at while it trains."""
AT_ONCE = 8
"""Prompts whose answers are read in one pass, without gradients."""
SAMPLES = 3
"""Held-out prompts that are answered on the way."""
MEASURED = 256
"""Held-out prompts, at most, on whose answers the divergence from the SFT model is measured."""


def settings_of(recipe: Recipe) -> DpoSettings:
    assert recipe.dpo is not None, "the recipe has no [dpo] section"
    return recipe.dpo


def inputs(project: Project) -> str:
    """Names what this stage depends on: its settings, the seed, the context, the SFT model and the rankings."""
    recipe = project.recipe
    given = [settings_of(recipe).model_dump(mode="json"), recipe.seed, recipe.model.context]
    sft = read_card(project.stage_dir("sft"))["inputs"]
    return fingerprint(["dpo", given, sft, sources.inputs(project, "dpo")])


def check(recipe: Recipe, root: Path | None = None) -> None:
    """What can be refused before any long work; with the project's folder, also what is not there.

    Raises:
        UserError: no rankings, two sources of one name, weights for some only, a corpus that can't be had.
    """
    settings = settings_of(recipe)
    devices.choose(settings.precision, settings.compile)
    sources.check(recipe, "dpo", root)


# ---------------------------------------------------------------------------------------------------------------------
# The reference


def with_reference(project: Project, model: Decoder, encoded: Encoded, context: int, device: Device) -> Encoded:
    """The rankings with the SFT model's log-probabilities of every answer, computed once and kept for resuming.

    `model` is the SFT model, before its first step.
    """
    path, wanted = project.stage_dir("dpo") / "reference.json", inputs(project)
    everything = [element for some in encoded.train.values() for element in some]
    everything += [element for _, element in encoded.held_out]
    known = read_json(path) if path.is_file() else {}
    if known.get("inputs") != wanted:
        model.to(device.place).eval()
        known = {"inputs": wanted, "log_probabilities": all_logprobs(model, everything, context, device)}
        write_json(path, known)
    found = iter(known["log_probabilities"])
    train = {
        name: [replace(element, reference=tuple(next(found))) for element in some]
        for name, some in encoded.train.items()
    }
    held_out = [(one, replace(element, reference=tuple(next(found)))) for one, element in encoded.held_out]
    return replace(encoded, train=train, held_out=held_out)


@torch.no_grad()
def all_logprobs(model: Decoder, elements: Sequence[RankedAnswers], context: int, device: Device) -> list[list[float]]:
    """log π(answer | prompt) of every answer of every element, in nats."""
    found: list[list[float]] = []
    for start in range(0, len(elements), AT_ONCE):
        batch = RankingBatch(elements[start : start + AT_ONCE], context).to(device.place)
        with device.autocast():
            logprobs = answer_logprobs(model, batch)
        found += batch.by_element(logprobs.tolist())
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The stage


def run(project: Project, world_: World, progress: Progress, minutes: float | None = None) -> None:
    """Trains the SFT model on preferences and stores it as an assistant, measured, in the run.

    Args:
        minutes: wall time for the stage, in place of the recipe's own length.
    """
    started = time.perf_counter()
    recipe, settings = project.recipe, settings_of(project.recipe)
    rankings = sources.collect(project, "dpo", world_, progress, minutes)
    tokenizer, model = project.tokenizer(), project.model("sft")
    config, context = model.config, row_length(recipe, model.config)
    encoded = encode(rankings, tokenizer, context, recipe, "dpo")
    device = device_for(settings, encoded, config, minutes, world_)
    encoded = with_reference(project, model, encoded, context, device)
    batches = RankingBatches(
        encoded.train,
        weights_of(recipe, "dpo", encoded.train),
        settings.batch,
        context,
        recipe.seed,
        world_.rank,
        world_.size,
    )
    prompts = sum(len(elements) for elements in encoded.train.values())
    left = None if minutes is None else minutes - (time.perf_counter() - started) / 60
    asked = list({one.ranking.messages: None for one, _ in encoded.held_out})
    trained = train(
        project,
        "dpo",
        model,
        config,
        direct_preference(settings.beta, settings.label_smoothing),
        batches,
        at_once(settings, encoded.train, config, context, device, world_),
        budget(settings, prompts, settings.batch, left, 2 * encoded.held_out_tokens),
        device,
        world_,
        progress,
        evaluate=validation(encoded.held_out[:ON_THE_WAY], context, settings.beta, device),
        sample=sampler(recipe, tokenizer, asked[:SAMPLES]),
    )
    if not world_.first:
        return
    out = project.stage_dir("dpo")
    save_chat_model(model, tokenizer, out)
    results = describe(config, device, trained, settings, recipe) | describe_rankings(rankings, encoded, batches)
    with without_compiling(device):
        judged = judge_all(model, encoded.held_out, context, settings.beta, devices.choose("fp32", "off"))
        results |= measure(judged, recipe.report.language) | {"beta": settings.beta}
        results["validation"] = {"loss": mean_loss(judged), "prompts": len(judged)}
        results["kl"] = kl(project, model, tokenizer, asked[:MEASURED])
        results |= exam(model, tokenizer, recipe)
    results["labellers"] |= simulated(recipe, "dpo")
    del results["verdict"]  # nothing follows these rewards
    write_card(out, "dpo", inputs(project), results)


def validation(
    held_out: Sequence[tuple[Labelled, RankedAnswers]], context: int, beta: float, device: Device
) -> Evaluate:
    """A quick measure for the way: implicit rewards' pair accuracy and loss on the first held-out prompts."""

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, Decoder)
        judged = judge_all(model, held_out, context, beta, device)
        share = accuracy(judged)
        return {"loss": mean_loss(judged)} | ({"pair_accuracy": share.value} if share is not None else {})

    return evaluate


def judge_all(
    model: Decoder, held_out: Sequence[tuple[Labelled, RankedAnswers]], context: int, beta: float, device: Device
) -> list[Judged]:
    """The held-out rankings with implicit rewards: β · log(model ÷ SFT model) of each answer."""
    logprobs = all_logprobs(model, [element for _, element in held_out], context, device)
    return [
        judge(
            one,
            element.kept,
            [beta * (own - theirs) for own, theirs in zip(numbers, element.reference, strict=True)],
        )
        for (one, element), numbers in zip(held_out, logprobs, strict=True)
    ]


def sampler(recipe: Recipe, tokenizer: Tokenizer, asked: Sequence[Messages]) -> Sample:
    """Lets the model answer a few held-out prompts while it learns."""
    sampling = Sampling(temperature=0.0, max_tokens=settings_of(recipe).sample_tokens, seed=recipe.seed)

    def sample(model: nn.Module) -> list[dict[str, str]]:
        assert isinstance(model, Decoder)
        replies = talking(model, tokenizer).answer(asked, sampling)
        return [
            {"prompt": prompt[-1].content, "text": some[0].text} for prompt, some in zip(asked, replies, strict=True)
        ]

    return sample


def talking(model: Decoder, tokenizer: Tokenizer) -> Chat:
    return Chat(Engine(model, tokenizer, slots=64), (Calculator(),))


def kl(project: Project, model: Decoder, tokenizer: Tokenizer, asked: Sequence[Messages]) -> dict[str, Any]:
    """How far the model has gone from the SFT model, in nats per answer, on its own answers to held-out prompts."""
    chat = talking(model, tokenizer)
    sampling = Sampling(max_tokens=sources.ANSWER_TOKENS, seed=project.recipe.seed)
    replies = [some[0] for some in chat.answer(asked, sampling)]
    return divergence(replies, project.model("sft"), chat.engine.vocabulary)


def exam(model: Decoder, tokenizer: Tokenizer, recipe: Recipe) -> dict[str, Any]:
    """The exam of each world that the rankings are of, as stage sft takes it."""
    results: dict[str, Any] = {}
    for name in sorted({source.world for source in sources.sources_of(recipe, "dpo") if source.world}):
        responder = ChatResponder(talking(model, tokenizer))
        questions = world(name).questions("exam", None, recipe.seed)
        results["exam"] = take_chat_exam(responder, world(name), questions, seed=recipe.seed).as_json()
    return results
