"""An n-gram model in its folder, in ARPA files, and beside KenLM."""

import gzip
import json
import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from counted import counted, documents

from plutao.errors import UserError
from plutao.models.interop.arpa import read_arpa, words_of, write_arpa
from plutao.models.language import LanguageModel, TargetScorer, load_language_model, target_log_probabilities
from plutao.models.ngram import NgramModel, load, save_model
from plutao.text.tokenizer import Tokenizer, train
from plutao.train.ngram_counts import TokenStream, count
from plutao.train.ngram_model import Kneser

TEXTS = ["the sun and pluto talk about ice.\n", "a moon of ice, 100% cold.\n", "the moon and the sun.\n"] * 4


@pytest.fixture(scope="module", params=["char", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train(request.param, TEXTS, 300)


def counted_on(tokenizer: Tokenizer, folder: Path, order: int = 4) -> Kneser:
    folder.mkdir(parents=True, exist_ok=True)
    tokens = [np.array([tokenizer.end_of_text, *tokenizer.encode(text)], np.uint16) for text in TEXTS]
    return Kneser(count(TokenStream(tokens, tokenizer.end_of_text), order, tokenizer.vocabulary_size, folder), folder)


def model_in(folder: Path, **pruning: object) -> NgramModel:
    Kneser(counted(documents(80), folder / "counts", 4), folder / "counts").write(folder, **pruning)  # type: ignore[arg-type]
    return load(folder)


def test_it_is_a_language_model_that_looks_single_tokens_up(tmp_path: Path) -> None:
    model = model_in(tmp_path)
    assert isinstance(model, LanguageModel) and isinstance(model, TargetScorer)
    assert isinstance(load_language_model(tmp_path), NgramModel)
    tokens = torch.tensor([documents(1, seed=2)[0][:8]] * 2)
    rows = model.log_probabilities(tokens)
    looked_up = target_log_probabilities(model, tokens, tokens.roll(-1, 1))
    assert torch.allclose(looked_up, rows.gather(2, tokens.roll(-1, 1).unsqueeze(2)).squeeze(2), atol=1e-5)
    assert (model.order, model.reach) == (4, 3)


def test_writing_token_by_token_gives_the_same_probabilities(tmp_path: Path) -> None:
    model = model_in(tmp_path)
    tokens = torch.tensor([text[:6] for text in documents(20, seed=2) if len(text) > 6][:3])
    rows, state = model.log_probabilities(tokens), model.start(3)
    for place in range(6):
        found, state = model.advance(tokens[:, place], state)
        assert torch.allclose(found, rows[:, place], atol=1e-6)


def test_nothing_is_known_of_the_text_before(tmp_path: Path) -> None:
    model, [text, other] = model_in(tmp_path), documents(2, seed=6)
    alone = model.log_probabilities(torch.tensor([text]))
    behind = model.log_probabilities(torch.tensor([[*other, *text]]))
    assert torch.allclose(alone[0], behind[0, len(other) :], atol=1e-6)


@pytest.mark.parametrize("pruning", [{}, {"thresholds": (0, 0, 1)}, {"entropy": 1e-4}, {"entropy": 1e-2}])
def test_arpa_files_give_the_model_back(tmp_path: Path, tokenizer: Tokenizer, pruning: dict[str, object]) -> None:
    counted_on(tokenizer, tmp_path / "counts").write(tmp_path / "model", **pruning)  # type: ignore[arg-type]
    model = load(tmp_path / "model")
    write_arpa(model, tokenizer, tmp_path / "model.arpa")
    back = read_arpa(tmp_path / "model.arpa", tokenizer)
    tokens = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode("the sun of ice and 7% moons")]])
    assert torch.allclose(model.log_probabilities(tokens), back.log_probabilities(tokens), atol=2e-5)
    save_model(back, tmp_path / "back")
    again = load(tmp_path / "back").log_probabilities(tokens)
    assert torch.equal(again, back.log_probabilities(tokens))


@pytest.mark.parametrize("pruning", [{}, {"thresholds": (0, 0, 1)}, {"entropy": 1e-4}])
def test_kenlm_reads_the_same_probabilities(tmp_path: Path, tokenizer: Tokenizer, pruning: dict[str, object]) -> None:
    kenlm = pytest.importorskip("kenlm", reason="KenLM is not installed: pip install 'plutao[parity]'")
    counted_on(tokenizer, tmp_path / "counts").write(tmp_path / "model", **pruning)  # type: ignore[arg-type]
    model = load(tmp_path / "model")
    write_arpa(model, tokenizer, tmp_path / "model.arpa")
    theirs, words = kenlm.Model(str(tmp_path / "model.arpa")), words_of(tokenizer)
    for text in ("the sun and the moon talk.\n", "a cold pluto; 100% of ice", "tata"):
        ids = tokenizer.encode(text)
        tokens = torch.tensor([[tokenizer.end_of_text, *ids]])
        targets = torch.tensor([[*ids, tokenizer.end_of_text]])
        ours = float(model.target_log_probabilities(tokens, targets).sum()) / math.log(10)
        assert theirs.score(" ".join(words[token] for token in ids)) == pytest.approx(ours, rel=1e-5)


def test_tokens_are_written_as_words_without_blanks(tokenizer: Tokenizer) -> None:
    words = words_of(tokenizer)
    assert len(set(words)) == len(words)
    assert not any(character.isspace() for word in words for character in word)


def test_an_arpa_file_made_elsewhere_is_read(tmp_path: Path) -> None:
    tokenizer = train("word", ["a b c"], 19)
    (tmp_path / "small.arpa").write_text(
        "\\data\\\nngram 1=5\nngram 2=2\n\n\\1-grams:\n-1.0\t<unk>\n-99\t<s>\t-0.3\n-0.8\t</s>\n-0.5\ta\t-0.2\n-0.6\tb\t-0.1\n"
        "\n\\2-grams:\n-0.2\t<s> a\n-0.1\ta b\n\n\\end\\\n",
        encoding="utf-8",
    )
    model = read_arpa(tmp_path / "small.arpa", tokenizer)
    [a, b] = tokenizer.encode("a b")
    rows = model.log_probabilities(torch.tensor([[tokenizer.end_of_text, a]]))[0] / math.log(10)
    assert float(rows[0, a]) == pytest.approx(-0.2, abs=1e-5)
    assert float(rows[0, b]) == pytest.approx(-0.3 - 0.6, abs=1e-5), "backed off"
    assert float(rows[1, b]) == pytest.approx(-0.1, abs=1e-5)
    assert float(rows[1, tokenizer.end_of_text]) == pytest.approx(-0.2 - 0.8, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing of the kind", "holds no n-grams"),
        ("\\data\\\n\\2-grams:\n", "line 2"),
        ("\\data\\\n\\1-grams:\n-1 a b c d\n", "line 3"),
        ("\\data\\\n\\1-grams:\n-1 zebra\n", "zebra"),
        ("\\data\\\n\\1-grams:\n-1 a\n-1 b\n\\2-grams:\n-1 a b\n\\3-grams:\n-1 b a b\n", "without its context"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "odd.arpa").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_arpa(tmp_path / "odd.arpa", train("word", ["a b c"], 19))


def test_a_damaged_folder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    model_in(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"12345678rubbish")
    with pytest.raises(UserError, match="missing or damaged"):
        load(tmp_path)


@pytest.mark.real_data
def test_on_machado_kenlm_finds_our_perplexity(real_data: Path, tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="KenLM is not installed: pip install 'plutao[parity]'")
    with gzip.open(real_data / "pretrain" / "machado.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"][:40_000] for line in islice(file, 16)]
    tokenizer = train("bpe", texts, 1024)
    rows = [[tokenizer.end_of_text, *tokenizer.encode(text)] for text in texts]
    stream = TokenStream([np.array(row, np.uint16) for row in rows[2:]], tokenizer.end_of_text)
    counts = count(stream, 4, tokenizer.vocabulary_size, tmp_path)
    Kneser(counts, tmp_path).write(tmp_path / "model", (0, 0, 0, 1))
    model = load(tmp_path / "model")
    write_arpa(model, tokenizer, tmp_path / "model.arpa")
    theirs, words = kenlm.Model(str(tmp_path / "model.arpa")), words_of(tokenizer)
    for row in rows[:2]:
        targets = torch.tensor([[*row[1:], tokenizer.end_of_text]])
        ours = math.exp(-float(model.target_log_probabilities(torch.tensor([row]), targets).double().mean()))
        assert theirs.perplexity(" ".join(words[token] for token in row[1:])) == pytest.approx(ours, rel=1e-4)
        assert 10 < ours < 300
