"""Stage translation: from sentence pairs to a translator, by `plutao run` alone; complete and inspect know its folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import done, refused

from plutao.files import read_json
from plutao.generate.translator import load_translator
from plutao.project import open_project
from plutao.recipe import parse, shipped
from plutao.stages import translation

RECIPE = """name = "tiny"

[translation]
source = "fr"
target = "en"
steps = 90
vocabulary = 330
layers = 1
width = 32
heads = 2
dropout = 0.0
batch = 1200
precision = "fp32"
compile = "off"
evaluate = 1
sample_at = [0.0, 1.0]

[translation.optimizer]
learning_rate = 0.02

[[translation.sources]]
name = "table"
path = "pairs.tsv"
license = "CC BY-NC 4.0"
"""
WHO = (
    ("je suis", "I am"),
    ("tu es", "you are"),
    ("il est", "he is"),
    ("elle est", "she is"),
    ("nous sommes", "we are"),
)
WHAT = (
    *(("étudiant", "a student"), ("grand", "tall"), ("petit", "small"), ("seul", "alone"), ("ici", "here")),
    *(("là", "there"), ("content", "happy"), ("triste", "sad"), ("malade", "ill"), ("prêt", "ready")),
)
HOW = (("", ""), (" maintenant", " now"), (" aussi", " too"), (" souvent", " often"))


def write_pairs(path: Path) -> None:
    rows = [
        (f"{who} {what}{how}.", f"{am} {something}{so}.")
        for who, am in WHO
        for what, something in WHAT
        for how, so in HOW
    ]
    path.write_text("fr\ten\n" + "".join(f"{fr}\t{en}\n" for fr, en in rows), encoding="utf-8")


def project(root: Path, recipe: str = RECIPE) -> Path:
    root.mkdir(parents=True)
    (root / "plutao.toml").write_text(recipe, encoding="utf-8")
    write_pairs(root / "pairs.tsv")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose run is done."""
    root = project(tmp_path_factory.mktemp("translation") / "tiny")
    done("run", root)
    return root


def card(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(root / "runs" / "current" / "translation" / "stage.json")
    return found


def test_a_recipe_of_translation_alone_runs_from_pairs_to_a_report(trained: Path) -> None:
    told = card(trained)
    folder = trained / "runs" / "current" / "translation"
    assert told["complete"] and (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file()
    assert not list(folder.glob("*.bin")) and not list(folder.glob("*.pt"))
    report = (trained / "runs" / "current" / "report.md").read_text(encoding="utf-8")
    assert "How well it translates" in report and told["translation"]["examples"][0]["reference"] in report
    source = told["sources"]["table"]
    assert (
        source["pairs"] == 200
        and source["train"] + source["validation"] + source["test"] == 200 - told["left_out"]["twins"]
    )
    assert told["noncommercial"] == ["table"]
    assert told["parameters"] == load_translator(folder).model.count_parameters()


def test_it_learns(trained: Path) -> None:
    told = card(trained)
    assert told["validation"]["low"] <= told["validation"]["loss"] <= told["validation"]["high"]
    assert told["validation"]["loss"] < 1.5 < 4 < first_loss(trained)
    bleu, chrf = told["translation"]["bleu"], told["translation"]["chrf"]
    assert chrf["value"] > 35 and bleu["n"] == chrf["n"] == told["sources"]["table"]["test"] == 20
    assert told["translation"]["by_source"]["table"]["chrf"]["value"] == chrf["value"]
    assert "BLEU" in told["in_a_line"] and "fr → en" in told["in_a_line"]
    lines = (trained / "runs" / "current" / "translation" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 20 and set(json.loads(lines[0])) == {"source", "translation", "reference", "of"}


def first_loss(root: Path) -> float:
    lines = (root / "runs" / "current" / "translation" / "metrics.jsonl").read_text().splitlines()
    return float(next(line["loss"] for line in map(json.loads, lines) if "loss" in line))


def test_what_is_done_is_not_done_again(trained: Path) -> None:
    assert "done already" in done("run", trained).err


def test_other_pairs_are_another_training(trained: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "copy", symlinks=True))
    before = translation.inputs(open_project(root, run="tiny-1"))
    with (root / "pairs.tsv").open("a", encoding="utf-8") as file:
        file.write("on est là.\twe are there.\n")
    assert translation.inputs(open_project(root, run="tiny-1")) != before


@pytest.mark.parametrize("kind", ["rnn", "attention"])
def test_the_other_kinds_run_too(kind: str, tmp_path: Path) -> None:
    root = project(tmp_path / kind)
    done("run", root, "--set", f"translation.kind={kind}", "--set", "translation.steps=5")
    assert load_translator(root / "runs" / "current" / "translation").model.config.kind == kind


# --------------------------------------------------------------------------------------------------------- using it


def test_complete_translates_line_by_line(trained: Path) -> None:
    translator = load_translator(trained / "runs" / "current" / "translation")
    [one], [other] = ([each[0].text] for each in translator.translate(["je suis grand.", "tu es ici."]))
    assert done("complete", trained, "--prompt", "je suis grand.\n\ntu es ici.").out == f"{one}\n\n{other}\n"


def test_complete_gives_alternatives_and_numbers(trained: Path) -> None:
    told = json.loads(done("complete", trained, "--prompt", "je suis grand.", "--beam", 5, "--n", 3, "--json").out)
    found = told["sentences"][0]["translations"]
    assert (told["source"], told["target"], told["beam"]) == ("fr", "en", 5) and 1 <= len(found) <= 3
    assert found == sorted(found, key=lambda each: -each["score"])
    assert "".join(token["text"] for token in found[0]["tokens"]) == found[0]["text"]


def test_options_that_mean_nothing_to_a_translator_are_refused(trained: Path) -> None:
    assert "--top-k is for models that draw" in refused("complete", trained, "--prompt", "je", "--top-k", 3)
    assert "--temperature is for models" in refused("complete", trained, "--prompt", "je", "--temperature", 1.2)
    assert "nothing to translate" in refused("complete", trained, "--prompt", " ")


def test_inspect_shows_the_steps_and_all_attention(trained: Path, tmp_path: Path) -> None:
    said = done("inspect", trained, "--translate", "je suis grand.").out
    assert "<sos>" in said and "<eos>" in said and "token by token" in said
    told = json.loads(done("inspect", trained, "--translate", "je suis grand.", "--json").out)["translation"]
    assert set(told["attention"]) == {"encoder", "decoder", "cross"}
    page = tmp_path / "page.html"
    done("inspect", trained, "--translate", "je suis grand.", "--html", page, "--language", "pt", "--head", 1)
    assert "Atenção do decoder ao encoder" in page.read_text(encoding="utf-8")
    assert "holds a translator" in refused("inspect", trained, "--text", "je suis", "--next")
    assert "layers 1 to 1 and heads 1 to 2" in refused("inspect", trained, "--translate", "je.", "--layer", 2)


# ---------------------------------------------------------------------------------------------------------- refused


def test_what_can_not_be_learned_from_is_refused_before_anything_long(tmp_path: Path) -> None:
    root = project(tmp_path / "refused")
    nothing = RECIPE[: RECIPE.index("[[translation.sources]]")]
    (root / "plutao.toml").write_text(nothing, encoding="utf-8")
    assert "name sentence pairs in [[translation.sources]]" in refused("run", root)
    (root / "plutao.toml").write_text(
        nothing + '[[translation.sources]]\nname = "w"\nworld = "solar"\n', encoding="utf-8"
    )
    assert "The world 'solar' speaks pt and en, not fr and en" in refused("run", root)
    (root / "plutao.toml").write_text(RECIPE, encoding="utf-8")
    assert "width of 32 can't be shared evenly by 3 heads" in refused("run", root, "--set", "translation.heads=3")
    assert "translation.vocabulary" in refused("run", root, "--set", "translation.vocabulary=8000")
    wrong = refused("run", root, "--set", "translation.sources.0.target_field=nl")
    assert "pairs.tsv, row 1 has no text in" in wrong and "source_field and target_field" in wrong
    (root / "pairs.tsv").unlink()
    assert "is not there" in refused("run", root)


def test_the_same_seed_gives_the_same_translator(tmp_path: Path) -> None:
    weights = []
    for name in ("one", "other"):
        root = project(tmp_path / name)
        done("run", root, "--set", "translation.steps=3", "--set", "translation.dropout=0.1")
        weights.append(load_translator(root / "runs" / "current" / "translation").model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_shipped_recipes_are_whole() -> None:
    for name in ("traducao-fr-en", "traducao-pt-en", "traducao-solar"):
        recipe = parse(shipped()[name])
        assert recipe.stages == ("translation",) and recipe.translation is not None
        config = translation.shape(recipe.translation, recipe.translation.vocabulary)
        assert config.width % config.heads == 0
