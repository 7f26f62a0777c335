"""ELMo: two language models that read each sentence from both sides, so that a word's vector depends on its company (Peters et
al. 2018; the book, section 2.12).
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from plutao.data.pack import PretrainBatches
from plutao.errors import UserError
from plutao.files import fingerprint
from plutao.models import elmo
from plutao.models.elmo import Elmo, ElmoConfig
from plutao.project import Project
from plutao.recipe import Recipe
from plutao.recipe.ancestors import ElmoSettings
from plutao.stages.card import write_card
from plutao.stages.common import budget, mixture_in_json
from plutao.stages.plain import describe, train
from plutao.train import device as devices
from plutao.train.cross_entropy import linear_cross_entropy
from plutao.train.loop import without_compiling
from plutao.train.objectives import IGNORED, Objective
from plutao.train.parallel import World
from plutao.train.progress import Progress

TRY = "plutao inspect {place} --senses banco"
MEASURED = 64
"""Batches of validation text that the result is measured on, at most."""


def settings_of(recipe: Recipe) -> ElmoSettings:
    assert recipe.elmo is not None, "the recipe has no [elmo] section"
    return recipe.elmo


def inputs(project: Project) -> str:
    """Names what this stage depends on: its settings, the seed, the tokenizer and the documents."""
    settings = settings_of(project.recipe).model_dump(mode="json")
    made_of = [project.recipe.seed, project.tokenizer().fingerprint, project.documents.name]
    return fingerprint(["elmo", settings, *made_of])


def check(recipe: Recipe, root: Path = Path()) -> None:
    """What can be refused before any long work.

    Raises:
        UserError: the tokenizer does not cut into words, or the device can't compute as the recipe asks.
    """
    if recipe.tokenizer.kind != "word":
        raise UserError(
            f'ELMo reads whole words: tokenizer.kind is "{recipe.tokenizer.kind}"; set it to "word" (with a vocabulary of 8192).'
        )
    settings = settings_of(recipe)
    devices.choose(settings.precision, settings.compile)


def run(project: Project, world_: World, progress: Progress, minutes: float | None = None) -> None:
    """Trains the model of [elmo] and stores it, measured, in the run.

    Args:
        minutes: wall time the training may take, in place of the recipe's own length.
    """
    recipe, settings = project.recipe, settings_of(project.recipe)
    tokenizer, shards = project.tokenizer(), project.shards()
    model = Elmo(ElmoConfig(tokenizer.vocabulary_size, settings.width, settings.hidden, dropout=settings.dropout))
    model.initialise(recipe.seed)
    model.learn_spelling(tokenizer)
    model.spread_words()
    batches = PretrainBatches(
        shards.open(),
        recipe.data.weights,
        settings.batch,
        settings.window,
        recipe.seed,
        "stream",
        world_.rank,
        world_.size,
    )
    device = devices.choose(settings.precision, settings.compile, world_.local_rank)
    length = budget(settings, shards.tokens(), settings.batch * settings.window, minutes)
    held_out = shards.open("validation")
    trained = train(
        project,
        "elmo",
        model,
        both_ways(device.compiled),
        batches,
        settings,
        length,
        device,
        world_,
        progress,
        evaluate=lambda module: measure(module, held_out, settings, 4),
    )
    if not world_.first:
        return
    out = project.stage_dir("elmo")
    model.to("cpu").eval()
    elmo.save(model, out)
    tokenizer.save(out)
    results = describe(model.count_parameters(), device, trained, settings, recipe.seed)
    results |= {"window": settings.window, "data": mixture_in_json(batches.mixture())}
    with without_compiling(device):
        found = measure(model, held_out, settings, MEASURED)
    results["validation"] = found
    results["in_a_line"] = (
        f"{results['parameters'] / 1e6:.1f}M parameters, {trained.tokens / 1e6:.2f}M words in {trained.seconds:.0f} s "
        f"({trained.tokens_per_second:,.0f} words/s); perplexity a word {found['perplexity_forward']:.0f} from the left, "
        f"{found['perplexity_backward']:.0f} from the right."
    )
    write_card(out, "elmo", inputs(project), results)


def losses(model: Elmo, tokens: Tensor, targets: Tensor, compiled: bool = False) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy in nats a word, from the left and from the right."""
    row = torch.cat((tokens, targets[:, -1:]), dim=1)
    left, right = model.both(row)
    table = model.head.weight
    return (
        linear_cross_entropy(left, table, targets, IGNORED, compiled=compiled),
        linear_cross_entropy(right, table, row.flip(1)[:, 1:].contiguous(), IGNORED, compiled=compiled),
    )


def both_ways(compiled: bool = False) -> Objective:
    """The mean of both language models' losses (Peters et al. 2018, section 3.1), in nats a word."""

    def objective(model: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        left, right = losses(model, batch.tokens, batch.targets, compiled)
        return (left + right) / 2, {}

    return objective


@torch.inference_mode()
def measure(module: nn.Module, held_out: Any, settings: ElmoSettings, most: int) -> dict[str, float]:
    """Loss and perplexity a word on validation text, in both directions; the same rows every time."""
    assert isinstance(module, Elmo)
    room = sum((len(tokens) - 1) // settings.window for tokens in held_out.values())
    texts = {name: tokens for name, tokens in held_out.items() if len(tokens) > settings.window}
    if not texts:
        return {}
    rows = PretrainBatches(texts, {}, min(settings.batch, max(room, 1)), settings.window, 0)
    device = module.head.weight.device
    found = []
    for _ in range(max(1, min(most, room // rows.batch))):
        batch = next(rows).to(device)
        found.append(torch.stack(losses(module, batch.tokens, batch.targets)))
    left, right = torch.stack(found).double().mean(0).tolist()
    return {"loss": (left + right) / 2, "perplexity_forward": math.exp(left), "perplexity_backward": math.exp(right)}
