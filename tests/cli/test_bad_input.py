"""What people and machines do wrong: one sentence with its cause and remedy, an exit status, and nothing lost."""

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Answer, done, plutao, refused, sentence, start, tiny_project, write_texts

from plutao.stages import common
from plutao.train import device
from plutao.train.checkpoint import checkpoints

QUICK = ("--set", "base.steps=2", "--set", "base.sample_at=[]", "--set", "base.evaluate=0")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tiny_project(tmp_path / "tiny")


@pytest.fixture
def sources(project: Path) -> Path:
    return project / "data" / "sources"


def runs(project: Path) -> list[str]:
    return sorted(path.parent.name for path in (project / "runs").glob("*/run.json") if not path.parent.is_symlink())


# ---------------------------------------------------------------------------------------------------------------------
# Text


def test_an_empty_folder(tmp_path: Path) -> None:
    empty = tiny_project(tmp_path / "empty", texts=False)
    said = refused("run", empty)
    assert f"{empty / 'data' / 'sources'} has no files: put text files there (.txt .md .jsonl .parquet" in said
    assert runs(empty) == []


def test_files_without_a_word_in_them(project: Path, sources: Path) -> None:
    for file in sources.iterdir():
        file.write_text(" \n")
    assert "Source 'texts' has no text (20 × no text): add some" in refused("run", project)


def test_a_project_that_names_no_text(project: Path) -> None:
    recipe = (project / "plutao.toml").read_text()
    (project / "plutao.toml").write_text(recipe.replace('[[data.sources]]\nname = "texts"\npath = "data/sources"', ""))
    (project / "plutao.toml").write_text((project / "plutao.toml").read_text().replace('language = "pt"', ""))
    assert "names no text: `plutao data add" in refused("run", project)


def test_a_binary_file_among_texts(project: Path, sources: Path) -> None:
    (sources / "holiday.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    said = refused("run", project)
    assert f"{sources / 'holiday.txt'} is a PNG image, not text. Move it away, or set data.bad_rows" in said
    (sources / "holiday.txt").rename(sources / "holiday.png")
    assert "holiday.png (.png) is none of .txt" in refused("run", project)
    done("run", project, *QUICK, "--set", "data.bad_rows=skip")
    assert "1 × not a text file" in (project / "runs/current/report.md").read_text(encoding="utf-8")


def test_invalid_utf8(project: Path, sources: Path) -> None:
    text = "A tarde caía sobre o rio e a lua não vinha.\n" * 20
    damaged = text.encode().replace("caía".encode(), b"ca\xc3a", 1)
    (sources / "damaged.txt").write_bytes(damaged)
    said = refused("run", project)
    assert f"{sources / 'damaged.txt'} is not valid UTF-8: byte 0xC3 in line 1 does not fit. Mend that place" in said


def test_a_broken_archive(project: Path, sources: Path) -> None:
    whole = gzip.compress(b"the sun and pluto talk " * 400)
    (sources / "broken.txt.gz").write_bytes(whole[: len(whole) // 2])
    said = refused("run", project)
    assert f"{sources / 'broken.txt.gz'} is damaged: " in said and "Move it away, or set data.bad_rows" in said
    (sources / "broken.txt.gz").write_bytes(b"no archive at all")
    assert "broken.txt.gz is damaged: " in refused("run", project)


def test_a_bad_row_is_named_or_counted_if_asked(project: Path, sources: Path) -> None:
    rows = [json.dumps({"text": "the moon sings over the river " * 10}) for _ in range(6)]
    (sources / "rows.jsonl").write_text("\n".join([*rows[:3], '{"text": "half of', *rows[3:], '{"txet": "a"}']))
    said = refused("run", project)
    assert f"{sources / 'rows.jsonl'}, row 4 is not valid JSON" in said and 'data.bad_rows = "skip"' in said
    done("run", project, *QUICK, "--set", "data.bad_rows=skip")
    report = json.loads((project / "runs/current/report.json").read_text())
    assert report["data"]["sources"]["texts"]["skipped"] == {"not JSON": 1, "no text field": 1}
    for kind in ("html", "md"):
        page = (project / f"runs/current/report.{kind}").read_text(encoding="utf-8")
        assert "2 rows or files were passed over: 1 × not JSON, 1 × no text field." in page
        assert "rows.jsonl, row 4 is not valid JSON" in page


def test_a_text_shorter_than_the_context(tmp_path: Path) -> None:
    short = tiny_project(tmp_path / "short", texts=False)
    write_texts(short / "data" / "sources", files=2, words=30)
    said = refused("run", short, "--set", "tokenizer.kind=char", "--set", "model.context=512")
    assert "'texts'" in said and "512" in said and "model.context" in said


def test_one_text_alone_can_not_be_split_by_document(tmp_path: Path) -> None:
    alone = tiny_project(tmp_path / "alone", texts=False)
    write_texts(alone / "data" / "sources", files=1)
    assert 'is a single document, which can\'t be split by document: set data.split = "tail"' in refused("run", alone)
    done("run", alone, *QUICK, "--set", "data.split=tail")


def test_a_vocabulary_larger_than_the_text_supports(project: Path) -> None:
    said = refused("run", project, "--set", "tokenizer.vocabulary=50000")
    assert "The text supports only" in said and "Set tokenizer.vocabulary to" in said
    supported = said.split("supports only ")[1].split()[0]
    done("run", project, *QUICK, "--set", f"tokenizer.vocabulary={supported}")


# ---------------------------------------------------------------------------------------------------------------------
# Recipes, runs and words


def test_a_wrong_key_in_the_recipe(project: Path) -> None:
    recipe = (project / "plutao.toml").read_text()
    (project / "plutao.toml").write_text(recipe.replace("steps = 20", "stesp = 20"))
    said = refused("run", project)
    line = 1 + recipe.split("\n").index("steps = 20")
    assert f"plutao.toml, line {line}: unknown key 'base.stesp'. Did you mean 'steps'?" in said
    (project / "plutao.toml").write_text(recipe.replace("steps = 20", 'steps = "many"'))
    said = refused("run", project)
    assert f"line {line}: base.steps = 'many' is not right" in said and "Allowed: a whole number ≥ 0" in said
    (project / "plutao.toml").write_text(recipe + "\n[base\n")
    assert "is not valid TOML" in refused("run", project)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--set", "base.stepz=3"), "--set base.stepz=3: unknown key 'base.stepz'. Did you mean 'steps'?"),
        (("--set", "base.steps"), "--set base.steps is not of the form key=value"),
        (("--stage", "sft"), "This recipe has no stage 'sft': it has tokenizer, base. Add a [sft] section."),
        (("--stage", "sftt"), "There is no stage 'sftt'. The stages are: tokenizer, base, sft"),
        (("--time", "soon"), "--time soon is not a time: write 90s, 10m or 1.5h."),
        (("--set", "model.preset=plutao-8m"), "plutao-7m"),
        (("--set", "model.width=100"), "This model can't be built: width 100 does not divide into heads of"),
        (("--run", "a/b"), "A run can't be called 'a/b'"),
        (("--run", "current"), "A run can't be called 'current'"),
    ],
)
def test_wrong_words_for_a_run(project: Path, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in refused("run", project, *arguments)
    assert runs(project) == []


def test_unknown_recipe_verb_folder_and_model(project: Path, tmp_path: Path) -> None:
    assert "There is no recipe 'nope'. The recipes are: assistente-en" in refused(
        "new", tmp_path / "x", "--recipe", "nope"
    )
    assert "exists already" in refused("new", project)
    unknown = plutao("rnu", project)
    assert unknown.status == 2 and "rnu" in unknown.err and "Traceback" not in unknown.err
    assert "has no plutao.toml: `plutao new" in refused("run", tmp_path / "nowhere")
    assert "has no run yet: `plutao run" in refused("complete", project, "--prompt", "a")
    assert "has no run yet" in refused("eval", project)
    assert "has no run yet" in refused("export", project)
    assert "There is no run or model folder 'x'" in refused("complete", project, "--run", "x", "--prompt", "a")
    assert "A comparison needs two models or more" in refused("compare", "current", "--project", project)


def test_missing_files_to_measure_on(project: Path) -> None:
    done("run", project, *QUICK)
    assert "nowhere.txt is not there" in refused("eval", project, "--text", project / "nowhere.txt")
    (project / "image.txt").write_bytes(b"\x89PNG1234")
    assert "image.txt is a PNG image" in refused("eval", project, "--text", project / "image.txt")
    assert "There is no task 'mmlu'" in refused("eval", project, "--tasks", "mmlu")
    assert "learned from no embedded world" in refused("eval", project, "--tasks", "exam")


def test_a_run_folder_of_another_recipe(project: Path) -> None:
    done("run", project, *QUICK, "--run", "first")
    said = refused("run", project, "--set", "base.batch=8", "--run", "first")
    assert "Run first was made with another recipe (different: base." in said and "Leave --run out" in said
    write_texts(project / "data" / "sources", seed=2)
    assert "Run first was trained on other text" in refused("run", project, *QUICK, "--run", "first")


# ---------------------------------------------------------------------------------------------------------------------
# Damaged files


def test_a_damaged_checkpoint_gives_way_to_the_one_before(project: Path) -> None:
    often = ("--set", "base.steps=12", "--set", "base.checkpoint_minutes=1e-9")
    done("run", project, *often)
    folder = project / "runs" / "tiny-1" / "base"
    trained = (folder / "model.safetensors").read_bytes()
    (folder / "stage.json").unlink()
    newest = checkpoints(folder / "checkpoints")[-1]
    with (newest / "optimizer.safetensors").open("r+b") as file:
        file.truncate(100)
    said = done("run", project, *often).err
    assert f"Checkpoint {newest.name} is damaged; going on from step 11 instead." in said
    assert (folder / "model.safetensors").read_bytes() == trained
    (folder / "stage.json").unlink()
    for checkpoint in checkpoints(folder / "checkpoints"):
        (checkpoint / "state.json").write_text("{")
    said = refused("run", project, *often)
    assert f"Every checkpoint in {folder / 'checkpoints'} is damaged" in said and "delete that folder" in said


@pytest.mark.parametrize("content", ["", "{", "null", "[]", '{"complete": true}'])
def test_a_damaged_stage_file_is_made_again(project: Path, content: str) -> None:
    done("run", project, *QUICK)
    run = project / "runs" / "tiny-1"
    before = (run / "base" / "model.safetensors").read_bytes()
    for path in ("base/stage.json", "tokenizer/stage.json", "report.json"):
        (run / path).write_text(content)
    done("run", project, *QUICK)
    assert (run / "base" / "model.safetensors").read_bytes() == before
    assert json.loads((run / "report.json").read_text())["stages"]["base"]["steps"] == 2


def test_a_lost_file_of_a_stage_is_made_again(project: Path) -> None:
    done("run", project, *QUICK)
    run = project / "runs" / "tiny-1"
    before = (run / "base" / "model.safetensors").read_bytes()
    (run / "base" / "model.safetensors").unlink()
    (run / "tokenizer" / "tokenizer.json").unlink()
    done("run", project, *QUICK)
    assert (run / "base" / "model.safetensors").read_bytes() == before
    done("complete", project, "--prompt", "the sun", "--max-tokens", 2)


def test_a_folder_that_is_no_whole_run_is_never_replaced(project: Path) -> None:
    done("run", project, *QUICK)
    before = (project / "runs/tiny-1/base/model.safetensors").read_bytes()
    (project / "runs/tiny-1/run.json").unlink()
    assert "Run tiny-2: " in done("run", project, *QUICK).err
    assert (project / "runs/tiny-1/base/model.safetensors").read_bytes() == before


def test_damaged_shards_say_what_to_delete(project: Path) -> None:
    done("run", project, *QUICK, "--stage", "tokenizer")
    done("data", "build", project)
    [description] = (project / "data" / "shards").rglob("train.json")
    description.write_text("{")
    shards = description.parent.parent
    assert f"{description} is missing or damaged: delete {shards} and run" in refused("run", project, *QUICK)
    shutil.rmtree(shards)
    done("run", project, *QUICK)


def test_other_damaged_files_are_named(project: Path) -> None:
    done("run", project, *QUICK)
    run = project / "runs" / "tiny-1"
    whole = (run / "base" / "model.safetensors").read_bytes()
    (run / "base" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "model.safetensors" in refused("complete", project, "--prompt", "a")
    (run / "base" / "model.safetensors").write_bytes(whole)
    (run / "base" / "tokenizer.json").write_text("{")
    assert "tokenizer" in refused("complete", project, "--prompt", "a")
    (run / "run.json").write_text("{")
    assert "run.json is damaged" in refused("run", project, *QUICK)


# ---------------------------------------------------------------------------------------------------------------------
# The machine


def mount(place: Path, size: str) -> None:
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        result = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except FileNotFoundError:
        pytest.skip("no `mount` to make a small disk with")
    if result.returncode:
        pytest.skip("mounting a small disk needs root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB of its own, where this machine lets us have one."""
    place = tmp_path / "disk"
    mount(place, "24m")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)  # shards may still be mapped


def test_a_disk_too_small_for_the_training_is_said_before_it(small_disk: Path) -> None:
    project = tiny_project(small_disk / "tiny")
    said = refused("run", project, "--set", "base.keep_checkpoints=50")
    assert f"The disk of {project / 'runs' / 'tiny-1' / 'base'} has 0.02" in said
    assert "for 50 checkpoints, the next one and the model: free some space, or lower base.keep_checkpoints" in said
    done("run", project, "--set", "base.keep_checkpoints=1")


def test_a_full_disk_at_every_moment(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "assert_room", lambda *_: None)  # as if another program filled the disk meanwhile
    project, filler = tiny_project(small_disk / "tiny"), small_disk / "filler"
    refusals = 0
    # Room, in kB, for less and less of it: documents, tokenizer, shards, checkpoint, model, report.
    for free in (8, 60, 120, 400, 1500, 2500, 4000, 6000):
        room = os.statvfs(small_disk)
        filler.write_bytes(b"x" * max(0, room.f_bavail * room.f_frsize - free * 1000))
        answer = plutao("run", project)
        if answer.status:
            refusals += 1
            assert "The disk is full: " in sentence(answer.err)
            assert "Free some space and run the same command again" in sentence(answer.err)
        filler.unlink()
    assert refusals >= 5
    done("run", project)
    other = tiny_project(tmp_path / "other")
    done("run", other)
    weights = Path("runs/tiny-1/base/model.safetensors")
    assert (project / weights).read_bytes() == (other / weights).read_bytes()
    assert not [path for path in small_disk.rglob(".*") if path.name.endswith((".tmp", ".old"))]


def test_a_read_only_folder(small_disk: Path) -> None:
    project = tiny_project(small_disk / "tiny")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "can't be written (read-only, or another user's): choose another folder" in refused("run", project)
    assert "can't be written" in refused("new", small_disk / "other")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    done("run", project, *QUICK)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "can't be written" in refused("run", project, *QUICK)
    done("complete", project, "--prompt", "the sun", "--max-tokens", 2)
    done("eval", project)
    assert "can't be written" in refused("export", project)


def test_no_compiler(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "")
    device.find_compiler.cache_clear()
    try:
        said = refused("run", project, *QUICK, "--set", "base.compile=on")
        assert (
            'base.compile = "on" can\'t be done: no C++ compiler was found (Debian, Ubuntu: apt-get install g++' in said
        )
        assert runs(project) == []
        done("run", project, *QUICK, "--set", "base.compile=auto")
        card = json.loads((project / "runs/tiny-1/base/stage.json").read_text())
        assert card["compiled"] is False and "no C++ compiler was found" in card["why"]
        assert "missing  C++ compiler: no C++ compiler was found" in done("doctor").out
    finally:
        device.find_compiler.cache_clear()


def test_a_compiler_that_does_not_work(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken-c++"
    broken.write_text("#!/bin/sh\necho 'fatal error: Python.h: No such file or directory' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    device.find_compiler.cache_clear()
    try:
        assert f"{broken} does not work (fatal error: Python.h: No such file" in refused(
            "run", project, *QUICK, "--set", "base.compile=on"
        )
        done("run", project, *QUICK, "--set", "base.compile=auto")
        assert "python3-dev" in done("doctor").out
    finally:
        device.find_compiler.cache_clear()


def test_a_corpus_whose_address_does_not_answer(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plutao.data import download

    monkeypatch.setattr(download, "WAITS", (0.01, 0.01, 0.01))
    monkeypatch.delenv("PLUTAO_DATA", raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    entry = (
        f'file = "far.txt"\nsha256 = "{"0" * 64}"\nlicense = "CC0-1.0"\naddress = "http://127.0.0.1:{port}/far.txt"\n'
    )
    (project / "data" / "corpora.toml").write_text(f"[far]\n{entry}")
    with (project / "plutao.toml").open("a") as recipe:
        recipe.write('\n[[data.sources]]\nname = "far"\ncorpus = "far"\n')
    said = refused("run", project)
    assert f"http://127.0.0.1:{port}/far.txt could not be fetched (it does not answer: " in said
    assert "check the connection and run the same command again" in said
    assert not (project / "data" / "documents").exists()  # nothing long was begun
    (project / "plutao.toml").write_text((project / "plutao.toml").read_text().replace('"far"', '"farr"'))
    assert "There is no corpus 'farr' in the catalogue" in refused("run", project)


def test_a_model_that_can_not_fit(project: Path) -> None:
    recipe = (project / "plutao.toml").read_text()
    shape = 'preset = "plutao-1m"\nlayers = 2\nwidth = 64\ncontext = 32\n'
    (project / "plutao.toml").write_text(recipe.replace(shape, 'preset = "gpt3-175b"\ncontext = 2048\n'))
    started = time.monotonic()
    said = refused("run", project)
    assert time.monotonic() - started < 5
    assert "GiB" in said and "free" in said
    assert not (project / "data" / "documents").exists()


def test_two_runs_in_one_folder_at_once(project: Path) -> None:
    first = start("run", project, "--set", "base.steps=100000")
    deadline = time.monotonic() + 60
    while not (project / "runs" / "tiny-1" / "base").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    second: Answer = plutao("run", project)
    first.terminate()
    _, err = first.communicate(timeout=60)
    assert "Another `plutao run` is at work in" in sentence(second.err)
    assert first.returncode == 130, err
    done("run", project, *QUICK)


def test_a_stop_that_strikes_while_a_module_is_made_leaves_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "struck.py").write_text(
        "from plutao import cli\n"
        "from plutao.errors import Interrupted\n"
        "def command(**_):\n"
        "    try:\n"
        "        exec('raise KeyboardInterrupt')\n"
        "    except KeyboardInterrupt:\n"
        "        raise Interrupted('Stopped.') from None\n"
        "cli.build = lambda arguments: command\n"
        "cli.main()\n"
    )
    left = subprocess.run([sys.executable, "-m", "struck"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (left.returncode, left.stderr) == (130, "plutao: Stopped.\n")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_before_training_begins(project: Path, how: signal.Signals) -> None:
    write_texts(project / "data" / "sources", files=400, words=4000)
    process = start("run", project)
    deadline = time.monotonic() + 60
    while not (project / "runs" / ".lock").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped; what was finished is kept." in sentence(err)
    assert not list((project / "data").rglob(".*"))
