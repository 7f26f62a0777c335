"""Recurrent language models: RNN, GRU and LSTM that read a text token by token and keep what they need of it in a state of
fixed size (Mikolov et al. 2010; Sundermeyer et al. 2012; the book, section 4.2).

A text may be as long as it likes: what is not kept is gone, and what is kept costs no more with every token.

Letters: B rows, T places, V tokens of the vocabulary, D width of the embeddings, H width of the state.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from plutao.models.cells import CELLS, Cell, Kind, State
from plutao.models.folder import read_config, read_tensors, write_folder

States = tuple[State, ...]
"""The state of every layer."""
TABLE = 0.3
"""Deviation of fresh embeddings: smaller ones hardly move a state, and learning begins many steps later."""


@dataclass(frozen=True)
class RecurrentConfig:
    """A recurrent model's shape."""

    kind: Kind
    vocabulary: int
    layers: int
    width: int
    """Width of the embeddings (D)."""
    hidden: int
    """Width of each layer's state (H)."""
    tied: bool = True
    """The output layer is the table of embeddings (Press & Wolf 2017)."""
    residual: bool = False
    """Each layer but the first adds to what it reads (the book's BOX 9; He et al. 2016)."""
    dropout: float = 0.0
    """Share dropped while training, between layers only, never along the text (Zaremba et al. 2014)."""

    @property
    def projected(self) -> bool:
        """Whether a matrix leads from the last state to the width of the table that is shared."""
        return self.tied and self.hidden != self.width

    def parameters(self) -> int:
        """How many numbers are learned, counted from the shape alone."""
        gates, inputs = CELLS[self.kind].gates, [self.width, *[self.hidden] * (self.layers - 1)]
        cells = sum(gates * self.hidden * (width + self.hidden + 2) for width in inputs)
        projection = self.hidden * self.width if self.projected else 0
        return self.vocabulary * self.width + cells + projection + (0 if self.tied else self.vocabulary * self.hidden)


class RecurrentModel(nn.Module):
    """Embeddings, recurrent layers one upon the other, and an output layer. It is a `LanguageModel` without bound."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        c = self.config = config
        cell = CELLS[c.kind]
        self.embedding = nn.Embedding(c.vocabulary, c.width)
        self.cells = nn.ModuleList(cell(c.width if layer == 0 else c.hidden, c.hidden) for layer in range(c.layers))
        self.projection = nn.Linear(c.hidden, c.width, bias=False) if c.projected else nn.Identity()
        self.head = nn.Linear(c.width if c.tied else c.hidden, c.vocabulary, bias=False)
        if c.tied:
            self.head.weight = self.embedding.weight

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Fresh weights, the same for the same seed: tables normal with deviation `TABLE`, cells as `cells.py` says."""
        generator = torch.Generator(self.head.weight.device).manual_seed(seed)
        for table in {self.embedding.weight, self.head.weight} if not self.config.tied else {self.embedding.weight}:
            table.normal_(0.0, TABLE, generator=generator)
        for cell in self.cells:
            assert isinstance(cell, Cell)
            cell.initialise(generator)
        if isinstance(self.projection, nn.Linear):
            self.projection.weight.normal_(0.0, self.config.hidden**-0.5, generator=generator)

    def read(self, tokens: Int[Tensor, "B T"], states: States | None = None) -> tuple[Float[Tensor, "B T D"], States]:
        """What the output layer reads at every place, and the states after the last.

        Args:
            states: those that an earlier part of the texts ended with; None: nothing has been read yet.
        """
        x = self.drop(self.embedding(tokens))
        last: list[State] = []
        for layer, cell in enumerate(self.cells):
            outputs, state = cell(x, None if states is None else states[layer])
            x = self.drop(x + outputs if self.config.residual and layer > 0 else outputs)
            last.append(state)
        return self.projection(x), tuple(last)

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training) if self.config.dropout else x

    def hidden(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """As `read`, of texts that begin here."""
        return self.read(tokens)[0]

    def logits(self, hidden: Float[Tensor, "*rest D"]) -> Float[Tensor, "*rest V"]:
        logits: Tensor = self.head(hidden)
        return logits

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """The logits of the token after each place."""
        return self.logits(self.hidden(tokens))

    # ------------------------------------------------------------------------------------------- as a language model

    @property
    def vocabulary(self) -> int:
        return self.config.vocabulary

    @property
    def reach(self) -> int | None:
        """No bound: whether something of long ago is still in the state is the model's affair."""
        return None

    def count_parameters(self) -> int:
        return self.config.parameters()

    @torch.inference_mode()
    def log_probabilities(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Natural logarithms of the probabilities of the token after each place."""
        return self(tokens).float().log_softmax(-1)  # type: ignore[no-any-return]

    @torch.inference_mode()
    def start(self, rows: int) -> States:
        """The states of texts of which nothing has been read."""
        return tuple(cell.start(rows) for cell in self.cells if isinstance(cell, Cell))

    @torch.inference_mode()
    def advance(self, tokens: Int[Tensor, " B"], state: States) -> tuple[Float[Tensor, "B V"], States]:
        """Reads one more token of each row."""
        hidden, after = self.read(tokens.unsqueeze(1), state)
        return self.logits(hidden[:, 0]).float().log_softmax(-1), after


# ---------------------------------------------------------------------------------------------------------------------
# On disk


def save(
    model: RecurrentModel, folder: Path, *, eos: int | None = None, trained_with: dict[str, object] | None = None
) -> None:
    """Writes config.json (model_type plutao-rnn, -gru or -lstm) and model.safetensors.

    Raises:
        UserError: the folder can't be written.
    """
    settings = asdict(model.config)
    write_folder(
        folder, f"plutao-{settings.pop('kind')}", settings | {"eos_token_id": eos, **(trained_with or {})}, model
    )


def load(folder: Path) -> RecurrentModel:
    """The model in a folder, on the CPU in fp32.

    Raises:
        UserError: the folder holds no recurrent model, or its files are damaged or don't belong together.
    """
    kinds: Sequence[str] = [f"plutao-{kind}" for kind in CELLS]
    kind, settings = read_config(folder, kinds, RecurrentConfig)
    model = RecurrentModel(RecurrentConfig(kind=kind.removeprefix("plutao-"), **settings))  # type: ignore[arg-type]
    read_tensors(model, folder)
    return model.eval()
