"""`plutao data add|build|show|get` as a person types them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plutao import recipe as recipes
from plutao.cli.data import app
from plutao.errors import UserError
from plutao.project import create
from plutao.text.tokenizer import train

RECIPE = """# my recipe
name = "mine"

[data]
validation = 0.2 # a fifth

[base]
batch = 2 # small
"""
FIGURE_75_DOCUMENTS = [
    "Here is an example document 1 showing some tokens.",
    "Example document 2",
    "Example document 3",
    "Example document 4",
    "This is some random text just for example",
    "This is another document",
    "1,2,3,4,5,6,7",
]
FIGURE_75 = [
    [4342, 318, 281, 1672, 3188, 352, 4478, 617, 16326, 13],
    [16281, 3188, 362, 50256, 16281, 3188, 513, 50256, 16281, 3188],
    [1212, 318, 617, 4738, 2420, 655, 329, 1672, 50256, 1212],
    [16, 11, 17, 11, 18, 11, 19, 11, 20, 11],
]


def plutao(*arguments: object) -> str:
    """Standard output of `plutao data …`; the user's errors come through."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "texts").mkdir(parents=True)
    (root / "plutao.toml").write_text(RECIPE, encoding="utf-8")
    for number in range(10):
        (root / "texts" / f"{number}.txt").write_text(f"Texto número {number}. " * 20, encoding="utf-8")
    return root


def give_tokenizer(project: Path) -> None:
    """A finished tokenizer stage, as a run leaves it."""
    tokenizer = train("char", ["Texto número 0123456789. "], 64)
    tokenizer.save(project / "runs" / "mine-1" / "tokenizer")
    (project / "runs" / "mine-1" / "run.json").write_text("{}")


def test_add_writes_a_source_and_keeps_the_recipe_as_it_was(project):
    output = plutao("add", project, project / "texts", "--language", "pt", "--license", "CC0-1.0")
    assert "texts: 10 file(s), 0.00 MB, utf-8: 'Texto número 0." in output
    text = (project / "plutao.toml").read_text(encoding="utf-8")
    for line in ("# my recipe", "validation = 0.2 # a fifth", "batch = 2 # small"):
        assert line in text
    recipe = recipes.load(project / "plutao.toml")
    (source,) = recipe.data.sources
    assert (source.name, source.path, source.language, source.license) == ("texts", "texts", "pt", "CC0-1.0")
    assert recipe.data.validation == 0.2 and recipe.base.batch == 2


def test_add_takes_several_paths_and_finds_the_project_in_this_folder(project, monkeypatch):
    monkeypatch.chdir(project / "texts")
    (project / "texts" / "plutao.toml").write_text((project / "plutao.toml").read_text())
    found = json.loads(plutao("add", "0.txt", "[1-3].txt", "--json"))
    assert [(each["name"], each["files"]) for each in found] == [("0", 1), ("text", 3)]
    plutao("add", "9.txt", "--name", "nine")
    names = [source.name for source in recipes.load(project / "texts" / "plutao.toml").data.sources]
    assert names == ["0", "text", "nine"]


def test_the_empty_folder_of_a_new_project_gives_way_to_the_first_texts(project, tmp_path):
    create(tmp_path / "fresh", "own-text")
    output = plutao("add", tmp_path / "fresh", project / "texts", "--name", "mine")
    assert "texts: taken out of the recipe, since its folder is empty." in output
    assert [source.name for source in recipes.load(tmp_path / "fresh" / "plutao.toml").data.sources] == ["mine"]
    text = (tmp_path / "fresh" / "plutao.toml").read_text(encoding="utf-8")
    assert "\n\n[tokenizer]\n" in text and '[[data.sources]]\nname = "mine"' in text
    assert "mine" in plutao("build", tmp_path / "fresh")


def test_add_refuses_what_cannot_be_read_and_changes_nothing(project):
    (project / "texts" / "a.txt").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"a\.txt is a PNG image"):
        plutao("add", project, project / "texts" / "0.txt", project / "texts")
    (project / "bad.jsonl").write_text('{"text": "a"}\n{"txet": "b"}\n')
    with pytest.raises(UserError, match=r"bad\.jsonl, row 2 has no field 'text'"):
        plutao("add", project, project / "bad.jsonl")
    with pytest.raises(UserError, match="is not there"):
        plutao("add", project, project / "nowhere.txt")
    assert (project / "plutao.toml").read_text() == RECIPE


def test_add_explains_what_is_wrong_with_the_order_itself(project, tmp_path):
    with pytest.raises(UserError, match="Nothing to add"):
        plutao("add", project)
    plutao("add", project, project / "texts" / "0.txt")
    with pytest.raises(UserError, match="is in the recipe already, as source '0'"):
        plutao("add", project, project / "texts" / "0.txt")
    with pytest.raises(UserError, match=r"source '0' has no weight and others do"):
        plutao("add", project, project / "texts" / "1.txt", "--weight", 2)
    with pytest.raises(UserError, match=r"--weight -1\.0: Input should be greater than 0"):
        plutao("add", project, project / "texts" / "1.txt", "--weight=-1")
    with pytest.raises(UserError, match=r"has no plutao\.toml: `plutao new"):
        plutao("add", tmp_path / "elsewhere", "x.txt")


def test_build_makes_documents_and_with_a_tokenizer_token_shards(project):
    plutao("add", project, project / "texts", "--license", "CC0-1.0")
    output = plutao("build", project)
    assert "texts" in output and "CC0-1.0" in output and "none yet" in output
    give_tokenizer(project)
    built = json.loads(plutao("build", project, "--json"))
    source = built["sources"]["texts"]
    assert source["documents"] == 10 and source["train"]["documents"] == 8 and source["licenses"] == {"CC0-1.0": 1.0}
    assert (Path(built["folder"]) / "texts" / "train.parquet").is_file()
    tokens = built["shards"]["sources"]["texts"]["train"]["tokens"]
    assert tokens == source["train"]["characters"] + 8
    assert (Path(built["shards"]["folder"]) / "texts" / "train.bin").stat().st_size == 2 * tokens


def test_show_prints_the_first_batch_of_the_project(project):
    plutao("add", project, project / "texts")
    with pytest.raises(UserError, match="has no tokenizer yet"):
        plutao("show", project)
    give_tokenizer(project)
    matrix = json.loads(plutao("show", project, "--batch", 3, "--context", 7, "--json"))
    assert [len(row) for row in matrix["tokens"]] == [7, 7, 7]
    for tokens, targets in zip(matrix["tokens"], matrix["targets"], strict=True):
        assert tokens[1:] == targets[:-1]
    assert "(B, T) = (3, 7)" in plutao("show", project, "--batch", 3, "--context", 7)


@pytest.mark.real_data
def test_show_prints_figure_75_and_the_target_of_figure_76(tmp_path, real_data):
    documents = tmp_path / "documents.jsonl"
    documents.write_text("\n".join(json.dumps({"text": text}) for text in FIGURE_75_DOCUMENTS), encoding="utf-8")
    arguments = ("show", "--text", documents, "--tokenizer", real_data / "assets")
    matrix = json.loads(plutao(*arguments, "--json"))
    assert matrix["tokens"] == FIGURE_75
    cell = matrix["cell"]
    assert (cell["row"], cell["column"], cell["context"]) == (2, 6, [16281, 3188, 362, 50256, 16281, 3188])
    assert (cell["target"], cell["target_text"]) == (513, " 3")
    output = plutao(*arguments)
    assert " 16281  3188   362 50256 16281  3188   513 50256 16281  3188" in output
    assert "row 2: Example| document| 2|<|endoftext|>|Example| document| 3|<|endoftext|>|Example| document" in output
    assert "the target is 513 ' 3'" in output


def test_get_lists_the_catalogue_and_says_where_a_file_belongs(tmp_path, monkeypatch):
    monkeypatch.delenv("PLUTAO_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    listed = json.loads(plutao("get", "--json"))
    assert listed["tinyshakespeare"]["address"].startswith("https://") and listed["machado"]["language"] == "pt"
    assert "eltec-por (pt, 12.1 MB" in plutao("get")
    with pytest.raises(UserError, match=r"put machado\.jsonl\.gz at .*corpora"):
        plutao("get", tmp_path, "machado")


@pytest.mark.real_data
def test_get_and_add_take_a_corpus_from_a_local_folder(tmp_path, real_data):
    create(tmp_path / "p", "sistema-solar")
    fetched = json.loads(plutao("get", tmp_path / "p", "tinyshakespeare", "--json"))
    assert fetched == {"tinyshakespeare": str(real_data / "pretrain" / "tinyshakespeare.txt")}
    plutao("add", tmp_path / "p", "--corpus", "tinyshakespeare")
    sources = recipes.load(tmp_path / "p" / "plutao.toml").data.sources
    assert [source.corpus for source in sources] == [None, "tinyshakespeare"]


def test_the_command_prints_one_sentence_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "plutao", "data", "build", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1 and result.stdout == ""
    assert "has no plutao.toml" in result.stderr and "Traceback" not in result.stderr
