"""Stage bert from a recipe to folders that answer: pretraining, tasks, resuming, starting from another's folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from commands import done, refused, write_texts

from plutao.files import read_json
from plutao.models.encoder import MaskedModel, SequenceModel, SpanModel
from plutao.models.interop.bert import load_bert, load_labels
from plutao.text.tokenizer import Tokenizer

RECIPE = """name = "tiny-bert"

[data]
validation = 0.2

[[data.sources]]
name = "texts"
path = "data/sources"
language = "pt"

[tokenizer]
kind = "wordpiece"
vocabulary = 64

[bert]
steps = 30
layers = 1
width = 32
heads = 2
context = 32
batch = 8
next_sentence = true
precision = "fp32"
compile = "off"
evaluate = 1
sample_at = [1.0]
prompts = ["the [MASK] and pluto"]

[[bert.tasks]]
name = "frio"
kind = "classification"
path = "frio.jsonl"
epochs = 20
precision = "fp32"
optimizer.learning_rate = 0.003

[[bert.tasks]]
name = "igual"
kind = "similarity"
path = "igual.jsonl"
second = "other"
epochs = 1
precision = "fp32"

[[bert.tasks]]
name = "onde"
kind = "answers"
path = "onde.jsonl"
text = "context"
second = "question"
label = "answers"
epochs = 1
precision = "fp32"
"""
THINGS = ("sun", "ice", "rio", "chuva")


def rows(path: Path, some: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose run is done."""
    root = tmp_path_factory.mktemp("bert")
    write_texts(root / "data" / "sources", files=12, words=200)
    (root / "plutao.toml").write_text(RECIPE, encoding="utf-8")
    rows(
        root / "frio.jsonl",
        [
            {"text": f"{THINGS[n % 4]} talk about {THINGS[n % 4]} {n}", "label": "sim" if n % 4 == 1 else "não"}
            for n in range(80)
        ],
    )
    rows(
        root / "igual.jsonl",
        [{"text": THINGS[n % 4], "other": THINGS[n % 3], "label": float(n % 4 == n % 3)} for n in range(60)],
    )
    context = "the sun and pluto talk about ice " * 4
    rows(
        root / "onde.jsonl",
        [
            {
                "context": f"{n} {context}",
                "question": "talk about",
                "answers": [{"text": "ice", "answer_start": f"{n} {context}".index("ice")}],
            }
            for n in range(24)
        ],
    )
    done("run", root)
    return root


def stage(root: Path) -> Path:
    return root / "runs" / "tiny-bert-1" / "bert"


def test_the_folder_fills_in_and_its_card_tells_how_well(project: Path) -> None:
    card = read_json(stage(project) / "stage.json")
    assert card["complete"] and card["next_sentence"]
    assert card["steps"] == 30
    assert 0 <= card["validation"]["accuracy"]["low"] <= card["validation"]["accuracy"]["high"] <= 1
    assert card["validation"]["loss"] < 4.15, "less than ln 64, what chance gives"
    model = load_bert(stage(project))
    assert isinstance(model, MaskedModel) and model.pooler is not None
    answer = json.loads(done("inspect", project, "--fill", "--text", "the [MASK] of", "--top", 3, "--json").out)
    assert len(answer["fill"]["holes"][0]["guesses"]) == 3
    samples = [line for line in (stage(project) / "metrics.jsonl").read_text().splitlines() if "samples" in line]
    assert "the [MASK] and pluto" in samples[-1]


def test_each_task_has_a_folder_of_its_own_and_measures_with_intervals(project: Path) -> None:
    tasks = read_json(stage(project) / "stage.json")["tasks"]
    assert list(tasks) == ["frio", "igual", "onde"]
    assert tasks["frio"]["measures"]["accuracy"]["value"] > 0.9
    assert set(tasks["igual"]["measures"]) >= {"pearson", "spearman", "baseline"}
    assert tasks["onde"]["measures"]["f1"]["n"] == tasks["onde"]["measures"]["exact"]["n"]
    folder = stage(project) / "tasks"
    assert isinstance(load_bert(folder / "frio"), SequenceModel)
    assert load_labels(folder / "frio") == ["não", "sim"]
    assert isinstance(load_bert(folder / "onde"), SpanModel)


def test_a_person_can_ask_the_tasks(project: Path) -> None:
    said = json.loads(done("inspect", project, "--task", "frio", "--text", "ice talk about ice", "--json").out)
    assert max(said["classes"], key=said["classes"].get) == "sim"
    assert "number" in json.loads(
        done("inspect", project, "--task", "igual", "--text", "ice", "--second", "sun", "--json").out
    )
    marked = done("inspect", project, "--task", "onde", "--text", "the sun talk about ice", "--second", "what")
    assert marked.out.strip() in "the sun talk about ice"
    assert "has no task 'x'. It has: frio, igual, onde" in refused("inspect", project, "--task", "x", "--text", "a")


def test_transformers_reads_the_folders(project: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(stage(project)).eval()
    words = transformers.AutoTokenizer.from_pretrained(stage(project))
    batch = words("the sun <|mask|> pluto", return_tensors="pt")
    assert (batch["input_ids"] == words.mask_token_id).sum() == 1
    ours = load_bert(stage(project))
    assert isinstance(ours, MaskedModel)
    with torch.no_grad():
        assert (theirs(**batch).logits - ours(batch["input_ids"])).abs().max() < 1e-4
    classifier = transformers.AutoModelForSequenceClassification.from_pretrained(stage(project) / "tasks" / "frio")
    assert classifier.config.id2label == {0: "não", 1: "sim"}


def test_what_is_done_is_not_done_again_and_a_changed_task_is(project: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in stage(project).rglob("*.safetensors")}
    said = done("run", project)
    assert "BERT: done already" in said.out + said.err
    assert {path: path.stat().st_mtime_ns for path in stage(project).rglob("*.safetensors")} == before
    done("run", project, "--set", "bert.tasks.1.epochs=2")
    again = project / "runs" / "tiny-bert-2" / "bert"
    assert not (again / "checkpoints").exists(), "what was pretrained is taken as it is"
    cards = {
        name: [read_json(at / "tasks" / name / "stage.json") for at in (stage(project), again)]
        for name in ("frio", "igual")
    }
    assert cards["frio"][0] == cards["frio"][1]
    assert cards["igual"][1]["steps"] == 2 * cards["igual"][0]["steps"]


def test_a_bert_of_somebody_else_is_gone_on_with(project: Path, tmp_path: Path) -> None:
    """Its shape and tokenizer are taken; without steps it stays as it is."""
    root = tmp_path / "more"
    shutil.copytree(project, root, ignore=shutil.ignore_patterns("runs"))
    shutil.copytree(stage(project), root / "theirs", ignore=shutil.ignore_patterns("tasks", "checkpoints"))
    recipe = (root / "plutao.toml").read_text().replace('kind = "wordpiece"', 'kind = "wordpiece"\npath = "theirs"')
    recipe = recipe.replace("steps = 30", 'steps = 0\nstart_from = "theirs"')
    (root / "plutao.toml").write_text(recipe[: recipe.index("[[bert.tasks]]")], encoding="utf-8")
    done("run", root)
    again, first = load_bert(stage(root)), load_bert(stage(project))
    assert all(torch.equal(one, other) for one, other in zip(again.parameters(), first.parameters(), strict=True))
    assert Tokenizer.load(stage(root)).fingerprint == Tokenizer.load(stage(project)).fingerprint


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('path = "frio.jsonl"', 'path = "nix.jsonl"', "nix.jsonl is not there"),
        ('path = "igual.jsonl"', 'path = "frio.jsonl"', "no text in field 'other'"),
        ("heads = 2", "heads = 3", "32 can't be shared by 3 heads"),
        ("next_sentence = true", 'start_from = "nowhere"', "nowhere holds no model"),
        ('name = "igual"', 'name = "frio"', "two tasks are called 'frio'"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_long(
    old: str, new: str, message: str, project: Path, tmp_path: Path
) -> None:
    root = tmp_path / "bad"
    shutil.copytree(project, root, ignore=shutil.ignore_patterns("runs"))
    recipe = (root / "plutao.toml").read_text()
    assert old in recipe
    (root / "plutao.toml").write_text(recipe.replace(old, new, 1), encoding="utf-8")
    assert message in refused("run", root)
