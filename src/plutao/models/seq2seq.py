"""Encoder and decoder: a sentence is read whole, then another one is written token by token (the book's sections 4.2 and 4.5).

Three kinds, each a step of the history that the book tells:

    rnn          one recurrent network reads, another writes; a vector is all that passes (Sutskever et al. 2014, Cho et al. 2014)
    attention    for each word that it writes the decoder looks back at all that was read (Bahdanau et al. 2015)
    transformer  nothing but attention (Vaswani et al. 2017)

All keep one promise, `Seq2Seq`: training, searching and looking inside know no kind. Letters: B rows, S source tokens, T target
tokens, D the width, V the vocabulary, L layers, H heads.
"""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from plutao.errors import UserError
from plutao.files import read_json, write_json
from plutao.models.interop.weights import WHOLE, Weights, write_weights

Kind = Literal["rnn", "attention", "transformer"]
Cell = Literal["lstm", "gru"]
State = dict[str, Tensor]
"""What a decoder keeps between two tokens: tensors (B, …). Those called `memory…` tell what was read, and never change."""
MODEL_TYPE = "plutao-translation"


@dataclass(frozen=True)
class Seq2SeqConfig:
    """An encoder's and a decoder's shape. Both languages share one vocabulary."""

    kind: Kind
    vocabulary: int
    layers: int
    """Of the encoder, and as many of the decoder (attention: of the encoder; its decoder has one)."""
    width: int
    """Of embeddings and of what passes between layers."""
    heads: int = 8
    """transformer: attention heads."""
    hidden: int = 0
    """transformer: width of the feed-forward layers."""
    cell: Cell = "lstm"
    """rnn: its cells, long short-term memory or gated recurrent units; attention always has the latter."""
    dropout: float = 0.1
    shared: bool = True
    """Source embeddings, target embeddings and output layer are one table (Press & Wolf 2017)."""
    start: int = 4
    """The token that the decoder reads first (the book's <sos>)."""
    end: int = 5
    """The token that ends a sentence, on both sides (the book's <eos>)."""
    pad: int = 1
    """The token that fills rows; what stands there changes nothing."""


class Seq2Seq(nn.Module, ABC):
    """What all kinds have in common: tables of embeddings, an output layer, and the promise."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.config = config
        self.source_embedding = nn.Embedding(config.vocabulary, config.width)
        self.embedding = self.source_embedding if config.shared else nn.Embedding(config.vocabulary, config.width)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        if config.shared:
            self.head.weight = self.embedding.weight

    def present(self, source: Int[Tensor, "B S"]) -> Bool[Tensor, "B S"]:
        """True where there is a token, not padding."""
        return source != self.config.pad

    def forward(self, source: Int[Tensor, "B S"], tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """The logits of the token after each of `tokens`, a target that begins with `start`."""
        logits: Tensor = self.head(self.hidden(source, tokens))
        return logits

    @abstractmethod
    def hidden(self, source: Int[Tensor, "B S"], tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """What the output layer reads; `source` ends with `end`, and padding stands behind it."""

    @abstractmethod
    def start(self, source: Int[Tensor, "B S"]) -> State:
        """Reads the source; nothing has been written yet."""

    @abstractmethod
    def advance(self, tokens: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """The logits of what follows these tokens, the last that were written, and the state after them."""

    @abstractmethod
    def attention(
        self, source: Int[Tensor, "B S"], tokens: Int[Tensor, "B T"]
    ) -> dict[str, Float[Tensor, "B L H Q K"]]:
        """How much each position takes from each other one, as it is in `hidden` without dropout: `encoder` (Q = K = S),
        `decoder` (Q = K = T) and `cross` (Q = T, K = S); only what the kind has.
        """

    @abstractmethod
    def initialise(self, seed: int) -> None:
        """Random weights, as the kind's paper has them where it says so."""

    def count_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())


def reorder(state: State, rows: Int[Tensor, " B"]) -> State:
    """Each row goes on from another row of the same sentence: what was read stays as it is."""
    return {name: tensor if name.startswith("memory") else tensor[rows] for name, tensor in state.items()}


def select(state: State, rows: Tensor) -> State:
    """The state of these rows alone (numbers or a mask)."""
    return {name: tensor[rows] for name, tensor in state.items()}


def make(config: Seq2SeqConfig) -> Seq2Seq:
    """A model of that kind, its weights not initialised.

    Raises:
        UserError: a shape that can't exist.
    """
    from plutao.models.seq2seq_recurrent import AttentiveTranslator, RecurrentTranslator
    from plutao.models.seq2seq_transformer import Transformer

    if config.kind == "transformer" and (config.width % config.heads or config.width % 2):
        raise UserError(
            f"A width of {config.width} can't be shared evenly by {config.heads} heads, or is odd: "
            "make translation.width an even multiple of translation.heads."
        )
    if config.width % 2:
        raise UserError(f"A width of {config.width} is odd: make translation.width even.")
    kinds: dict[str, type[Seq2Seq]] = {
        "rnn": RecurrentTranslator,
        "attention": AttentiveTranslator,
        "transformer": Transformer,
    }
    return kinds[config.kind](config)


# ---------------------------------------------------------------------------------------------------------------------
# On disk


def save_seq2seq(model: Seq2Seq, folder: Path, **more: Any) -> None:
    """Writes config.json and model.safetensors; `more` goes into config.json (the languages, how to search)."""
    write_json(folder / "config.json", {"model_type": MODEL_TYPE, **dataclasses.asdict(model.config), **more})
    write_weights(tensors_of(model), folder / WHOLE)


def tensors_of(model: Seq2Seq) -> dict[str, Tensor]:
    """The model's tensors, a shared one under its first name only."""
    seen: set[int] = set()
    found = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            found[name] = tensor
    return found


def is_translation(folder: Path) -> bool:
    """Whether a model's folder holds a translator."""
    config = folder / "config.json"
    return config.is_file() and read_json(config).get("model_type") == MODEL_TYPE


def load_seq2seq(folder: Path) -> Seq2Seq:
    """The model of a folder, in fp32 on the CPU, ready to translate.

    Raises:
        UserError: the folder holds no translator, or a damaged one.
    """
    written = read_json(folder / "config.json")
    if written.get("model_type") != MODEL_TYPE:
        raise UserError(f"{folder} holds no translator (its model_type is {written.get('model_type')!r}).")
    names = {field.name for field in dataclasses.fields(Seq2SeqConfig)}
    model = make(Seq2SeqConfig(**{name: value for name, value in written.items() if name in names}))
    weights = Weights(folder)
    wanted = tensors_of(model)
    if weights.names() != set(wanted) or any(weights.read(name).shape != wanted[name].shape for name in wanted):
        raise UserError(
            f"The weights in {folder} are not those of its config.json: put back a good copy, or train it anew."
        )
    model.load_state_dict({name: weights.read(name) for name in wanted}, strict=False)
    return model.eval()
