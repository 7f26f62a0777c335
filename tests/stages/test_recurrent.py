"""Stages recurrent and elmo: `plutao run` trains them, a folder loads and writes, what was stopped goes on as if it never had."""

import json
from pathlib import Path

import pytest
from commands import done, plutao, refused, tiny_project

from plutao import recipe as recipes
from plutao.errors import UserError
from plutao.evaluate.perplexity import bits_per_byte
from plutao.generate.sampling import Sampling
from plutao.generate.writer import Writer
from plutao.models.language import load_language_model
from plutao.stages import elmo, recurrent
from plutao.text.tokenizer import Tokenizer

SMALL = """
[recurrent]
kind = "{kind}"
steps = 24
batch = 4
window = 8
carry = 4
width = 16
hidden = 24
precision = "fp32"
compile = "off"
evaluate = 1
evaluate_tokens = 512
sample_at = [1.0]
sample_tokens = 8
"""


def project(root: Path, kind: str) -> Path:
    """A tiny project whose only stage that trains is [recurrent]."""
    tiny_project(root)
    text = (root / "plutao.toml").read_text(encoding="utf-8")
    before_base = text[: text.index("[base]")]
    (root / "plutao.toml").write_text(before_base + SMALL.format(kind=kind), encoding="utf-8")
    return root


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_run_trains_it_and_its_folder_loads_measures_and_writes(kind: str, tmp_path: Path) -> None:
    root = project(tmp_path / "small", kind)
    done("run", root)
    folder = root / "runs" / "current" / "recurrent"
    card = json.loads((folder / "stage.json").read_text())
    assert card["complete"] and card["kind"] == kind and card["steps"] == 24
    model, tokenizer = load_language_model(folder), Tokenizer.load(folder)
    assert card["parameters"] == model.count_parameters()
    assert 0 < card["validation"]["bits_per_byte"] < 8
    sampling = Sampling(max_tokens=8, seed=1)
    once, again = (Writer(model, tokenizer).complete(["the sun"], sampling)[0][0] for _ in range(2))
    assert once.text == again.text and 0 < len(once.tokens) <= 8
    measured = bits_per_byte(model, tokenizer, ["the sun and pluto talk about ice. " * 20])
    assert measured.bits_per_byte is not None and measured.bits_per_byte < 8
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert any("samples" in line for line in lines) and any("validation" in line for line in lines)


def test_it_depends_on_its_settings_its_seed_and_its_text_alone(tmp_path: Path) -> None:
    root = project(tmp_path / "small", "rnn")
    done("run", root)
    assert "done already" in plutao("run", root).err
    assert "taken over" in plutao("run", root, "--set", "description=mine").err
    assert "done already" not in plutao("run", root, "--set", "recurrent.kind=gru").err


def test_shapes_and_their_defaults_are_the_recipes() -> None:
    def settings(**changes: object) -> recurrent.RecurrentSettings:
        some = recipes.parse("", overrides=[f"recurrent.{key}={value}" for key, value in changes.items()])
        return recurrent.settings_of(some)

    assert recurrent.shape(settings(kind="mlp"), 100).window == 8  # type: ignore[union-attr]
    lstm = recurrent.shape(settings(kind="lstm", layers=2, residual="true"), 100)
    assert (lstm.layers, lstm.residual, lstm.vocabulary) == (2, True, 100)
    with pytest.raises(UserError, match="transformer"):
        recipes.parse('[recurrent]\nkind = "transformer"')


def test_a_model_that_no_memory_holds_is_refused_before_it_begins() -> None:
    with pytest.raises(UserError, match=r"recurrent\.hidden"):
        recurrent.check(recipes.parse("[recurrent]\nhidden = 2000000"))
    recurrent.check(recipes.parse("[recurrent]\nsteps = 1"))


def test_elmo_asks_for_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'tokenizer\.kind is "bpe"'):
        elmo.check(recipes.parse("[elmo]\nsteps = 1"))
    root = project(tmp_path / "small", "lstm")
    more = " ".join(f"palavra{number % 60}" for number in range(3000))
    (root / "data" / "sources" / "more.txt").write_text(more, encoding="utf-8")
    text = (root / "plutao.toml").read_text(encoding="utf-8")
    text = (
        text[: text.index("[tokenizer]")]
        + '[tokenizer]\nkind = "word"\nvocabulary = 64\n\n[elmo]\nsteps = 4\nbatch = 4\n'
    )
    text += 'window = 8\nwidth = 16\nhidden = 24\nprecision = "fp32"\ncompile = "off"\nevaluate = 1\n'
    (root / "plutao.toml").write_text(text, encoding="utf-8")
    done("run", root)
    card = json.loads((root / "runs" / "current" / "elmo" / "stage.json").read_text())
    assert card["validation"]["perplexity_forward"] > 1 and "words/s" in card["in_a_line"]
    found = json.loads(done("inspect", root, "--senses", "banco", "--json").out)
    assert [layer["name"] for layer in found["senses"]["layers"]] == ["characters", "1", "2", "mixture"]
    assert "banco, bank" in refused("inspect", root, "--senses", "manga")
