"""Stage 2 · supervised fine-tuning: the base model learns to answer, from conversations people wrote (the book's section 3.1)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from plutao.data.conversation_batches import pack_all
from plutao.data.conversations import Conversation
from plutao.data.pack import NOT_LEARNED, PackedBatch
from plutao.evaluate.chat_exam import take_chat_exam
from plutao.evaluate.intervals import bootstrap_ratio
from plutao.evaluate.responders import ChatResponder
from plutao.files import fingerprint
from plutao.generate.chat import Chat
from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.generate.tools import Calculator
from plutao.models.decoder import Decoder
from plutao.project import Project
from plutao.recipe import Recipe
from plutao.stages.card import read_card, write_card
from plutao.stages.common import (
    budget,
    describe,
    mixture_in_json,
    noncommercial,
    row_length,
    save_chat_model,
    train,
)
from plutao.stages.demonstrations import FOLDER, batches_of, keep_held_out, read, settings_of
from plutao.stages.examples import check_sources, identity, places
from plutao.text.chat import Messages
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train.device import Device
from plutao.train.loop import Evaluate, Sample, without_compiling
from plutao.train.objectives import next_token
from plutao.train.parallel import World
from plutao.train.progress import Progress
from plutao.worlds import world

VALIDATION_TOKENS = 32_768  # looked at on the way, about; the last measure sees all
SAMPLES = 3  # held-out prompts that are answered on the way
EXAM_TOKENS = 40  # of an exam's answer, about
Numbers = npt.NDArray[np.float64]


def inputs(project: Project) -> str:
    """Names what this stage depends on: its settings, the seed, the context, the base model and the conversations."""
    recipe = project.recipe
    settings = settings_of(recipe)
    given = [settings.model_dump(mode="json"), recipe.seed, recipe.model.context, recipe.data.bad_rows]
    base = read_card(project.stage_dir("base"))["inputs"]
    return fingerprint(["sft", given, base, identity(places(settings.sources, project.root, FOLDER))])


def check(recipe: Recipe, root: Path | None = None) -> None:
    """What can be refused before any long work; with the project's folder, also what is not there.

    Raises:
        UserError: no conversations, two sources of one name, weights for some only, a corpus that can't be had.
    """
    settings = settings_of(recipe)
    devices.choose(settings.precision, settings.compile)
    check_sources("sft", settings.sources, root, FOLDER)


# ---------------------------------------------------------------------------------------------------------------------
# The stage


def run(project: Project, world_: World, progress: Progress, minutes: float | None = None) -> None:
    """Fine-tunes the base model and stores it as an assistant, measured, in the run.

    Args:
        minutes: wall time the training may take, in place of the recipe's own length.
    """
    recipe, settings = project.recipe, settings_of(project.recipe)
    tokenizer, model = project.tokenizer(), project.model("base")
    config, context = model.config, row_length(recipe, model.config)
    made = read(project, tokenizer, context)
    batches = batches_of(project, tokenizer, made, context, world_)
    device = devices.choose(settings.precision, settings.compile, world_.local_rank)
    held = {
        name: list(pack_all({name: store}, context, tokenizer.pad, settings.micro_batch or 4))
        for name, store in made.validation.items()
    }
    length = budget(settings, batches.tokens_per_epoch, settings.batch * context, minutes, measuring(held, recipe))
    trained = train(
        project,
        "sft",
        model,
        config,
        next_token(0.0, device.compiled),
        batches,
        settings,
        length,
        device,
        world_,
        progress,
        evaluate=validation(held, device),
        sample=sampler(recipe, tokenizer, made.held_out),
    )
    if not world_.first:
        return
    out = project.stage_dir("sft")
    keep_held_out(made.held_out, out)
    save_chat_model(model, tokenizer, out)
    results = describe(config, device, trained, settings, recipe)
    results |= {"data": mixture_in_json(batches.mixture()), "sources": made.card, "filled": round(batches.filled, 4)}
    results["noncommercial"] = noncommercial(made.licenses)
    with without_compiling(device):
        results |= measure(model, tokenizer, held, recipe)
    write_card(out, "sft", inputs(project), results)


def measuring(held: Mapping[str, Sequence[PackedBatch]], recipe: Recipe) -> int:
    """Tokens that measuring reads at the end; those that an exam writes count six times, for writing takes so much longer."""
    read = sum(batch.tokens.numel() for batches in held.values() for batch in batches)
    questions = sum(len(world(name).questions("exam", None, recipe.seed)) for name in worlds_of(recipe))
    return read + 6 * EXAM_TOKENS * questions


def worlds_of(recipe: Recipe) -> list[str]:
    """The worlds that the conversations are of."""
    return sorted({source.world for source in settings_of(recipe).sources if source.world})


def validation(held: Mapping[str, Sequence[PackedBatch]], device: Device) -> Evaluate:
    """A quick measure for the way: the loss of the assistant's tokens in some held-out rows, spread over all sources."""
    rows = [batch for batches in held.values() for batch in batches]
    every = max(1, sum(batch.tokens.numel() for batch in rows) // VALIDATION_TOKENS)
    some = rows[::every]

    def evaluate(model: nn.Module) -> dict[str, float]:
        with device.autocast():
            losses, counts = answer_losses(model, some)
        return {"loss": float(losses.sum() / counts.sum())}

    return evaluate


@torch.no_grad()
def answer_losses(model: nn.Module, batches: Sequence[PackedBatch]) -> tuple[Numbers, Numbers]:
    """For each conversation, the nats that its learned tokens cost in all, and how many there are: two arrays (conversations,)."""
    assert isinstance(model, Decoder)
    place = model.embedding.weight.device
    sums, counts = [], []
    for batch in batches:
        batch = batch.to(place)
        hidden = model.hidden(batch.tokens, segments=batch.segments)
        learned = batch.targets != NOT_LEARNED
        nats = F.cross_entropy(model.logits(hidden[learned]).float(), batch.targets[learned], reduction="none")
        row, most = learned.nonzero()[:, 0], int(batch.segments.max())
        which = row * most + batch.segments[learned] - 1
        total = torch.zeros(batch.rows * most, device=place).index_add(0, which, nats)
        count = torch.bincount(which, minlength=batch.rows * most)
        sums.append(total[count > 0].cpu().double().numpy())
        counts.append(count[count > 0].cpu().double().numpy())
    return np.concatenate(sums), np.concatenate(counts)


def sampler(recipe: Recipe, tokenizer: Tokenizer, held: Sequence[Conversation]) -> Sample:
    """Lets the model answer a few held-out prompts while it learns, the languages in turn."""
    prompts = [asked(conversation) for conversation in in_turn(held)[:SAMPLES]]
    sampling = Sampling(temperature=0.0, max_tokens=settings_of(recipe).sample_tokens, seed=recipe.seed)

    def sample(model: nn.Module) -> list[dict[str, str]]:
        assert isinstance(model, Decoder)
        replies = Chat(Engine(model, tokenizer), (Calculator(),)).answer(prompts, sampling)
        return [
            {"prompt": prompt[-1].content, "text": in_a_line(some[0].messages)}
            for prompt, some in zip(prompts, replies, strict=True)
        ]

    return sample


def in_a_line(messages: Messages) -> str:
    """An answer with the calls that it made and what came back."""
    said = []
    for message in messages:
        calls = " ".join(call.text() for call in message.tool_calls)
        said.append(f"→ {message.content}" if message.role == "tool" else f"{message.content} {calls}".strip())
    return " ".join(said)


def asked(conversation: Conversation) -> Messages:
    """The conversation up to its first question."""
    first = next(number for number, message in enumerate(conversation.messages) if message.role == "assistant")
    return conversation.messages[:first]


def in_turn(held: Sequence[Conversation]) -> list[Conversation]:
    """Held-out conversations, the languages in turn; no prompt twice."""
    once = list({asked(conversation): conversation for conversation in held}.values())
    by_language: dict[str | None, list[Conversation]] = {}
    for conversation in once:
        by_language.setdefault(conversation.language, []).append(conversation)
    columns = list(by_language.values())
    longest = max(map(len, columns), default=0)
    return [column[place] for place in range(longest) for column in columns if place < len(column)]


def measure(
    model: Decoder, tokenizer: Tokenizer, held: Mapping[str, Sequence[PackedBatch]], recipe: Recipe
) -> dict[str, Any]:
    """The loss of all held-out answers, in all and by source, and the exam of each world that the conversations are of."""
    by_source = {name: answer_losses(model, batches) for name, batches in held.items()}
    losses, counts = (np.concatenate(parts) for parts in zip(*by_source.values(), strict=True))
    low, high = bootstrap_ratio(losses, counts) or (None, None)
    value = loss_of(losses, counts)["loss"]
    measured = loss_of(losses, counts) | {"low": low, "high": high, "perplexity": float(np.exp(value))}
    measured["by_source"] = {name: loss_of(*of_one) for name, of_one in by_source.items()}
    results: dict[str, Any] = {"validation": measured}
    for name in worlds_of(recipe):
        chat = Chat(Engine(model, tokenizer, slots=64), (Calculator(),))
        questions = world(name).questions("exam", None, recipe.seed)
        exam = take_chat_exam(ChatResponder(chat), world(name), questions, seed=recipe.seed)
        results["exam"] = exam.as_json()
    return results


def loss_of(losses: Numbers, counts: Numbers) -> dict[str, Any]:
    """Nats per learned token, and of how many."""
    return {
        "loss": float(losses.sum() / counts.sum()),
        "tokens": int(counts.sum()),
        "conversations": len(counts),
    }
