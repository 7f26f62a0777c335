"""What a recipe says of the ancestors: the models that came before the assistant (the book's chapters 2 and 4)."""

from typing import Literal

from pydantic import Field

from plutao.data.settings import Settings
from plutao.recipe.training import OptimizerSettings, TrainSettings


class NgramSettings(Settings):
    """Counted language models: the next token from the last n − 1 (the book's sections 2.2 to 2.4)."""


class VectorsSettings(TrainSettings):
    """Word vectors: words that keep the same company lie close together (the book's section 2.6)."""


class RecurrentSettings(TrainSettings):
    """Neural language models before the Transformer: a fixed window, RNN, GRU, LSTM (the book's sections 2.3, 4.1, 4.2)."""

    kind: Literal["mlp", "rnn", "gru", "lstm"] = "lstm"
    """`mlp`: feed-forward over a fixed window (Bengio et al. 2003); `rnn`, `gru`, `lstm`: a state that is carried on."""
    tokens: int | None = Field(default=None, gt=0)
    """How long: tokens to train on."""
    window: int | None = Field(default=None, ge=1)
    """mlp: tokens it sees (left out: 8); others: tokens the gradient flows back through (truncated backpropagation; left out: 64)."""
    carry: int = Field(default=16, ge=1)
    """Windows of a row through which the state is carried on; 1: every window starts from nothing."""
    layers: int = Field(default=1, ge=1)
    """Recurrent layers, or the mlp's hidden layers."""
    width: int = Field(default=256, ge=1)
    """Width of the embeddings."""
    hidden: int = Field(default=512, ge=1)
    """Width of each layer's state, or of the mlp's hidden layers."""
    tied: bool = True
    """Share the table of embeddings with the output layer."""
    residual: bool = False
    """Each layer but the first adds to what it reads (the book's BOX 9)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share dropped between layers while training; useful where the text is seen many times."""
    evaluate_tokens: int = Field(default=32_768, gt=0)
    """Validation tokens looked at on the way (the last one sees the whole validation text)."""
    sample_prompts: tuple[str, ...] = ()
    """Texts that the samples continue; left out: the first words of the validation text."""
    optimizer: OptimizerSettings = OptimizerSettings(kind="adamw", learning_rate=4e-3, weight_decay=0.0)


class ElmoSettings(TrainSettings):
    """ELMo: a word's vector depends on its sentence, read in both directions (the book's section 2.12)."""


class BertSettings(TrainSettings):
    """BERT: an encoder that fills in what is masked (the book's section 2.12)."""


class TranslationSettings(TrainSettings):
    """Encoder and decoder: from one language into another (the book's chapter 4)."""


class VisionSettings(TrainSettings):
    """Images: a convolutional network or a Vision Transformer that tells what it sees (the book's section 4.2)."""
