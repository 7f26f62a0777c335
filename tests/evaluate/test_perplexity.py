"""Bits per byte is what the definition says: as a plain slow loop finds it, as transformers does, and by arithmetic."""

from math import log
from pathlib import Path

import pytest
import torch

from plutao.errors import UserError
from plutao.evaluate import perplexity
from plutao.evaluate.perplexity import Blocks, bits_per_byte
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.text.tokenizer import Tokenizer, train

TEXTS = [
    "Plutão é um planeta anão. A órbita de Plutão leva 248 anos; o dia, 6,4 dias da Terra.",
    "Jupiter is the largest planet.\nIts moons include Io, Europa, Ganymede and Callisto. " * 3,
    "🪐 Saturno tem anéis.",
    "a",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train("bpe", TEXTS * 3, 300)


def tiny(vocabulary: int, context: int = 16, dropout: float = 0.0) -> Decoder:
    shape = {"layers": 2, "width": 32, "heads": 2, "kv_heads": 2, "head_width": 16, "hidden": 64}
    model = Decoder(DecoderConfig(vocabulary=vocabulary, context=context, dropout=dropout, **shape))
    model.initialise(3)
    with torch.no_grad():  # past initialisation, so that what stands before a token matters
        generator = torch.Generator().manual_seed(3)
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def slowly(model: Decoder, tokenizer: Tokenizer, texts: list[str]) -> float:
    """The definition, one token at a time: which window scores it is found by walking the windows."""
    context, bits = model.config.context, 0.0
    for text in texts:
        sequence = [tokenizer.end_of_text, *tokenizer.encode(text)]
        for place in range(1, len(sequence)):
            start = 0
            while place > start + context:
                start += context // 2
            logits = model(torch.tensor([sequence[start:place]]))[0, -1].double()
            bits -= float(torch.log_softmax(logits, -1)[sequence[place]]) / log(2)
    return bits / sum(len(text.encode()) for text in texts)


@torch.no_grad()
@pytest.mark.parametrize("context", [2, 7, 16, 512])
def test_it_equals_the_definition_computed_one_token_at_a_time(tokenizer: Tokenizer, context: int) -> None:
    model = tiny(tokenizer.vocabulary_size, context)
    measured = bits_per_byte(model, tokenizer, TEXTS, tokens_at_once=3 * context)
    assert measured.bits_per_byte == pytest.approx(slowly(model, tokenizer, TEXTS), rel=1e-5)
    assert measured.bytes == sum(len(text.encode()) for text in TEXTS)
    assert measured.tokens == sum(len(tokenizer.encode(text)) for text in TEXTS)
    assert measured.documents == 4


class Memory:
    """Foretells from the last `reach` tokens alone: the sum of them, or of all, tips the scale."""

    def __init__(self, vocabulary: int, reach: int | None) -> None:
        self.vocabulary, self.reach = vocabulary, reach
        self.table = torch.randn(512, vocabulary, generator=torch.Generator().manual_seed(1)).log_softmax(-1)

    def log_probabilities(self, tokens: torch.Tensor) -> torch.Tensor:
        sums = tokens.cumsum(1)
        if self.reach is not None:
            sums = sums - torch.nn.functional.pad(sums, (self.reach, 0))[:, : tokens.shape[1]]
        return self.table[sums % 512]

    def start(self, rows: int) -> None: ...

    def advance(self, tokens: torch.Tensor, state: object) -> None: ...

    def count_parameters(self) -> int:
        return self.table.numel()


@pytest.mark.parametrize("reach", [1, 4, None])
def test_other_language_models_see_all_that_they_can_look_back_on(
    tokenizer: Tokenizer, reach: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reach is not None:
        monkeypatch.setattr(perplexity, "LONG", 8)  # windows that cut the texts
    model, bits = Memory(tokenizer.vocabulary_size, reach), 0.0
    for text in TEXTS:
        tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(text)]])
        rows = model.log_probabilities(tokens)[0, :-1]
        bits -= float(rows.double().gather(1, tokens[0, 1:].unsqueeze(1)).sum()) / log(2)
    measured = bits_per_byte(model, tokenizer, TEXTS)  # type: ignore[arg-type]
    assert measured.bits_per_byte == pytest.approx(bits / sum(len(text.encode()) for text in TEXTS), rel=1e-5)


def test_it_equals_the_loss_of_transformers(tokenizer: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    huggingface = pytest.importorskip("plutao.models.interop.huggingface")
    model = tiny(tokenizer.vocabulary_size, context=256)
    huggingface.save_model(model, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(TEXTS[0])]])
    with torch.no_grad():
        loss = float(theirs(tokens, labels=tokens).loss)  # mean nats per predicted token
    measured = bits_per_byte(model, tokenizer, TEXTS[:1])
    assert measured.bits_per_byte == pytest.approx(loss / log(2) * measured.tokens / measured.bytes, rel=1e-4)
    assert log(measured.perplexity) == pytest.approx(loss, rel=1e-4)


def test_a_model_that_knows_nothing_spends_the_logarithm_of_its_vocabulary(tokenizer: Tokenizer) -> None:
    model = tiny(tokenizer.vocabulary_size)
    with torch.no_grad():
        model.head.weight.zero_()
    measured = bits_per_byte(model, tokenizer, TEXTS)
    assert measured.perplexity == pytest.approx(tokenizer.vocabulary_size, rel=1e-5)


def test_every_later_token_is_scored_with_at_least_half_a_context_before_it(tokenizer: Tokenizer) -> None:
    tally = perplexity.Tally()
    windows = list(perplexity.all_windows(16, 8, tokenizer, [TEXTS[1]], tally, {}, lambda raw: None))
    # (tokens before the first scored one, tokens scored) of each window
    seen = [(len(window.inputs) - len(window.targets), len(window.targets)) for window in windows]
    assert seen[0] == (0, 16), "the first window scores all it can"
    assert all(before == 8 for before, _ in seen[1:])
    scored = [int(token) for window in windows for token in window.targets]
    assert scored == tokenizer.encode(TEXTS[1]), "each once, in order; <|endoftext|> is not predicted"
    assert sum(window.bytes for window in windows) == len(TEXTS[1].encode())


def test_batching_changes_nothing(tokenizer: Tokenizer) -> None:
    model = tiny(tokenizer.vocabulary_size)
    one, many = (bits_per_byte(model, tokenizer, TEXTS * 8, tokens_at_once=size) for size in (16, 4096))
    assert one.bits_per_byte == pytest.approx(many.bits_per_byte, rel=1e-6)
    assert one.unit_bits == pytest.approx(many.unit_bits, rel=1e-4)
    assert one.text_sha256 == many.text_sha256


def test_the_interval_is_over_documents_or_where_they_are_few_over_passages(tokenizer: Tokenizer) -> None:
    model = tiny(tokenizer.vocabulary_size)
    few, many = bits_per_byte(model, tokenizer, TEXTS), bits_per_byte(model, tokenizer, TEXTS * 10)
    assert (few.interval_over, many.interval_over) == ("passages", "documents")
    assert len(many.unit_bits) == 40
    for measured in (few, many):
        assert measured.low is not None and measured.high is not None and measured.bits_per_byte is not None
        assert measured.low < measured.bits_per_byte < measured.high
        assert measured.unit_bits.sum() / measured.unit_bytes.sum() == pytest.approx(measured.bits_per_byte)
        assert measured.unit_bytes.sum() == measured.bytes


def test_passages_pair_up_between_tokenizers(tokenizer: Tokenizer) -> None:
    characters = train("char", TEXTS, 200)
    a = bits_per_byte(tiny(tokenizer.vocabulary_size), tokenizer, TEXTS)
    b = bits_per_byte(tiny(characters.vocabulary_size), characters, TEXTS)
    assert a.comparable and b.comparable and a.text_sha256 == b.text_sha256
    assert a.unit_bytes.tolist() == b.unit_bytes.tolist()


def test_a_tokenizer_that_loses_text_is_not_comparable() -> None:
    words = train("word", TEXTS, 50)
    measured = bits_per_byte(tiny(words.vocabulary_size), words, TEXTS)
    assert not measured.comparable
    assert measured.bits_per_byte is None and measured.low is None
    assert "byte for byte" in measured.as_json()["not_comparable"]
    assert measured.perplexity > 1, "per token it still says something, among models with this tokenizer"


def test_one_lost_character_is_enough() -> None:
    characters = train("char", ["abc "], 20)
    model = tiny(characters.vocabulary_size)
    assert bits_per_byte(model, characters, ["abc cab"]).comparable
    assert not bits_per_byte(model, characters, ["abc cab", "abç"]).comparable


def test_figures_per_language(tokenizer: Tokenizer) -> None:
    model = tiny(tokenizer.vocabulary_size)
    labelled = [(TEXTS[0], "pt"), (TEXTS[1], "en"), (TEXTS[2], "pt"), (TEXTS[3], None)]
    measured = bits_per_byte(model, tokenizer, labelled)
    assert list(measured.by_language) == ["en", "pt"]
    assert measured.by_language["en"].bits_per_byte == pytest.approx(
        bits_per_byte(model, tokenizer, [TEXTS[1]]).bits_per_byte
    )
    assert measured.by_language["pt"].documents == 2
    assert set(measured.as_json()["by_language"]["pt"]) >= {"bits_per_byte", "low", "high", "bytes"}


def test_the_model_is_left_as_it_was_and_dropout_does_not_act(tokenizer: Tokenizer) -> None:
    model = tiny(tokenizer.vocabulary_size, dropout=0.5)
    model.train()
    assert bits_per_byte(model, tokenizer, TEXTS).bits_per_byte == bits_per_byte(model, tokenizer, TEXTS).bits_per_byte
    assert model.training


def test_bf16_is_close(tokenizer: Tokenizer) -> None:
    model = tiny(tokenizer.vocabulary_size)
    exact, rounded = (bits_per_byte(model, tokenizer, TEXTS, precision=p).bits_per_byte for p in ("fp32", "bf16"))
    assert rounded == pytest.approx(exact, rel=0.02)


def test_progress_adds_up_to_the_text(tokenizer: Tokenizer) -> None:
    told: list[int] = []
    measured = bits_per_byte(tiny(tokenizer.vocabulary_size), tokenizer, TEXTS, tokens_at_once=16, progress=told.append)
    assert len(told) > 1 and sum(told) == measured.bytes


def test_nothing_to_measure_is_said(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="empty"):
        bits_per_byte(tiny(tokenizer.vocabulary_size), tokenizer, ["", ""])


def test_blocks_keep_their_sums_in_constant_memory() -> None:
    blocks = Blocks(most=8)
    for unit in range(1000):
        blocks.add(unit, torch.tensor([[1.0, 2.0]]).double().numpy())
    assert len(blocks.sums) <= 8
    assert blocks.sums.sum(axis=0).tolist() == [1000.0, 2000.0]
    assert blocks.sums[0].tolist() == [128.0, 256.0], "neighbours are joined, none is lost"
