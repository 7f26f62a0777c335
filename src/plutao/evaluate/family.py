"""What each step from n-grams to the Transformer bought: the same measures for every member of the family, side by side.

How much context a model really uses is measured, not read off its shape: the loss on a token is taken when only the last
k tokens before it are shown, for k = 1, 2, 4 …; the smallest k whose loss is within 1% of the loss with all that the model
is shown is what it uses.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from plutao.data.shards import ShardIndex
from plutao.evaluate.perplexity import Layered, at_rest
from plutao.generate.sampling import Sampling
from plutao.generate.writer import load_writer
from plutao.models.decoder import Decoder
from plutao.models.language import DecoderLanguageModel, LanguageModel, load_language_model, target_log_probabilities

ROWS = 768
"""Places of the validation text at which the used context is measured."""
ROWS_AT_ONCE = 32
WITHIN = 0.01
"""A loss this near to the full one is as good."""
WRITTEN = 200
"""Tokens written to measure the speed of writing."""


@dataclass(frozen=True)
class Member:
    """One member, measured."""

    name: str
    folder: str
    bits_per_byte: float | None
    low: float | None
    high: float | None
    perplexity: float
    parameters: int
    tokens: int
    """Read while training, each time one was read."""
    seconds: float
    """Of training."""
    tokens_per_second: float
    """Of training."""
    written_per_second: float
    """Tokens of one text, written one after the other."""
    bytes: int
    """Of the model's file, which is what it takes in memory to be used."""
    peak_memory: int | None
    """Bytes that training took at the most."""
    shown: int
    """Tokens of context it was shown (its reach, where that is less)."""
    used: int
    """Of these, how many it needs for a loss within 1% of the full one."""
    losses: tuple[tuple[int, float], ...]
    """(k, nats per token with the last k tokens alone)."""
    text: str
    """What it wrote after the prompt."""
    exam: dict[str, float] | None = None
    """Share of the world's exam, where the text is a world's."""

    @property
    def share_used(self) -> float:
        """Share of the context it is shown that it really uses."""
        return self.used / max(self.shown, 1)


@dataclass(frozen=True)
class Family:
    """All members on one text."""

    recipe: str
    minutes: float
    training_tokens: int
    validation_bytes: int
    vocabulary: int
    prompt: str
    members: tuple[Member, ...]

    def as_json(self) -> dict[str, Any]:
        members = [asdict(member) | {"share_used": member.share_used} for member in self.members]
        return asdict(self) | {"members": members}


def measure_member(
    name: str, folder: Path, card: dict[str, Any], rows: Int[Tensor, "N L"], prompt: str, seed: int
) -> Member:
    """Everything that is compared of one trained model.

    Args:
        card: of its stage (stage.json).
        rows: validation text, the last token of each row to be foretold (`rows_of`).
    """
    model = load_language_model(folder)
    losses = losses_by_context(model, rows)
    full = losses[-1][1]
    used = next(k for k, loss in losses if loss <= (1 + WITHIN) * full)
    speed, text = writing(folder, prompt, seed)
    measured, exam = card["validation"], card.get("exam")
    return Member(
        name=name,
        folder=f"{folder.parent.parent.name}/{folder.parent.name}:{folder.name}",
        bits_per_byte=measured.get("bits_per_byte"),
        low=measured.get("low"),
        high=measured.get("high"),
        perplexity=measured["perplexity"],
        parameters=model.count_parameters(),
        tokens=card["tokens"],
        seconds=card["seconds"],
        tokens_per_second=card["tokens_per_second"],
        written_per_second=speed,
        bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
        peak_memory=card.get("peak_memory"),
        shown=losses[-1][0],
        used=used,
        losses=tuple(losses),
        text=text,
        exam=None if exam is None else exam["overall"],
    )


def rows_of(shards: ShardIndex, length: int, end_of_text: int, rows: int = ROWS) -> Int[Tensor, "N L"]:
    """Rows of `length` + 1 validation tokens, spread evenly over the places that have the most of their own document before
    them: where texts are short, a row begins in the text before.
    """
    arrays = [np.asarray(shard.tokens, dtype=np.int64) for shard in shards.open("validation").values()]
    stream = np.concatenate(arrays)
    length = min(length, len(stream) - 2)
    places = np.arange(len(stream))
    depth = places - np.maximum.accumulate(np.where(stream == end_of_text, places, 0))
    allowed = (places >= length) & (stream != end_of_text)
    deep = min(length, int(np.quantile(depth[allowed], 0.75)))
    chosen = np.flatnonzero(allowed & (depth >= deep))
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(rows, len(chosen))).astype(int)]
    return torch.from_numpy(np.stack([stream[place - length : place + 1] for place in chosen]))


def losses_by_context(model: LanguageModel, rows: Int[Tensor, "N L"]) -> list[tuple[int, float]]:
    """(k, mean nats of the rows' last tokens, foretold from the k before them): k = 1, 2, 4 … and all."""
    longest = rows.shape[1] - 1
    if model.reach is not None:
        longest = min(longest, max(model.reach, 1))
    lengths = [1 << power for power in range(longest.bit_length()) if 1 << power < longest] + [longest]
    return [(k, float(last_nats(model, rows[:, -k - 1 :]).mean())) for k in lengths]


@torch.inference_mode()
def last_nats(model: LanguageModel, rows: Int[Tensor, "N L"]) -> Float[Tensor, " N"]:
    """−ln p of each row's last token after the others."""
    network: object = model.decoder if isinstance(model, DecoderLanguageModel) else model
    found = []
    with at_rest(network):
        for some in torch.split(rows, ROWS_AT_ONCE):
            tokens, targets = some[:, :-1], some[:, -1:]
            if isinstance(network, nn.Module) and isinstance(network, Layered):
                logits = network.logits(network.hidden(tokens)[:, -1])
                nats = -logits.float().log_softmax(-1).gather(1, targets)
            else:
                nats = -target_log_probabilities(model, tokens, targets.expand_as(tokens).contiguous())[:, -1:]
            found.append(nats[:, 0])
    return torch.cat(found)


def writing(folder: Path, prompt: str, seed: int) -> tuple[float, str]:
    """(tokens a second when one text is written, what is written after the prompt up to a length that can be shown)."""
    writer = load_writer(folder, slots=1)
    sampling = Sampling(temperature=0.8, max_tokens=WRITTEN, seed=seed, end_tokens=())
    context = writer.model.config.context if isinstance(writer.model, Decoder) else WRITTEN + 64
    few = Sampling(max_tokens=2, seed=seed, end_tokens=())
    writer.complete([prompt], few)  # what is compiled or mapped the first time
    started = time.perf_counter()
    [[completion]] = writer.complete([prompt], Sampling(**{**vars(sampling), "max_tokens": min(WRITTEN, context // 2)}))
    speed = len(completion.tokens) / (time.perf_counter() - started)
    [[shown]] = writer.complete([prompt], Sampling(temperature=0.8, max_tokens=60, seed=seed))
    return speed, shown.text
