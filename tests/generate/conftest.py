"""A tiny model with weights that say something, and a tokenizer of Portuguese and English bytes."""

import pytest
import torch

from plutao.generate.engine import Engine
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.text.tokenizer import Tokenizer, train

PROMPTS = [
    "Era uma vez",
    "O Sol falava com Plutão sobre",
    "The quick brown fox jumps over",
    "",
    "Coração, ação, não: " * 6,
    "1 + 1 = ",
]


def make_model(seed: int = 0, **changes: object) -> Decoder:
    shape: dict[str, object] = {
        "vocabulary": 352,  # padded beyond the tokenizer's own tokens
        "context": 128,
        "layers": 2,
        "width": 64,
        "heads": 4,
        "kv_heads": 2,
        "head_width": 16,
        "hidden": 96,
    }
    model = Decoder(DecoderConfig(**{**shape, **changes}))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    model.initialise(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.08 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    texts = ["Era uma vez um planeta chamado Plutão, que falava com o Sol. Coração, ação, não. " * 20]
    return train("bpe", [*texts, "The quick brown fox jumps over the lazy dog. 1 + 1 = 2 " * 20], 330)


@pytest.fixture(scope="session")
def model() -> Decoder:
    return make_model()


@pytest.fixture
def engine(model: Decoder, tokenizer: Tokenizer) -> Engine:
    return Engine(model, tokenizer, slots=4)
