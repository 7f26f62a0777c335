"""Before stage 1: the tokenizer is trained on the mix, or taken ready, and says how much text its tokens hold."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from commands import tiny_project

from plutao.data.documents import build_documents
from plutao.errors import UserError
from plutao.project import Project, open_project
from plutao.stages import tokenizer
from plutao.text.tokenizer import Tokenizer, train


def prepared(root: Path, *overrides: str) -> tuple[Project, Path]:
    project = replace(open_project(root, overrides), run="r")
    card = build_documents(project.recipe.data, project.recipe.seed, root, project.data / "documents")
    return project, card.folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny_project(tmp_path / "tiny")


def test_it_is_trained_stored_and_described(root: Path) -> None:
    project, documents = prepared(root)
    said: list[str] = []
    made = tokenizer.run(project, documents, "inputs", said.append)
    folder = project.stage_dir("tokenizer")
    assert Tokenizer.load(folder).fingerprint == made.fingerprint
    card = json.loads((folder / "stage.json").read_text())
    assert (card["complete"], card["inputs"], card["kind"], card["vocabulary"]) == (True, "inputs", "bpe", 300)
    assert card["reversible"] and card["fingerprint"] == made.fingerprint
    assert 1 < card["bytes_per_token"]["pt"]["ours"] < 6
    assert (folder / "recipe.toml").is_file()
    assert said[0].startswith("Tokenizer: bpe, 300 tokens, in ") and "bytes per token: pt " in said[0]


def test_a_ready_one_is_taken_as_it_is(root: Path) -> None:
    ready = train("char", ["the sun and pluto"], 100)
    ready.save(root / "ready")
    project, documents = prepared(root, "tokenizer.path=ready")
    assert tokenizer.run(project, documents, "inputs", lambda text: None).fingerprint == ready.fingerprint
    project, documents = prepared(root, "tokenizer.path=nowhere")
    with pytest.raises(UserError, match=r"There is no tokenizer in .*nowhere"):
        tokenizer.run(project, documents, "inputs", lambda text: None)


def test_nothing_is_left_of_one_that_failed(root: Path) -> None:
    project, documents = prepared(root, "tokenizer.vocabulary=90000")
    with pytest.raises(UserError, match="The text supports only"):
        tokenizer.run(project, documents, "inputs", lambda text: None)
    assert not project.run_dir.exists()


def test_it_depends_on_its_settings_its_seed_and_its_text(root: Path) -> None:
    def inputs(*overrides: str, data: str = "text") -> str:
        return tokenizer.inputs(open_project(root, overrides), data)

    assert len({inputs(), inputs("tokenizer.kind=char"), inputs("seed=2"), inputs(data="other")}) == 4
    assert inputs("base.steps=3", "model.layers=1") == inputs()


@pytest.mark.real_data
def test_gpt2_stands_beside_it_where_its_files_are(
    root: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUTAO_DATA", str(real_data))
    project, documents = prepared(root)
    said: list[str] = []
    tokenizer.run(project, documents, "inputs", said.append)
    held = json.loads((project.stage_dir("tokenizer") / "stage.json").read_text())["bytes_per_token"]
    assert set(held["pt"]) == {"ours", "gpt2"}
    assert "(GPT-2 " in said[0]
