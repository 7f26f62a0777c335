"""The conversations that show how to answer: read, split and encoded for stage sft, and for stage rl where it mixes them in."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plutao.data.conversation_batches import ConversationBatches, ConversationStore, fitted
from plutao.data.conversations import Conversation, lot
from plutao.data.pack import PretrainBatches
from plutao.data.sources.rows import BadRows
from plutao.errors import UserError
from plutao.files import write_text
from plutao.project import Project
from plutao.recipe import Recipe, SftSettings
from plutao.stages.examples import OWN, Place, conversations_of, places
from plutao.text.chat import Encoded, encode_many_for_learning
from plutao.text.tokenizer import Tokenizer
from plutao.train.parallel import World

FOLDER = "conversations"  # below data/: what people of the project wrote
KEPT = 1_000  # held-out conversations written beside the model
AT_ONCE = 2_000  # conversations encoded together


def settings_of(recipe: Recipe) -> SftSettings:
    assert recipe.sft is not None, "the recipe has no [sft] section"
    return recipe.sft


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
        replay = PretrainBatches(project.shards().open(), recipe.data.weights, 1, context, recipe.seed)
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
