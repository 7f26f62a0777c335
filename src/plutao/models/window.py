"""The first neural language model: a feed-forward network over a window of the last tokens (Bengio et al. 2003; the book,
section 2.3, Figure 34).

Each token of the window is looked up in one table of embeddings; their vectors, side by side, go through a hidden layer; an
output neuron for each token of the vocabulary says how probable it is next. Unlike counts, it can say something of sequences
that it never saw, since words with like vectors are treated alike. What is before the window it does not see.

Where the paper leaves a choice: there are no direct connections from the embeddings to the output (its W = 0), and the
output may share the table of embeddings (Press & Wolf 2017), which needs a matrix between.

Letters: B rows, T places, n tokens of the window, V tokens of the vocabulary, D width of the embeddings, H of the hidden layer.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from plutao.models.folder import read_config, read_tensors, write_folder


@dataclass(frozen=True)
class WindowConfig:
    """A feed-forward language model's shape."""

    vocabulary: int
    window: int
    """Tokens it sees (n)."""
    layers: int
    """Hidden layers: 1 in the paper and in Figure 34."""
    width: int
    """Width of the embeddings (D)."""
    hidden: int
    """Width of the hidden layers (H)."""
    tied: bool = True
    """The output layer is the table of embeddings (Press & Wolf 2017)."""
    residual: bool = False
    """Each hidden layer but the first adds to what it reads (the book's BOX 9; He et al. 2016)."""
    dropout: float = 0.0
    """Share dropped while training: of embeddings and of hidden layers."""

    @property
    def projected(self) -> bool:
        """Whether a matrix leads from the hidden layer to the width of the table that is shared."""
        return self.tied and self.hidden != self.width

    def parameters(self) -> int:
        """How many numbers are learned, counted from the shape alone."""
        first = self.hidden * (self.window * self.width + 1)
        others = (self.layers - 1) * self.hidden * (self.hidden + 1)
        projection = self.hidden * self.width if self.projected else 0
        head = 0 if self.tied else self.vocabulary * self.hidden
        return self.vocabulary * self.width + first + others + projection + head


class WindowModel(nn.Module):
    """Embeddings, hidden layers with tanh, and an output layer. It is a `LanguageModel` that reaches back `window` tokens."""

    def __init__(self, config: WindowConfig) -> None:
        super().__init__()
        c = self.config = config
        self.embedding = nn.Embedding(c.vocabulary, c.width)
        self.first = nn.Linear(c.window * c.width, c.hidden)
        self.others = nn.ModuleList(nn.Linear(c.hidden, c.hidden) for _ in range(c.layers - 1))
        self.projection = nn.Linear(c.hidden, c.width, bias=False) if c.projected else nn.Identity()
        self.head = nn.Linear(c.width if c.tied else c.hidden, c.vocabulary, bias=False)
        if c.tied:
            self.head.weight = self.embedding.weight

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Fresh weights, the same for the same seed: tables normal with deviation 0.1, matrices with 1/√fan_in."""
        generator = torch.Generator(self.head.weight.device).manual_seed(seed)
        tables = {id(self.embedding.weight), id(self.head.weight)}
        for parameter in self.parameters():
            if parameter.ndim == 1:
                parameter.zero_()
            else:
                deviation = 0.1 if id(parameter) in tables else parameter.shape[1] ** -0.5
                parameter.normal_(0.0, deviation, generator=generator)

    def hidden(self, tokens: Int[Tensor, "B T"], segments: None = None) -> Float[Tensor, "B T D"]:
        """What the output layer reads at every place; places before a row's first token count as zero vectors."""
        assert segments is None, "a window does not know of several texts in a row"
        c = self.config
        x = F.pad(self.drop(self.embedding(tokens)), (0, 0, c.window - 1, 0))
        windows = x.unfold(1, c.window, 1).flatten(2)  # (B, T, D·n)
        x = self.drop(torch.tanh(self.first(windows)))
        for layer in self.others:
            new = self.drop(torch.tanh(layer(x)))
            x = x + new if c.residual else new
        projected: Tensor = self.projection(x)
        return projected

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training) if self.config.dropout else x

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
        return self.config.window

    def count_parameters(self) -> int:
        return self.config.parameters()

    @torch.inference_mode()
    def log_probabilities(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Natural logarithms of the probabilities of the token after each place."""
        return self(tokens).float().log_softmax(-1)  # type: ignore[no-any-return]

    def start(self, rows: int) -> Int[Tensor, "B 0"]:
        """The state is the window's tokens: none yet."""
        return torch.zeros(rows, 0, dtype=torch.long, device=self.head.weight.device)

    @torch.inference_mode()
    def advance(
        self, tokens: Int[Tensor, " B"], state: Int[Tensor, "B t"]
    ) -> tuple[Float[Tensor, "B V"], Int[Tensor, "B t1"]]:
        """Reads one more token of each row; the window's first one falls out where it is full."""
        window = torch.cat((state, tokens.unsqueeze(1)), dim=1)[:, -self.config.window :]
        return self.logits(self.hidden(window)[:, -1]).float().log_softmax(-1), window


# ---------------------------------------------------------------------------------------------------------------------
# On disk


def save(
    model: WindowModel, folder: Path, *, eos: int | None = None, trained_with: dict[str, object] | None = None
) -> None:
    """Writes config.json (model_type plutao-mlp) and model.safetensors.

    Raises:
        UserError: the folder can't be written.
    """
    write_folder(folder, "plutao-mlp", asdict(model.config) | {"eos_token_id": eos, **(trained_with or {})}, model)


def load(folder: Path) -> WindowModel:
    """The model in a folder, on the CPU in fp32.

    Raises:
        UserError: the folder holds no feed-forward language model, or its files are damaged or don't belong together.
    """
    _, settings = read_config(folder, ["plutao-mlp"], WindowConfig)
    model = WindowModel(WindowConfig(**settings))
    read_tensors(model, folder)
    return model.eval()
