"""Stage 2 · supervised fine-tuning: the base model learns to answer, from conversations people wrote (the book's section 3.1)."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from plutao.data.conversation_batches import ConversationBatches, ConversationStore, fitted, pack_all
from plutao.data.conversations import Conversation, lot
from plutao.data.pack import NOT_LEARNED, PackedBatch, PretrainBatches
from plutao.data.sources.rows import BadRows
from plutao.errors import UserError
from plutao.evaluate.chat_exam import take_chat_exam
from plutao.evaluate.intervals import bootstrap_ratio
from plutao.evaluate.responders import ChatResponder
from plutao.files import fingerprint, write_text
from plutao.generate.chat import Chat
from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.generate.tools import Calculator
from plutao.models.decoder import Decoder
from plutao.project import Project
from plutao.recipe import Recipe, SftSettings
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
from plutao.stages.examples import OWN, Place, check_sources, conversations_of, identity, places
from plutao.text.chat import Encoded, Messages, encode_many_for_learning
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train.device import Device
from plutao.train.loop import Evaluate, Sample, without_compiling
from plutao.train.objectives import next_token
from plutao.train.parallel import World
from plutao.train.progress import Progress
from plutao.worlds import world

FOLDER = "conversations"  # below data/: what people of the project wrote
VALIDATION_TOKENS = 32_768  # looked at on the way, about; the last measure sees all
SAMPLES = 3  # held-out prompts that are answered on the way
KEPT = 1_000  # held-out conversations written beside the model
AT_ONCE = 2_000  # conversations encoded together
EXAM_TOKENS = 40  # of an exam's answer, about
Numbers = npt.NDArray[np.float64]


def settings_of(recipe: Recipe) -> SftSettings:
    assert recipe.sft is not None, "the recipe has no [sft] section"
    return recipe.sft


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
# The data


@dataclass
class Conversations:
    """The conversations of all sources, encoded: those to learn from, those kept aside, and what became of the others."""

    train: dict[str, ConversationStore] = field(default_factory=dict)
    validation: dict[str, ConversationStore] = field(default_factory=dict)
    held_out: list[Conversation] = field(default_factory=list)
    card: dict[str, dict[str, Any]] = field(default_factory=dict)
    licenses: dict[str, str] = field(default_factory=dict)


def read(project: Project, tokenizer: Tokenizer, context: int) -> Conversations:
    """Reads, splits and encodes the conversations of the recipe, and those that people wrote into data/conversations.

    Raises:
        UserError: a row that does not fit, an exchange longer than the context (where bad rows are refused), or too
            few conversations to keep any aside.
    """
    recipe, settings = project.recipe, settings_of(project.recipe)
    made = Conversations()
    sources: list[tuple[Place, BadRows, list[Conversation]]] = []
    for place in places(settings.sources, project.root, FOLDER):
        # Nobody can mend a world's rows.
        bad = BadRows(recipe.data.bad_rows if place.path is not None else "skip")
        sources.append((place, bad, conversations_of(place, recipe.seed, bad)))
    lots = [[lot(conversation.messages, recipe.seed) for conversation in found] for _, _, found in sources]
    below = threshold([each for of_one in lots for each in of_one], settings.validation)
    for (place, bad, found), of_one in zip(sources, lots, strict=True):
        encode_source(made, place, found, [each < below for each in of_one], tokenizer, context, bad)
    made.train = {name: store for name, store in made.train.items() if len(store)}
    made.validation = {name: store for name, store in made.validation.items() if len(store)}
    if not made.train or not made.validation:
        raise UserError(
            "There are too few conversations to learn from some and keep others aside: there must be at least two that open "
            "differently. Add some, or raise sft.validation."
        )
    return made


def threshold(lots: Sequence[float], share: float) -> float:
    """Conversations with lots below it are kept aside: about `share` of them, but those of one opening at least."""
    least = min(lots)
    return share if least < share else min((each for each in lots if each > least), default=least)


def encode_source(
    made: Conversations,
    place: Place,
    found: Sequence[Conversation],
    aside: Sequence[bool],
    tokenizer: Tokenizer,
    context: int,
    bad: BadRows,
) -> None:
    """Encodes a source's conversations and adds them to what is made: to learn from, or kept aside."""
    cut: list[int] = []
    sides: tuple[list[Encoded], list[Encoded]] = ([], [])
    wholes = (
        encoded
        for start in range(0, len(found), AT_ONCE)
        for encoded in encode_many_for_learning(tokenizer, [c.messages for c in found[start : start + AT_ONCE]])
    )
    for conversation, whole, kept in zip(found, wholes, aside, strict=True):
        encoded = fit_or_refuse(tokenizer, conversation, whole, context, bad, cut)
        if encoded is not None:
            sides[kept].append(encoded)
            made.held_out += [conversation] if kept else []
    made.train[place.name], made.validation[place.name] = (ConversationStore(side) for side in sides)
    made.card[place.name] = describe_source(place, found, made, bad, cut)
    made.licenses[place.name] = ", ".join(made.card[place.name]["licenses"])


def fit_or_refuse(
    tokenizer: Tokenizer, conversation: Conversation, whole: Encoded, context: int, bad: BadRows, cut: list[int]
) -> Encoded | None:
    """A conversation encoded, its earliest turns left out if it must be (their number goes to `cut`); None where it can't be."""
    found = fitted(tokenizer, conversation.messages, context, whole)
    if found is None:
        bad.found(
            "longer than the context",
            f"Conversation {conversation.id} of source {conversation.source!r}: a single exchange is longer than the "
            f"{context} tokens that model.context allows.",
        )
        return None
    encoded, left_out = found
    if left_out:
        cut.append(left_out)
    return encoded


def describe_source(
    place: Place, found: Sequence[Conversation], made: Conversations, bad: BadRows, cut: Sequence[int]
) -> dict[str, Any]:
    """What the card says of a source."""
    train, validation = made.train[place.name], made.validation[place.name]
    return {
        "origin": place.origin,
        "conversations": len(train),
        "validation": len(validation),
        "tokens": train.tokens,
        "learned_tokens": train.learned,
        "languages": dict(Counter(each.language or "unknown" for each in found).most_common()),
        "licenses": dict(Counter(each.license or "unknown" for each in found).most_common()),
        "cut": {"conversations": len(cut), "turns": sum(cut)},
        "skipped": dict(bad.counts),
        "skipped_examples": bad.examples,
    }


def keep_held_out(conversations: Sequence[Conversation], out: Path) -> None:
    """held_out.jsonl: conversations that training never saw, for whoever wants to compare answers."""
    rows = [
        {
            "id": each.id,
            "source": each.source,
            "language": each.language,
            "messages": [m.as_json() for m in each.messages],
        }
        for each in conversations[:KEPT]
    ]
    write_text(out / "held_out.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def weights_of(settings: SftSettings, made: Conversations) -> dict[str, float | None]:
    """Each source's share; where the recipe gives shares, people's own conversations are read as often as the others on average."""
    weights = {source.name: source.weight for source in settings.sources if source.name in made.train}
    given = sum(weight or 0.0 for weight in weights.values())
    if given and OWN in made.train:
        others = sum(store.tokens for name, store in made.train.items() if name != OWN)
        weights[OWN] = given * made.train[OWN].tokens / others
    return weights


def batches_of(
    project: Project, tokenizer: Tokenizer, made: Conversations, context: int, world_: World, batch: int | None = None
) -> ConversationBatches:
    """The rows that are learned from, pretraining text among them where the recipe asks for it; `batch` of them a step."""
    recipe, settings = project.recipe, settings_of(project.recipe)
    replay = None
    if settings.replay:
        weights = {source.name: source.weight for source in recipe.data.sources}
        replay = PretrainBatches(project.shards().open(), weights, 1, context, recipe.seed)
    return ConversationBatches(
        made.train,
        weights_of(settings, made),
        batch or settings.batch,
        context,
        recipe.seed,
        tokenizer.pad,
        world_.rank,
        world_.size,
        replay,
        settings.replay,
    )


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
