"""Stage 3 · the reward model: from rankings, it learns to tell which answers people prefer (the book's section 3.1).

It starts from the SFT model, as InstructGPT's did (Ouyang et al. 2022, section 3.5), and is measured on prompts that it
never saw; whether it is good enough to be followed by reinforcement learning is said in words.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from plutao.data.panels import gathered, panel_of
from plutao.data.ranking_batches import LeftOut, RankedAnswers, RankingBatches, encode_panels, refuse_nothing
from plutao.data.rankings import Labelled
from plutao.evaluate.preference import Judged, accuracy, comparisons, measure
from plutao.evaluate.rankings import judge_all
from plutao.files import fingerprint
from plutao.models.cost import Precision, largest_batch
from plutao.models.decoder import DecoderConfig
from plutao.models.hardware import available_memory
from plutao.models.reward import RewardModel, encode_answer, reward_token, save_reward, score_tokens
from plutao.project import Project
from plutao.recipe import DpoSettings, Recipe, RewardSettings
from plutao.stages import rankings as sources
from plutao.stages.card import read_card, write_card
from plutao.stages.common import budget, describe, noncommercial, row_length, train
from plutao.stages.examples import OWN
from plutao.stages.rankings import Rankings, best_of
from plutao.text.chat import Message
from plutao.text.template import TEMPLATE
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train.device import Device
from plutao.train.loop import Evaluate, without_compiling
from plutao.train.objectives_preference import pairwise_loss, ranking
from plutao.train.parallel import World
from plutao.train.progress import Progress
from plutao.worlds import world

ON_THE_WAY = 128
"""Held-out prompts looked at while it trains."""
DEMONSTRATIONS = 1_000
"""Ideal answers, at most, whose mean reward becomes 0."""
WORTH_COMPILING = 240.0
"""Seconds of training from which on compiling pays."""
OPERATIONS_A_SECOND = 1e11
"""Of two cores of a laptop, about."""


def settings_of(recipe: Recipe) -> RewardSettings:
    assert recipe.reward is not None, "the recipe has no [reward] section"
    return recipe.reward


def inputs(project: Project) -> str:
    """Names what this stage depends on: its settings, the seed, the context, the SFT model and the rankings."""
    recipe = project.recipe
    given = [settings_of(recipe).model_dump(mode="json"), recipe.seed, recipe.model.context]
    sft = read_card(project.stage_dir("sft"))["inputs"]
    return fingerprint(["reward", given, sft, sources.inputs(project, "reward")])


def check(recipe: Recipe, root: Path | None = None) -> None:
    """What can be refused before any long work; with the project's folder, also what is not there.

    Raises:
        UserError: no rankings, two sources of one name, weights for some only, a corpus that can't be had.
    """
    settings = settings_of(recipe)
    devices.choose(settings.precision, settings.compile)
    sources.check(recipe, "reward", root)


# ---------------------------------------------------------------------------------------------------------------------
# The data


@dataclass(frozen=True)
class Encoded:
    """Rankings as tokens: those to learn from by source, and those kept aside with what they were made of."""

    train: dict[str, list[RankedAnswers]]
    held_out: list[tuple[Labelled, RankedAnswers]]
    left_out: LeftOut
    """Of those to learn from."""

    @property
    def held_out_tokens(self) -> int:
        return sum(len(row) for _, element in self.held_out for row in element.rows)


def encode(rankings: Rankings, tokenizer: Tokenizer, context: int, recipe: Recipe, stage: str) -> Encoded:
    """Raises UserError where nothing is left to learn from, or to measure with."""
    cut = [source.name for source in sources.sources_of(recipe, stage) if source.cut]
    panels = gathered(rankings.train)
    elements, left_out = encode_panels(panels, tokenizer, context, cut)
    train: dict[str, list[RankedAnswers]] = {}
    for panel, element in zip(panels, elements, strict=True):
        if element is not None:
            train.setdefault(panel.source, []).append(element)
    refuse_nothing(list(train), left_out, context)
    measured, without = encode_panels([panel_of(one) for one in rankings.held_out], tokenizer, context, cut)
    held_out = [(one, element) for one, element in zip(rankings.held_out, measured, strict=True) if element is not None]
    refuse_nothing(held_out, without, context)
    return Encoded(train, held_out, left_out)


def weights_of(recipe: Recipe, stage: str, train: Mapping[str, Sequence[Any]]) -> dict[str, float | None]:
    """Each source's share; where the recipe gives shares, people's own rankings are read as often as the others on average."""
    weights = {source.name: source.weight for source in sources.sources_of(recipe, stage) if source.name in train}
    given = sum(weight or 0.0 for weight in weights.values())
    if given and OWN in train:
        weights[OWN] = given * len(train[OWN]) / sum(len(some) for name, some in train.items() if name != OWN)
    return weights


def at_once(
    settings: RewardSettings | DpoSettings,
    train: Mapping[str, Sequence[RankedAnswers]],
    config: DecoderConfig,
    context: int,
    device: Device,
    world_: World,
) -> RewardSettings | DpoSettings:
    """The settings with the prompts computed at once: as given, else the largest even share of the batch that memory holds.

    A prompt's answers stay together, so the longest set of answers says how many rows one takes.
    """
    if settings.micro_batch is not None:
        return settings
    free = torch.cuda.mem_get_info(device.place)[0] if device.kind == "cuda" else available_memory()
    precision: Precision = "bf16" if device.precision == "bf16" else "fp32"
    rows = largest_batch(config, free, context, settings.optimizer.kind, precision)
    longest = max(sum(map(len, element.rows)) for elements in train.values() for element in elements)
    most = rows * context // longest
    prompts = settings.batch // world_.size
    fits = max((share for share in range(1, prompts + 1) if prompts % share == 0 and share <= most), default=1)
    return settings.model_copy(update={"micro_batch": fits})


def device_for(
    settings: RewardSettings | DpoSettings,
    encoded: Encoded,
    config: DecoderConfig,
    minutes: float | None,
    world_: World,
) -> Device:
    """The device, compiling only where the training is long enough to earn back what that takes: rankings come in
    batches of changing shapes, for which blocks are compiled more than once.
    """
    chosen = devices.choose(settings.precision, settings.compile, world_.local_rank)
    if settings.compile != "auto" or not chosen.compiled or chosen.kind != "cpu":
        return chosen
    elements = [element for some in encoded.train.values() for element in some]
    tokens = sum(len(row) for element in elements for row in element.rows)
    epochs = settings.epochs or (settings.steps * settings.batch / len(elements) if settings.steps else 1.0)
    given = minutes if minutes is not None else settings.minutes
    seconds = 60 * given if given is not None else 6 * config.parameters() * tokens * epochs / OPERATIONS_A_SECOND
    return chosen if seconds > WORTH_COMPILING else devices.choose(settings.precision, "off", world_.local_rank)


def describe_rankings(rankings: Rankings, encoded: Encoded, batches: RankingBatches) -> dict[str, Any]:
    """What the card says of what was learned from."""
    answers = [len(one.ranking.completions) for one in rankings.train]
    elements = [element for some in encoded.train.values() for element in some]
    labellers = Counter(name for one in rankings.train for name in one.labellers if name)
    licenses = {one.ranking.source: one.ranking.license or "unknown" for one in rankings.train}
    return {
        "rankings": {
            "prompts": len({one.ranking.messages for one in rankings.train}),
            "elements": len(elements),
            "held_out": len(encoded.held_out),
            "answers_per_prompt": sum(answers) / len(answers),
            "pairs": sum(len(element.pairs) for element in elements),
            "labellers": dict(labellers.most_common()),
            "left_out": encoded.left_out.as_json(),
            "skipped": rankings.skipped,
        },
        "data": [
            {"source": name, "elements": len(encoded.train[name]), "epochs": epochs, "license": licenses[name]}
            for name, epochs in batches.epochs().items()
        ],
        "noncommercial": noncommercial(licenses),
    }


# ---------------------------------------------------------------------------------------------------------------------
# The stage


def run(project: Project, world_: World, progress: Progress, minutes: float | None = None) -> None:
    """Trains the reward model on rankings and stores it, centred and measured, in the run.

    Args:
        minutes: wall time for the stage, answers for a world's labellers included, in place of the recipe's own length.
    """
    started = time.perf_counter()
    recipe, settings = project.recipe, settings_of(project.recipe)
    rankings = sources.collect(project, "reward", world_, progress, minutes)
    tokenizer, decoder = project.tokenizer(), project.model("sft")
    config, context = decoder.config, row_length(recipe, decoder.config)
    encoded = encode(rankings, tokenizer, context, recipe, "reward")
    batches = RankingBatches(
        encoded.train,
        weights_of(recipe, "reward", encoded.train),
        settings.batch,
        context,
        recipe.seed,
        world_.rank,
        world_.size,
    )
    left = None if minutes is None else minutes - (time.perf_counter() - started) / 60
    device = device_for(settings, encoded, config, left, world_)
    prompts = sum(len(elements) for elements in encoded.train.values())
    model = RewardModel(decoder, reward_token(tokenizer))
    trained = train(
        project,
        "reward",
        model,
        config,
        ranking(),
        batches,
        at_once(settings, encoded.train, config, context, device, world_),
        budget(settings, prompts, settings.batch, left, 2 * encoded.held_out_tokens),
        device,
        world_,
        progress,
        evaluate=validation(encoded.held_out[:ON_THE_WAY], device),
    )
    if not world_.first:
        return
    model.to("cpu").eval()
    out = project.stage_dir("reward")
    with without_compiling(device):
        count = centre(model, tokenizer, rankings, encoded)
        judged = judge_all(model, encoded.held_out)
    save_reward(model, out, Tokenizer.with_settings(tokenizer, chat_template=TEMPLATE))
    results = describe(config, device, trained, settings, recipe) | describe_rankings(rankings, encoded, batches)
    results |= measure(judged, recipe.report.language)
    results["validation"] = {"loss": mean_loss(judged), "prompts": len(judged)}
    results["labellers"] |= simulated(recipe, "reward")
    results["reward"] = {"offset": float(model.offset), "demonstrations": count, "deviation": deviation(judged)}
    write_card(out, "reward", inputs(project), results)


def validation(held_out: Sequence[tuple[Labelled, RankedAnswers]], device: Device) -> Evaluate:
    """A quick measure for the way: pair accuracy and loss on the first held-out prompts."""

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, RewardModel)
        with device.autocast():
            judged = judge_all(model, held_out)
        share = accuracy(judged)
        return {"loss": mean_loss(judged)} | ({"pair_accuracy": share.value} if share is not None else {})

    return evaluate


def mean_loss(judged: Sequence[Judged]) -> float:
    """The ranking loss of rewards, each prompt counting the same, in nats per pair (ties left out of the mean)."""
    losses = []
    for prompt in judged:
        said = comparisons(prompt)
        margins = torch.tensor([prompt.rewards[one.better] - prompt.rewards[one.worse] for one in said])
        shares = torch.tensor([one.share for one in said])
        losses.append(float(pairwise_loss(margins, shares / shares.sum())))
    return sum(losses) / len(losses)


def deviation(judged: Sequence[Judged]) -> float:
    """Standard deviation of the rewards of one prompt's answers, over all prompts: the scale that RL will see."""
    spread = [torch.tensor(prompt.rewards).var(unbiased=True) for prompt in judged]
    return float(torch.stack(spread).mean().sqrt())


def centre(model: RewardModel, tokenizer: Tokenizer, rankings: Rankings, encoded: Encoded) -> int:
    """Shifts the rewards so that demonstrations have 0 on average (Ouyang et al. 2022, section 3.5); returns how many.

    A demonstration is the ideal answer somebody wrote; where there is none, the answer ranked best.
    """
    everything = [*rankings.train, *rankings.held_out]
    some = everything[:: -(-len(everything) // DEMONSTRATIONS)]
    rows: list[Sequence[int]] = [
        encode_answer(tokenizer, (*one.ranking.messages, Message("assistant", best_of(one.ranking)))) for one in some
    ]
    rows = [row for row in rows if len(row) <= model.decoder.config.context]
    if not rows:  # all of them too long: the best of those that were read
        rows = [element.rows[element.pairs[0][0]] for _, element in encoded.held_out]
    model.centre(float(score_tokens(model, rows).mean()))
    return len(rows)


def simulated(recipe: Recipe, stage: str) -> dict[str, Any]:
    """Which labellers are no people: a world's, each with the written rule it follows."""
    names = {source.world for source in sources.sources_of(recipe, stage) if source.world}
    return {"simulated": {one.name: one.rule for name in sorted(names) for one in world(name).labellers}}
