"""ELMo: a word's vector depends on the sentence it stands in (Peters et al. 2018; the book, section 2.12).

A word is read as its characters: convolutions, the strongest response of each, two highway layers, a projection (Kim et al.
2016). Two recurrent language models read the sentence from both sides, LSTMs with a projection and a residual connection
between their layers (Józefowicz et al. 2016). A word then has a vector from each layer: the first from its characters alone,
the others from its sentence too. What a task uses is a mixture of them, weighted as it learns.

Letters: B rows, T words, C characters of a word, D width of the projections, H width of the LSTMs' states.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from plutao.models.cells import LstmCell
from plutao.models.folder import read_config, read_tensors, write_folder
from plutao.text.tokenizer import Tokenizer

BEGIN, END, NOTHING = 256, 257, 258
"""Around a word's bytes; NOTHING fills up what is shorter."""
CHARACTERS = 259
FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 128))
"""(characters that a filter spans, filters of that span): Peters et al.'s, fewer of the long ones."""


@dataclass(frozen=True)
class ElmoConfig:
    """An ELMo's shape."""

    vocabulary: int
    """Words it can predict; it reads any."""
    width: int
    """Of every projection (D); a word's vector has twice as many numbers, one half from each direction."""
    hidden: int
    """Of the LSTMs' states (H)."""
    layers: int = 2
    character_width: int = 16
    word_length: int = 24
    """Bytes of a word that are read, its two marks among them."""
    dropout: float = 0.1


def words_of(text: str) -> list[str]:
    """Words and runs of signs, as tokenizers of kind `word` cut."""
    return re.findall(r"\w+|[^\w\s]+", text)


def spell(words: Sequence[str], length: int) -> Int[Tensor, "N C"]:
    """The UTF-8 bytes of each word between its marks, cut or filled up to `length`."""
    table = torch.full((len(words), length), NOTHING)
    for row, word in enumerate(words):
        letters = [BEGIN, *word.encode()[: length - 2], END]
        table[row, : len(letters)] = torch.tensor(letters)
    return table


class Highway(nn.Module):
    """g·ReLU(W·x + b) + (1 − g)·x with a learned gate g, at first mostly closed (Srivastava et al. 2015)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, x: Float[Tensor, "N W"]) -> Float[Tensor, "N W"]:
        gate = torch.sigmoid(self.gate(x))
        mixed: Tensor = gate * torch.relu(self.transform(x)) + (1 - gate) * x
        return mixed


class WordReader(nn.Module):
    """From the characters of a word to a vector."""

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__()
        self.characters = nn.Embedding(CHARACTERS, config.character_width, padding_idx=NOTHING)
        self.filters = nn.ModuleList(nn.Conv1d(config.character_width, count, span) for span, count in FILTERS)
        width = sum(count for _, count in FILTERS)
        self.highways = nn.Sequential(Highway(width), Highway(width))
        self.projection = nn.Linear(width, config.width)

    def forward(self, spelled: Int[Tensor, "N C"]) -> Float[Tensor, "N D"]:
        x = self.characters(spelled).transpose(1, 2)  # (N, characters' width, C)
        found = torch.cat([torch.relu(each(x).amax(dim=2)) for each in self.filters], dim=1)
        vectors: Tensor = self.projection(self.highways(found))
        return vectors


class Direction(nn.Module):
    """One of the two language models: LSTMs with projections, each but the first adding to what it reads."""

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__()
        self.cells = nn.ModuleList(LstmCell(config.width, config.hidden) for _ in range(config.layers))
        self.projections = nn.ModuleList(
            nn.Linear(config.hidden, config.width, bias=False) for _ in range(config.layers)
        )
        self.dropout = config.dropout

    def forward(self, x: Float[Tensor, "B T D"]) -> list[Float[Tensor, "B T D"]]:
        """What each layer makes of the words up to each place."""
        layers = []
        for number, (cell, projection) in enumerate(zip(self.cells, self.projections, strict=True)):
            outputs, _ = cell(F.dropout(x, self.dropout, self.training))
            new = projection(outputs)
            x = x + new if number > 0 else new
            layers.append(x)
        return layers


class Elmo(nn.Module):
    """Word reader, two directions, and one output layer for both."""

    spelling: Tensor
    """(V, C): how each word of the vocabulary is written; made from the tokenizer, not stored."""

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__()
        self.config = config
        self.reader = WordReader(config)
        self.forwards, self.backwards = Direction(config), Direction(config)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        empty = torch.full((config.vocabulary, config.word_length), NOTHING)
        self.register_buffer("spelling", empty, persistent=False)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Fresh weights, the same for the same seed: PyTorch's own, characters normal, output 0.05."""
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            fresh = Elmo(self.config)
            fresh.head.weight.normal_(0.0, 0.05)
        self.load_state_dict(fresh.state_dict())
        generator = torch.Generator().manual_seed(seed)
        for cell in (*self.forwards.cells, *self.backwards.cells):
            assert isinstance(cell, LstmCell)
            cell.initialise(generator)

    def learn_spelling(self, tokenizer: Tokenizer) -> None:
        """How the words of the vocabulary are written."""
        words = [tokenizer.token_text(token) for token in range(tokenizer.vocabulary_size)]
        self.spelling.copy_(spell(words, self.config.word_length))

    @torch.no_grad()
    def spread_words(self) -> None:
        """Fresh word vectors are moved to mean 0 and deviation 1 over the vocabulary, as in Salimans & Kingma (2016).

        Fresh filters and highways leave all words nearly alike, and the LSTMs would learn for long as if they saw nothing.
        """
        projection = self.reader.projection
        found = self.reader(self.spelling)
        deviation = found.std(0).mean()
        projection.bias.copy_((projection.bias - found.mean(0)) / deviation)
        projection.weight.div_(deviation)

    def words(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Each word's vector from its characters; a word that comes often is read once."""
        different, places = torch.unique(tokens, return_inverse=True)
        vectors: Tensor = self.reader(self.spelling[different])[places]
        return vectors

    def both(self, tokens: Int[Tensor, "B N"]) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T D"]]:
        """What the output layer reads to predict the last N − 1 words from the left, and the first N − 1 from the right (in
        reading order, the last first).
        """
        x = self.words(tokens)
        return self.forwards(x[:, :-1])[-1], self.backwards(x.flip(1)[:, :-1])[-1]

    @torch.inference_mode()
    def vectors(self, words: Sequence[str]) -> Float[Tensor, "L T W"]:
        """The vectors of each word of a sentence, from each layer: the first from its characters, then one from each layer
        of LSTMs; W = 2·D, the left half from what stands up to the word, the right from what stands behind it.
        """
        framed = ["<|endoftext|>", *words, "<|endoftext|>"]
        x = self.reader(spell(framed, self.config.word_length).to(self.head.weight.device)).unsqueeze(0)
        left, right = self.forwards(x), [layer.flip(1) for layer in self.backwards(x.flip(1))]
        layers = [torch.cat((x, x), -1), *(torch.cat(pair, -1) for pair in zip(left, right, strict=True))]
        return torch.cat(layers)[:, 1:-1]

    def count_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


class Mixture(nn.Module):
    """γ · Σ softmax(s)ⱼ · hⱼ: how a task weighs the layers (Peters et al. 2018, equation 1). All are equal at first."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))
        self.scale = nn.Parameter(torch.ones(()))

    @property
    def weights(self) -> Float[Tensor, " L"]:
        """Shares that add up to 1."""
        return torch.softmax(self.scores, 0)

    def forward(self, layers: Float[Tensor, "L *rest W"]) -> Float[Tensor, "*rest W"]:
        mixed: Tensor = self.scale * torch.tensordot(self.weights, layers, 1)
        return mixed


# ---------------------------------------------------------------------------------------------------------------------
# On disk


def save(model: Elmo, folder: Path) -> None:
    """Writes config.json (model_type plutao-elmo) and model.safetensors; UserError where that fails."""
    write_folder(folder, "plutao-elmo", asdict(model.config), model)


def load(folder: Path) -> Elmo:
    """The model in a folder, on the CPU in fp32, with the spelling of its tokenizer's words.

    Raises:
        UserError: the folder holds no ELMo, or its files are damaged or don't belong together.
    """
    _, settings = read_config(folder, ["plutao-elmo"], ElmoConfig)
    model = Elmo(ElmoConfig(**settings))
    read_tensors(model, folder)
    model.learn_spelling(Tokenizer.load(folder))
    return model.eval()
