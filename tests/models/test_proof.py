"""An export is written only with the proof that it answers the same."""

import json
import sys
from pathlib import Path

import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from plutao.errors import UserError
from plutao.models.decoder import Decoder
from plutao.models.interop import proof as proofs
from plutao.models.interop.huggingface import load_model, save_model
from plutao.models.presets import decoder_config
from plutao.text.tokenizer import train

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A stage's folder: a model that was never trained, with decided opinions, and its tokenizer."""
    tokenizer = train("bpe", ["O Sol é uma estrela. The Sun is a star. Era uma vez."] * 20, 300)
    model = Decoder(decoder_config("plutao-1m", tokenizer.vocabulary_size, 64))
    model.initialise(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)), alpha=0.1)
    save_model(model, tmp_path / "base", bos=tokenizer.end_of_text, eos=tokenizer.end_of_text, pad=tokenizer.pad)
    tokenizer.save(tmp_path / "base", context=64)
    return tmp_path / "base"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_export_is_proved_and_loads_elsewhere(source: Path, tmp_path: Path, dtype: str) -> None:
    proof = proofs.export_huggingface(source, tmp_path / "out", dtype)
    assert proof.largest_difference <= proof.tolerance < 0.01
    assert proof.texts == 1 + len(proofs.TEXTS) and proof.tokens > 64
    assert proof.greedy_tokens > 32 or proof.near_ties > 0
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert str(theirs.dtype) == f"torch.{dtype}"
    assert (tmp_path / "out" / "tokenizer.json").read_text() == (source / "tokenizer.json").read_text()
    assert json.loads((tmp_path / "out" / "export.json").read_text())["largest_difference"] == proof.largest_difference
    proofs.export_huggingface(source, tmp_path / "out", dtype)  # a newer export replaces an older one


def test_an_export_that_answers_differently_is_not_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_badly(model: Decoder, folder: Path, dtype: torch.dtype, **ids: int) -> None:
        wrong = load_model(source)
        with torch.no_grad():
            wrong.blocks[3].attention.value.weight[5] *= 1.1
        save_model(wrong, folder, dtype, **ids)

    monkeypatch.setattr(proofs, "save_model", save_badly)
    with pytest.raises(UserError, match="answers differently"):
        proofs.export_huggingface(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_greedy_continuations_that_part_are_caught(source: Path) -> None:
    ours, theirs = load_model(source), proofs.load_theirs(source)
    row = torch.arange(20)[None]
    assert proofs.compare_greedy(ours, theirs, row, 1e-3)[0] > 0
    with torch.no_grad():
        ours.norm.weight.neg_()
    with pytest.raises(UserError, match="continues a text differently"):
        proofs.compare_greedy(ours, theirs, row, 1e-3)
    assert proofs.compare_greedy(ours, theirs, row, near=1e9) == (0, True)


def test_a_folder_with_something_else_is_not_replaced(source: Path) -> None:
    with pytest.raises(UserError, match="is not an export"):
        proofs.export_huggingface(source, source)
    assert (source / "model.safetensors").is_file()


def test_without_transformers_the_remedy_is_said(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'plutao\[hf\]'"):
        proofs.export_huggingface(source, tmp_path / "out")


def test_the_command_prints_the_proof(source: Path, tmp_path: Path) -> None:
    from plutao.cli.export import export

    app = Typer()
    app.command()(export)
    out = tmp_path / "export"
    result = CliRunner().invoke(app, [str(tmp_path), "--run", str(source), "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["largest_difference"] < 1e-3
    refused = CliRunner().invoke(app, [str(tmp_path), "--run", str(source), "--to", "gguf"])
    assert isinstance(refused.exception, UserError) and "GGUF is not written yet" in str(refused.exception)
