"""Two hundred prompts, greedy and in fp32: the tokens and log-probabilities of `transformers`, alone and in full batches."""

from pathlib import Path
from typing import Any

import pytest
import torch

from plutao.generate.answers import Completion
from plutao.generate.sampling import Sampling
from plutao.generate.serving import ServingEngine, load_serving_engine
from plutao.models.decoder import Decoder
from plutao.models.interop.huggingface import save_model
from plutao.models.presets import decoder_config
from plutao.text.tokenizer import Tokenizer

from .conftest import make_model

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

PROMPTS = 200
NEAR_TIE = 1e-4
"""Logits that differ by less may be ordered either way by other sums of the same numbers."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    place = tmp_path_factory.mktemp("parity")
    save_model(make_model(7, qk_norm=True), place)
    tokenizer.save(place)
    return place


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def prompts(vocabulary: int) -> list[list[int]]:
    """Of 1 to 90 tokens; every second one begins like others before it."""
    generator = torch.Generator().manual_seed(0)
    stem = torch.randint(16, vocabulary, (64,), generator=generator).tolist()
    made = []
    for place in range(PROMPTS):
        size = int(torch.randint(1, 60, (1,), generator=generator))
        own = torch.randint(16, vocabulary, (size,), generator=generator).tolist()
        made.append(stem[: size % 31] + own if place % 2 else own)
    return made


@pytest.mark.parametrize("slots", [1, 64])
def test_tokens_and_log_probabilities_of_transformers(folder: Path, theirs: Any, slots: int) -> None:
    engine = load_serving_engine(folder, slots=slots)
    rows = prompts(engine.vocabulary)
    sampling = Sampling(temperature=0, max_tokens=20, end_tokens=(), logprobs=3)
    for prompt, [completion] in zip(rows, engine.complete(rows, sampling), strict=True):
        check(theirs, prompt, completion, engine.vocabulary)
    assert engine.reused_tokens > 0


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["plutao-7m", "plutao-30m"])
def test_models_of_real_size(preset: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = Decoder(decoder_config(preset, 8192, context=256))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:  # a fresh model repeats one token
                size = 0.05 if "embedding" in name else parameter.shape[1] ** -0.5
                parameter.normal_(0.0, size, generator=generator)
    save_model(model, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    engine = ServingEngine(model.eval(), tokenizer, slots=64)
    rows = prompts(engine.vocabulary)
    sampling = Sampling(temperature=0, max_tokens=20, end_tokens=(), logprobs=3)
    for prompt, [completion] in zip(rows, engine.complete(rows, sampling), strict=True):
        check(theirs, prompt, completion, engine.vocabulary)


@torch.inference_mode()
def check(theirs: Any, prompt: list[int], completion: Completion, vocabulary: int) -> None:
    """Greedy: at each place the token written is the one that transformers finds best after the same text."""
    logits = theirs(torch.tensor([prompt + completion.tokens])).logits[0, len(prompt) - 1 : -1, :vocabulary]
    written = torch.tensor(completion.tokens).unsqueeze(1)
    assert (logits.amax(-1) - logits.gather(1, written).squeeze(1)).max() <= NEAR_TIE
    expected = logits.log_softmax(-1)
    told = torch.tensor(completion.token_logprobs)
    assert torch.allclose(told, expected.gather(1, written).squeeze(1), atol=1e-3, rtol=0)
    best = expected.topk(3).values
    assert torch.allclose(
        torch.tensor([[p for _, p in row] for row in completion.alternatives]), best, atol=1e-3, rtol=0
    )
