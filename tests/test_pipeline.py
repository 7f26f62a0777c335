"""The whole way, through the command line: text → tokenizer → base model → report; stopped, killed, resumed, repeated."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import done, in_a_process, plutao, start, tiny_project, write_texts

from plutao.train.checkpoint import checkpoints
from plutao.worlds import solar


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after its first run; tests that change it take a copy."""
    root = tiny_project(tmp_path_factory.mktemp("pipeline") / "tiny")
    done("run", root)
    return root


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "tiny", symlinks=True))


def card(root: Path, run: str = "tiny-1", stage: str = "base") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "runs" / run / stage / "stage.json").read_text())
    return found


def weights(root: Path, run: str = "tiny-1") -> bytes:
    return (root / "runs" / run / "base" / "model.safetensors").read_bytes()


# ---------------------------------------------------------------------------------------------------------------------
# What a run leaves


def test_new_text_run_is_all_it_takes(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    said = done("new", root).out
    assert str(root / "data" / "sources") in said and f"plutao run {root}" in said
    write_texts(root / "data" / "sources")
    small = ("tokenizer.vocabulary=280", "model.preset=plutao-1m", "model.layers=1", "model.width=64", "base.steps=3")
    quick = ("model.context=16", "base.compile=off", "base.batch=2", "base.sample_at=[]", "base.evaluate=0")
    answer = done("run", root, *[word for change in small + quick for word in ("--set", change)])
    assert answer.out == ""
    assert "Report:" in answer.err and "bits per byte" in answer.err
    assert (root / "runs" / "current").resolve().name == "own-text-1"
    assert 'preset = "plutao-1m"' in (root / "runs" / "own-text-1" / "base" / "recipe.toml").read_text()


def test_the_report_has_what_scripts_rely_on(finished: Path) -> None:
    run = finished / "runs" / "tiny-1"
    report = json.loads((run / "report.json").read_text())
    base = report["stages"]["base"]
    assert isinstance(base["parameters"], int) and base["parameters"] == card(finished)["parameters"]
    assert base["tokens"] == 20 * 4 * 32
    assert base["tokens_per_second"] > 0 and base["seconds"] > 0
    measured = base["validation"]
    assert 0 < measured["low"] < measured["bits_per_byte"] < measured["high"] < 8
    assert report["recipe"]["name"] == "tiny" and report["recipe"]["base"]["steps"] == 20
    assert report["seconds"] > 0 and report["machine"]["torch"] == torch.__version__
    assert report["stages"]["tokenizer"]["vocabulary"] == 300
    assert "<html" in (run / "report.html").read_text(encoding="utf-8")
    assert (run / "report.md").read_text(encoding="utf-8").startswith("# ")
    assert json.loads(done("run", finished, "--json").out) == json.loads((run / "report.json").read_text())


def test_a_run_says_how_to_repeat_itself(finished: Path) -> None:
    made = card(finished)
    assert made["complete"] is True and made["seed"] == 1 and made["steps"] == 20
    assert {"plutao", "torch", "numpy", "tokenizers", "safetensors"} <= made["versions"].keys()
    assert made["data"][0]["source"] == "texts" and made["data"][0]["epochs"] > 0
    assert made["inputs"] and made["machine"]["threads"] >= 1
    lines = [json.loads(line) for line in (finished / "runs/tiny-1/base/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "samples" in line] == [0, 20]
    assert [line["step"] for line in lines if "validation" in line] == [10]


def test_transformers_loads_the_stage_and_answers_the_same(finished: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from plutao.models.interop.huggingface import load_model
    from plutao.text.tokenizer import Tokenizer

    folder = finished / "runs" / "current" / "base"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = transformers.AutoTokenizer.from_pretrained(folder)("the moon e o planeta pequeno")["input_ids"]
    assert ids == Tokenizer.load(folder).encode("the moon e o planeta pequeno")
    tokens = torch.tensor([ids])
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens).logits, load_model(folder)(tokens), atol=1e-4, rtol=0)


def test_the_other_verbs_work_on_the_run(finished: Path, tmp_path: Path) -> None:
    completed = json.loads(done("complete", finished, "--prompt", "the sun", "--max-tokens", 5, "--json").out)
    assert len(completed["completions"][0]["tokens"]) <= 5
    measured = json.loads(done("eval", finished, "--json").out)
    assert measured["bits_per_byte"] == pytest.approx(card(finished)["validation"]["bits_per_byte"], abs=1e-3)
    compared = json.loads(done("compare", "tiny-1", "current:base", "--project", finished, "--json").out)
    assert len(compared["models"]) == 2 and compared["pairs"][0]["difference"]["value"] == 0
    pytest.importorskip("transformers")
    exported = json.loads(done("export", finished, "--to", "hf", "--out", tmp_path / "out", "--json").out)
    assert exported["largest_difference"] <= exported["tolerance"]
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_world_brings_its_exam(tmp_path: Path) -> None:
    root = tiny_project(tmp_path / "tiny", texts=False)
    recipe = (root / "plutao.toml").read_text()
    source = 'path = "data/sources"\nlanguage = "pt"\n'
    (root / "plutao.toml").write_text(recipe.replace(source, 'world = "solar"\nmegabytes = 0.3\n'))
    assert ", exam " in done("run", root, "--set", "tokenizer.vocabulary=1024").err
    report = json.loads((root / "runs/current/report.json").read_text())
    exam = report["exam"]["base"]
    assert {"value", "low", "high", "n"} <= exam["overall"].keys() and set(exam["by_language"]) == {"en", "pt"}
    assert set(report["stages"]["tokenizer"]["bytes_per_token"]) == {"en", "pt"}
    again = json.loads(done("eval", root, "--tasks", "exam", "--json").out)["exam"]
    assert again["overall"]["value"] == exam["overall"]["value"] and again["overall"]["n"] == exam["overall"]["n"]


@pytest.mark.parametrize(
    ("kind", "comparable"), [("char", True), ("wordpiece", False), ("unigram", True), ("word", False)]
)
def test_every_kind_of_tokenizer_makes_a_run(tmp_path: Path, kind: str, comparable: bool) -> None:
    root = tiny_project(tmp_path / "tiny", texts=False)
    rows = [json.dumps({"text": document.text}) for document in solar.documents(megabytes=0.1, seed=1)]
    (root / "data" / "sources" / "rows.jsonl").write_text("\n".join(rows))
    done("run", root, "--set", f"tokenizer.kind={kind}", "--set", "tokenizer.vocabulary=256")
    measured = card(root)["validation"]
    assert (measured["bits_per_byte"] is not None) is comparable
    assert measured["perplexity"] > 1
    done("complete", root, "--prompt", "Plutão", "--max-tokens", 3)


# ---------------------------------------------------------------------------------------------------------------------
# Again, and with something changed


def test_a_second_run_does_nothing_again(project: Path) -> None:
    before = (project / "runs/tiny-1/base/stage.json").stat().st_mtime_ns
    started = time.monotonic()
    said = done("run", project).err
    assert "done already in run tiny-1" in said
    assert time.monotonic() - started < 10
    assert (project / "runs/tiny-1/base/stage.json").stat().st_mtime_ns == before
    assert sorted(path.name for path in (project / "runs").iterdir()) == [".lock", "current", "tiny-1"]


def test_a_changed_training_is_a_new_run_with_the_same_tokenizer(project: Path) -> None:
    said = done("run", project, "--set", "base.steps=4").err
    assert "Tokenizer: taken over from tiny-1" in said
    assert card(project, "tiny-2")["steps"] == 4
    assert (project / "runs" / "current").resolve().name == "tiny-2"
    assert "done already in run tiny-1" in done("run", project).err
    assert (project / "runs" / "current").resolve().name == "tiny-1"


def test_what_does_not_touch_training_is_taken_over_whole(project: Path) -> None:
    said = done("run", project, "--set", "report.language=pt").err
    assert "Tokenizer: taken over from tiny-1" in said and "Base: taken over from tiny-1" in said
    assert weights(project, "tiny-2") == weights(project)
    assert 'lang="pt' in (project / "runs/tiny-2/report.html").read_text(encoding="utf-8")


def test_changed_text_is_a_new_run_with_its_own_tokenizer(project: Path) -> None:
    write_texts(project / "data" / "sources", files=3, seed=9)
    said = done("run", project, "--set", "base.steps=2").err
    assert "taken over" not in said and "Run tiny-2" in said
    assert card(project, "tiny-2", "tokenizer")["inputs"] != card(project, "tiny-1", "tokenizer")["inputs"]


def test_the_stage_option_stops_there_and_a_later_run_goes_on(tmp_path: Path) -> None:
    root = tiny_project(tmp_path / "tiny")
    done("run", root, "--stage", "tokenizer")
    assert not (root / "runs" / "tiny-1" / "base").exists() and not (root / "runs" / "current").exists()
    before = (root / "runs/tiny-1/tokenizer/stage.json").stat().st_mtime_ns
    done("run", root, "--set", "base.steps=20", "--stage", "base")
    assert card(root)["complete"]
    assert (root / "runs/tiny-1/tokenizer/stage.json").stat().st_mtime_ns == before


def test_the_same_recipe_gives_the_same_weights(finished: Path, tmp_path: Path) -> None:
    other = tiny_project(tmp_path / "other")
    done("run", other)
    assert weights(other) == weights(finished)


def test_time_is_the_wall_time_of_all_of_it_and_part_of_the_recipe(project: Path) -> None:
    started = time.monotonic()
    done("run", project, "--time", "5s")
    assert time.monotonic() - started == pytest.approx(5, abs=4)
    assert card(project, "tiny-2")["steps"] > 20
    assert "minutes = 0.0833333" in (project / "runs/tiny-2/base/recipe.toml").read_text()
    assert "done already in run tiny-2" in done("run", project, "--time", "5s").err
    assert "done already in run tiny-1" in done("run", project).err


# ---------------------------------------------------------------------------------------------------------------------
# Stopped, killed, in several processes


def wait_for_checkpoint(root: Path, process: "subprocess.Popen[str]", after: int = 0) -> int:
    """Waits until a checkpoint later than step `after` is whole; returns its step."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        found = checkpoints(root / "runs" / "tiny-1" / "base" / "checkpoints")
        if found and (step := int(found[-1].name.removeprefix("step-"))) > after:
            return step
        time.sleep(0.005)
    process.kill()
    pytest.fail(f"no checkpoint was written: {process.communicate()[1]}")


def test_stopped_then_killed_then_finished_is_the_same_as_never_stopped(tmp_path: Path) -> None:
    whole, broken = tiny_project(tmp_path / "whole"), tiny_project(tmp_path / "broken")
    options = ("--set", "base.steps=100", "--set", "base.checkpoint_minutes=0.0005", "--set", "model.dropout=0.1")
    assert in_a_process("run", whole, *options).status == 0

    stopped = start("run", broken, *options)
    wait_for_checkpoint(broken, stopped)
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert "everything is saved. The same command goes on from here." in said and "Traceback" not in said
    reached = int(checkpoints(broken / "runs/tiny-1/base/checkpoints")[-1].name.removeprefix("step-"))
    assert f"Stopped at step {reached} of 100" in said

    killed = start("run", broken, *options)
    wait_for_checkpoint(broken, killed, after=reached)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    killed.communicate()
    assert not (broken / "runs/tiny-1/base/stage.json").exists()
    assert plutao("complete", broken, "--prompt", "a").status == 1  # no half a model to be had

    resumed = in_a_process("run", broken, *options)
    assert resumed.status == 0 and "Resumed at step" in resumed.err
    assert weights(broken) == weights(whole)
    assert not [path for path in (broken / "runs").rglob(".*") if path.name.endswith(".tmp")]
    assert card(broken)["training_loss"] == card(whole)["training_loss"]


def torchrun(root: Path, *options: str) -> str:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "plutao"]
    result = subprocess.run(
        [*command, "run", str(root), *options], capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_two_processes_under_torchrun_learn_as_one(finished: Path, tmp_path: Path) -> None:
    root = tiny_project(tmp_path / "tiny")
    said = torchrun(root)
    assert said.count("Report:") == 1  # one of them speaks
    two, one = card(root), card(finished)
    assert two["tokens"] == one["tokens"] and two["steps"] == one["steps"]
    assert two["training_loss"] == pytest.approx(one["training_loss"], abs=0.02)
    assert two["validation"]["bits_per_byte"] == pytest.approx(one["validation"]["bits_per_byte"], abs=0.01)
    assert "done already" in torchrun(root)


def test_two_processes_agree_on_what_fits_into_the_time(tmp_path: Path) -> None:
    root = tiny_project(tmp_path / "tiny")
    torchrun(root, "--set", "base.minutes=0.05")
    assert card(root)["steps"] > 10
