"""Neural language models before the Transformer: a feed-forward network over a window, RNN, GRU, LSTM (the book's sections 2.3,
4.1 and 4.2).

The same text, tokenizer, loop and measure as the base model's; what differs is what the model remembers. Recurrent ones learn
by truncated backpropagation through time: the state goes on from window to window, the gradient stops at each.
"""

import math
from pathlib import Path
from typing import Any

from torch import nn

from plutao.data.pack import PretrainBatches
from plutao.data.sample import validation_texts
from plutao.data.shards import ShardIndex
from plutao.data.stretches import Stretches
from plutao.errors import UserError
from plutao.evaluate.perplexity import bits_per_byte
from plutao.files import fingerprint
from plutao.generate.sampling import Sampling
from plutao.generate.writer import Writer
from plutao.models import recurrent, window
from plutao.models.hardware import GIB, available_memory
from plutao.models.recurrent import RecurrentConfig, RecurrentModel
from plutao.models.window import WindowConfig, WindowModel
from plutao.project import Project
from plutao.recipe import Recipe
from plutao.recipe.ancestors import RecurrentSettings
from plutao.stages.base import PROMPT_CHARACTERS
from plutao.stages.card import write_card
from plutao.stages.common import budget, mixture_in_json
from plutao.stages.plain import describe, train
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train.budget import Budget
from plutao.train.loop import Evaluate, Sample, without_compiling
from plutao.train.objectives import Objective, next_token
from plutao.train.parallel import World
from plutao.train.progress import Progress
from plutao.train.truncated import Carrying, truncated

TRY = 'plutao complete {place} --stage recurrent --prompt "…"'
WINDOW = {"mlp": 8, "rnn": 64, "gru": 64, "lstm": 64}
"""Tokens of a window, where the recipe says nothing."""


def settings_of(recipe: Recipe) -> RecurrentSettings:
    assert recipe.recurrent is not None, "the recipe has no [recurrent] section"
    return recipe.recurrent


def inputs(project: Project) -> str:
    """Names what this stage depends on: its settings, the seed, the tokenizer and the documents."""
    settings = settings_of(project.recipe).model_dump(mode="json")
    context = project.recipe.model.context  # the length of the mlp's rows
    data = project.documents.name
    return fingerprint(["recurrent", settings, context, project.recipe.seed, project.tokenizer().fingerprint, data])


def shape(settings: RecurrentSettings, vocabulary: int) -> RecurrentConfig | WindowConfig:
    """The model that the recipe asks for."""
    s = settings
    if s.kind == "mlp":
        seen = s.window or WINDOW["mlp"]
        return WindowConfig(vocabulary, seen, s.layers, s.width, s.hidden, s.tied, s.residual, s.dropout)
    return RecurrentConfig(s.kind, vocabulary, s.layers, s.width, s.hidden, s.tied, s.residual, s.dropout)


def make(config: RecurrentConfig | WindowConfig, seed: int) -> RecurrentModel | WindowModel:
    """A model of that shape with fresh weights."""
    model = RecurrentModel(config) if isinstance(config, RecurrentConfig) else WindowModel(config)
    model.initialise(seed)
    return model


def check(recipe: Recipe, root: Path = Path()) -> None:
    """What can be refused before any long work: the precision, the compiler, a model that no memory holds.

    Raises:
        UserError: see above; the sentence says what to lower.
    """
    settings = settings_of(recipe)
    device = devices.choose(settings.precision, settings.compile)
    needed = 16 * shape(settings, recipe.tokenizer.vocabulary).parameters()  # weights, gradients, AdamW's two averages
    if device.kind == "cpu" and needed > (free := available_memory()):
        raise UserError(
            f"Training this {settings.kind} needs {needed / GIB:.1f} GiB of memory for its weights, gradients and optimizer, "
            f"and {free / GIB:.1f} GiB are free: lower recurrent.hidden, recurrent.width or recurrent.layers."
        )


def run(project: Project, world_: World, progress: Progress, minutes: float | None = None) -> None:
    """Trains the model of [recurrent] and stores it, measured, in the run.

    Args:
        minutes: wall time the training may take, in place of the recipe's own length.
    """
    recipe, settings = project.recipe, settings_of(project.recipe)
    tokenizer, documents, shards = project.tokenizer(), project.documents, project.shards()
    model = make(shape(settings, tokenizer.vocabulary_size), recipe.seed)
    device = devices.choose(settings.precision, settings.compile, world_.local_rank)
    learner, batches, objective, length = training_of(model, recipe, shards, world_, device)
    trained = train(
        project,
        "recurrent",
        learner,
        objective,
        batches,
        settings,
        plan(settings, shards, settings.batch * length, minutes),
        device,
        world_,
        progress,
        evaluate=validation(documents, tokenizer, settings.evaluate_tokens),
        sample=sampler(recipe, tokenizer, documents),
    )
    if not world_.first:
        return
    out = project.stage_dir("recurrent")
    model.to("cpu").eval()
    save(model, out, tokenizer, length, settings)
    results = describe(model.count_parameters(), device, trained, settings, recipe.seed)
    results |= {"kind": settings.kind, "window": length if settings.kind != "mlp" else settings.window or WINDOW["mlp"]}
    results |= {"data": mixture_in_json(batches.mixture())}
    with without_compiling(device):
        results["validation"] = measure(model, tokenizer, documents)
    write_card(out, "recurrent", inputs(project), results)


def training_of(
    model: RecurrentModel | WindowModel, recipe: Recipe, shards: ShardIndex, world_: World, device: devices.Device
) -> tuple[nn.Module, Any, Objective, int]:
    """What the loop needs: the module that learns, its batches, its objective, and the tokens of a row."""
    settings, seed, ranks = settings_of(recipe), recipe.seed, (world_.rank, world_.size)
    texts, weights = shards.open(), recipe.data.weights
    if isinstance(model, WindowModel):
        length = recipe.model.context
        rows = PretrainBatches(texts, weights, settings.batch, length, seed, "stream", *ranks)
        return model, rows, next_token(compiled=device.compiled), length
    length = settings.window or WINDOW[settings.kind]
    stretches = Stretches(texts, weights, settings.batch, length, settings.carry, seed, *ranks)
    learner = Carrying(model, settings.batch // world_.size)
    return learner, stretches, truncated(device.compiled), length


def plan(settings: RecurrentSettings, shards: ShardIndex, tokens_per_step: int, minutes: float | None) -> Budget:
    """How long to train; the time that measuring takes is kept back of `minutes`."""
    return budget(settings, shards.tokens(), tokens_per_step, minutes, shards.tokens("validation"))


def save(
    model: RecurrentModel | WindowModel, out: Path, tokenizer: Tokenizer, length: int, settings: RecurrentSettings
) -> None:
    """Writes the model's folder: shape, weights, tokenizer."""
    trained_with = {"trained_window": length, "trained_carry": settings.carry if settings.kind != "mlp" else 1}
    if isinstance(model, WindowModel):
        window.save(model, out, eos=tokenizer.end_of_text)
    else:
        recurrent.save(model, out, eos=tokenizer.end_of_text, trained_with=dict(trained_with))
    tokenizer.save(out)


def language_model(module: nn.Module) -> RecurrentModel | WindowModel:
    """The language model inside the module that learns."""
    inner = module.model if isinstance(module, Carrying) else module
    assert isinstance(inner, RecurrentModel | WindowModel)
    return inner


def validation(documents: Path, tokenizer: Tokenizer, tokens: int) -> Evaluate:
    """A quick measure for the way: the first `tokens` tokens or so of the validation text."""
    some, have = [], 0
    for document in validation_texts(documents, limit=8 * tokens):
        ids = tokenizer.encode(document.text)[: tokens - have]
        some.append(tokenizer.decode(ids))
        have += len(ids)
        if have >= tokens:
            break

    def evaluate(module: nn.Module) -> dict[str, float]:
        measured = bits_per_byte(language_model(module), tokenizer, some)
        comparable = {} if measured.bits_per_byte is None else {"bits_per_byte": measured.bits_per_byte}
        return {"loss": math.log(measured.perplexity), **comparable}

    return evaluate


def sampler(recipe: Recipe, tokenizer: Tokenizer, documents: Path) -> Sample:
    """Lets the model continue a few texts while it learns: the recipe's prompts, or how validation documents begin."""
    settings = settings_of(recipe)
    prompts = list(settings.sample_prompts)
    if not prompts:
        prompts = [document.text[:PROMPT_CHARACTERS] for document in validation_texts(documents, limit=100_000)][:3]
    sampling = Sampling(temperature=0.8, max_tokens=settings.sample_tokens, seed=recipe.seed)

    def sample(module: nn.Module) -> list[dict[str, str]]:
        completions = Writer(language_model(module), tokenizer).complete(prompts, sampling)
        return [{"prompt": prompt, "text": some[0].text} for prompt, some in zip(prompts, completions, strict=True)]

    return sample


def measure(model: RecurrentModel | WindowModel, tokenizer: Tokenizer, documents: Path) -> dict[str, Any]:
    """Bits per byte of the whole validation text."""
    texts = ((document.text, document.language or "") for document in validation_texts(documents))
    return bits_per_byte(model, tokenizer, texts).as_json()
