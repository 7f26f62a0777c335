"""What every language model of the family promises, from counted n-grams to the Transformer: the probability of the next token.

An n-gram model, a feed-forward network over a window, an RNN, an LSTM and a decoder differ in what they remember; asked
for the token after a text, they all answer alike. What measures, writes and compares goes by this promise alone.

Letters: B rows, T positions, V tokens of the vocabulary.
"""

import importlib
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plutao.errors import UserError
from plutao.files import read_json
from plutao.models.decoder import Decoder

State = Any
"""What a model keeps of the tokens it has read; only the model itself looks into it, and never changes it in place."""

KINDS = {
    "plutao-ngram": "plutao.models.ngram",
    "plutao-mlp": "plutao.models.window",
    "plutao-rnn": "plutao.models.recurrent",
    "plutao-gru": "plutao.models.recurrent",
    "plutao-lstm": "plutao.models.recurrent",
}
"""config.json's model_type → the module whose load(folder) gives the model; other folders hold decoders."""


@runtime_checkable
class LanguageModel(Protocol):
    """Gives every token's probability of being next."""

    @property
    def vocabulary(self) -> int:
        """Tokens it knows (V)."""
        ...

    @property
    def reach(self) -> int | None:
        """Tokens it can look back on; None: no bound (a recurrent state)."""
        ...

    def log_probabilities(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Natural logarithms of the probabilities of the token after each place, from the tokens of its row up to there.

        Rows may be longer than the reach (each place then sees its last `reach` tokens), except a decoder's.
        """
        ...

    def start(self, rows: int) -> State:
        """The state of `rows` texts of which nothing has been read."""
        ...

    def advance(self, tokens: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Reads one more token in each row: the log-probabilities of what comes after it, and the state by then."""
        ...

    def count_parameters(self) -> int:
        """How many numbers it has learned."""
        ...


@runtime_checkable
class TargetScorer(Protocol):
    """A language model that looks single tokens up faster than it gives all their probabilities (n-grams)."""

    def target_log_probabilities(self, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """`log_probabilities`, of the targets alone."""
        ...


def target_log_probabilities(
    model: LanguageModel, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Natural logarithm of the probability of each target after the tokens up to its place."""
    if isinstance(model, TargetScorer):
        return model.target_log_probabilities(tokens, targets)
    return model.log_probabilities(tokens).gather(2, targets.unsqueeze(2)).squeeze(2)


def kind_of(folder: Path) -> str:
    """What a folder's config.json calls its model.

    Raises:
        UserError: there is none.
    """
    config = read_json(folder / "config.json")
    return str(config.get("model_type", "")) if isinstance(config, dict) else ""


def is_decoder(folder: Path) -> bool:
    """Whether the model in a folder is none of our own kinds, but one that the engine writes with."""
    return not kind_of(folder).startswith("plutao-")


def load_language_model(folder: Path) -> LanguageModel:
    """The language model in a folder, of whatever kind its config.json names, on the CPU.

    Raises:
        UserError: there is no model, or it is none that gives the probability of the next token.
    """
    kind = kind_of(folder)
    if kind in KINDS:
        loaded: LanguageModel = importlib.import_module(KINDS[kind]).load(folder)
        return loaded
    if kind.startswith("plutao-"):
        raise UserError(
            f"{folder} holds a model of kind {kind!r}, which does not continue texts: name a language model."
        )
    from plutao.models.interop.huggingface import load_model

    return DecoderLanguageModel(load_model(folder))


# ---------------------------------------------------------------------------------------------------------------------
# The decoder as a member of the family


class GrowingCache:
    """Keys and values of all tokens read so far, a layer each; every new token may look at all of them.

    `update` leaves the cache it was called on as it was: `grown` is the cache after the pass.
    """

    def __init__(self, layers: tuple[tuple[Tensor, Tensor], ...] = ()) -> None:
        self.layers = layers
        self.grown: list[tuple[Tensor, Tensor]] = []

    @property
    def length(self) -> int:
        """Positions held."""
        return self.layers[0][0].shape[2] if self.layers else 0

    def update(
        self, layer: int, keys: Float[Tensor, "B Hkv T Dh"], values: Float[Tensor, "B Hkv T Dh"]
    ) -> tuple[Float[Tensor, "B Hkv S Dh"], Float[Tensor, "B Hkv S Dh"], Bool[Tensor, "B 1 T S"]]:
        before = self.length
        if self.layers:
            old_keys, old_values = self.layers[layer]
            keys, values = torch.cat((old_keys, keys), 2), torch.cat((old_values, values), 2)
        self.grown.append((keys, values))
        rows, new = keys.shape[0], keys.shape[2] - before
        may_look = torch.ones(new, before + new, dtype=torch.bool, device=keys.device).tril(before)
        return keys, values, may_look.expand(rows, 1, new, before + new)


class DecoderLanguageModel:
    """A decoder seen as a language model. Its state is what it has read, with keys and values."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder.eval()

    @property
    def vocabulary(self) -> int:
        return self.decoder.config.vocabulary

    @property
    def reach(self) -> int | None:
        return self.decoder.config.context

    def count_parameters(self) -> int:
        return self.decoder.config.parameters()

    @torch.inference_mode()
    def log_probabilities(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        logits: Tensor = self.decoder(tokens)
        return logits.float().log_softmax(-1)

    def start(self, rows: int) -> State:
        return torch.zeros(rows, 0, dtype=torch.long), GrowingCache()

    @torch.inference_mode()
    def advance(self, tokens: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """A context that is full is read anew from its later half, so that the next tokens have room."""
        read, cache = state
        read = torch.cat((read, tokens.unsqueeze(1)), 1)
        new = tokens.unsqueeze(1)
        if cache.length == self.decoder.config.context:
            new = read = read[:, -(self.decoder.config.context // 2) :]
            cache = GrowingCache()
        places = torch.arange(cache.length, cache.length + new.shape[1]).expand_as(new)
        logits = self.decoder(new, cache, places)[:, -1]
        return logits.float().log_softmax(-1), (read, GrowingCache(tuple(cache.grown)))
