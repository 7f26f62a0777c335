"""`plutao complete` on a model folder: text alone on standard output, or JSON that scripts can read."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from plutao.cli import build
from plutao.errors import UserError
from plutao.models.interop.huggingface import save_model
from plutao.text.tokenizer import Tokenizer

from .conftest import make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_model(make_model(vocabulary=tokenizer.vocabulary_size), path)
    tokenizer.save(path)
    return path


def run(folder: Path, *options: str, typed: str | None = None) -> Result:
    arguments = ["complete", "--run", str(folder), "--seed", "3", "--max-tokens", "8", *options]
    return CliRunner().invoke(build(arguments), arguments, input=typed)


def test_stream_and_json_tell_the_same_text(folder: Path) -> None:
    streamed = run(folder, "--prompt", "Era uma vez")
    described = json.loads(run(folder, "--prompt", "Era uma vez", "--json", "--logprobs", "2").stdout)
    [completion] = described["completions"]
    assert streamed.stdout == completion["text"] + "\n"
    assert completion["finish_reason"] in ("length", "stop") and completion["seed"] == 3
    assert all(len(token["alternatives"]) == 2 and token["logprob"] < 0 for token in completion["tokens"])


def test_a_piped_text_is_continued(folder: Path) -> None:
    assert run(folder, typed="Era uma vez\n").stdout == run(folder, "--prompt", "Era uma vez").stdout


def test_several_answers(folder: Path) -> None:
    described = json.loads(run(folder, "--prompt", "O Sol", "--n", "3", "--best-of", "5", "--json").stdout)
    means = [completion["mean_logprob"] for completion in described["completions"]]
    assert len(means) == 3 and means == sorted(means, reverse=True)


def test_what_is_wrong_is_said(folder: Path) -> None:
    assert isinstance(run(folder, "--prompt", "x", "--top-p", "0").exception, UserError)
    too_long = run(folder, "--prompt", "não " * 300)
    assert isinstance(too_long.exception, UserError) and "128" in str(too_long.exception)
    cut = run(folder, "--prompt", "não " * 300, "--truncate")
    assert cut.exit_code == 0 and "were not read" in cut.stderr
