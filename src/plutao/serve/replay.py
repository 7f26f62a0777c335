"""A stored answer written once more, from what it came from: the same weights, tokens, settings and seed."""

import struct
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from plutao.errors import UserError
from plutao.generate.answers import Completion
from plutao.generate.chat import derive
from plutao.generate.engine import load_engine
from plutao.generate.grammar import Grammar
from plutao.generate.sampling import Sampling
from plutao.serve.backend.catalogue import Catalogue
from plutao.serve.backend.contract import ModelCard
from plutao.serve.database import Database
from plutao.serve.tables.answers import Answer


@dataclass(frozen=True)
class Replayed:
    """What came of it.

    Attributes:
        same: token for token.
        difference: the largest between the log-probabilities, in nats.
    """

    id: str
    text: str
    then: str
    same: bool
    difference: float

    def as_json(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def replay(database: Database, root: Path, id: str) -> Replayed:
    """Writes a stored answer again, up to the first tool's result, which came from elsewhere.

    Args:
        id: as the API told it; of n answers `…-1` is the second.

    Raises:
        UserError: nothing is kept under that name, its model is gone or was trained anew, or it is another engine's.
    """
    row = find(database, id)
    tokens = read_numbers("i", row.tokens)
    written = list(row.sampling.get("written", []))
    settings = row.sampling.get("settings")
    if settings is None or not row.prompt_tokens:
        raise UserError(f"{id} came from an upstream engine, which does not tell what is needed to write it again.")
    card = card_of(row, root)
    first = written.index(0) if 0 in written else len(tokens)
    completion = write(card, row, sampling_from(settings))
    then = read_numbers("f", row.log_probabilities)[:first]
    pairs = zip(completion.token_logprobs, then, strict=False)
    return Replayed(
        id=row.id,
        text=completion.text,
        then=row.text,
        same=completion.tokens[:first] == tokens[:first],
        difference=max((abs(one - other) for one, other in pairs), default=0.0),
    )


def find(database: Database, id: str) -> Answer:
    with database.reading() as db:
        row = db.get(Answer, id) or db.get(Answer, f"{id}-0")
    if row is None:
        raise UserError(
            f"No answer is kept under {id!r}: answers are kept where a key or a request consents (store: true)."
        )
    return row


def card_of(row: Answer, root: Path) -> ModelCard:
    """The model that wrote it, with these very weights."""
    card = next((card for card in Catalogue(root).cards() if card.fingerprint == row.fingerprint), None)
    if card is None or card.folder is None:
        raise UserError(
            f"The model that wrote it, {row.model} with weights {row.fingerprint[:16]}, is not in {root} any more: put its "
            "folder back."
        )
    return card


def sampling_from(settings: dict[str, Any]) -> Sampling:
    """The settings as they were stored."""
    known = {field.name for field in fields(Sampling)}
    values = {name: value for name, value in settings.items() if name in known}
    for name in ("stop", "end_tokens"):
        values[name] = None if values.get(name) is None else tuple(values[name])
    values["logit_bias"] = tuple((int(token), float(bias)) for token, bias in values.get("logit_bias") or ())
    values["grammar"] = Grammar(**values["grammar"]) if values.get("grammar") else None
    return Sampling(**values)


def write(card: ModelCard, row: Answer, sampling: Sampling) -> Completion:
    """The tokens once more, by the engine; conversations draw from numbers that depend on what was said."""
    assert card.folder is not None, "a model of ours lies in a folder"
    prompt = read_numbers("i", row.prompt_tokens)
    if card.chats and row.endpoint != "completions":
        sampling = replace(sampling, seed=derive(row.seed, prompt))
    [completions] = load_engine(card.folder, slots=min(sampling.drawn, 16)).complete([prompt], sampling)
    return completions[row.index]


def read_numbers(form: str, data: bytes) -> list[Any]:
    return list(struct.unpack(f"<{len(data) // 4}{form}", data))
