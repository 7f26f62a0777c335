"""Where things live: runs are found again, taken over, locked and linked."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from plutao import project as projects
from plutao.errors import UserError
from plutao.files import write_json
from plutao.project import (
    Project,
    choose_run,
    create,
    current_run,
    make_current,
    only_one,
    open_project,
    resolve_model,
    reuse_stage,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    create(tmp_path / "p", "own-text")
    return open_project(tmp_path / "p")


def finish(project: Project, stage: str, inputs: str) -> None:
    folder = project.stage_dir(stage)
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "checkpoints").mkdir()
    write_json(folder / "stage.json", {"complete": True, "inputs": inputs})


def test_new_writes_a_commented_recipe_once(tmp_path: Path) -> None:
    path = create(tmp_path / "p", "own-text")
    assert "# How much text it is trained on" in path.read_text()
    assert (tmp_path / "p" / "data" / "sources").is_dir()
    with pytest.raises(UserError, match="exists already"):
        create(tmp_path / "p", "own-text")
    with pytest.raises(UserError, match=r"no recipe 'nope'.*sistema-solar"):
        create(tmp_path / "q", "nope")


def test_the_same_recipe_and_text_go_on_in_the_same_run(project: Project) -> None:
    first = choose_run(project, "text-a")
    assert first.run == "own-text-1"
    assert choose_run(project, "text-a").run == "own-text-1"
    assert choose_run(project, "text-b").run == "own-text-2"
    changed = open_project(project.root, ("base.batch=4",))
    assert choose_run(changed, "text-a").run == "own-text-3"
    assert choose_run(project, "text-a").run == "own-text-1"


def test_a_run_of_another_recipe_is_refused_with_what_differs(project: Project) -> None:
    choose_run(project, "text-a", "mine")
    changed = open_project(project.root, ("base.batch=4",))
    with pytest.raises(UserError, match=r"another recipe \(different: base\.batch\)"):
        choose_run(changed, "text-a", "mine")
    with pytest.raises(UserError, match="other text"):
        choose_run(project, "text-b", "mine")
    with pytest.raises(UserError, match="can't be called"):
        choose_run(project, "text-a", "../elsewhere")


def test_a_finished_stage_is_taken_over_by_its_inputs(project: Project) -> None:
    first = choose_run(project, "text-a")
    finish(first, "tokenizer", "same")
    second = choose_run(project, "text-b")
    assert reuse_stage(second, "tokenizer", "other") is None
    assert reuse_stage(second, "tokenizer", "same") == first.run
    assert (second.stage_dir("tokenizer") / "config.json").is_file()
    assert not (second.stage_dir("tokenizer") / "checkpoints").exists()


def test_current_follows_and_names_resolve(project: Project) -> None:
    with pytest.raises(UserError, match="no run yet"):
        current_run(project.root)
    first, second = choose_run(project, "a"), choose_run(project, "b")
    finish(first, "base", "x")
    make_current(project.root, "own-text-1")
    assert current_run(project.root) == "own-text-1"
    assert resolve_model(None, project.root) == first.stage_dir("base")
    assert resolve_model("current:base", project.root) == first.stage_dir("base")
    assert resolve_model(str(first.stage_dir("base")), project.root) == first.stage_dir("base")
    with pytest.raises(UserError, match="no trained stage yet"):
        resolve_model(second.run, project.root)
    with pytest.raises(UserError, match=r"no stage 'sft'. It has: base"):
        resolve_model("own-text-1:sft", project.root)
    with pytest.raises(UserError, match=r"no run or model folder 'nope'.*own-text-1, own-text-2"):
        resolve_model("nope", project.root)
    make_current(project.root, "own-text-2")
    assert current_run(project.root) == "own-text-2"


def test_two_runs_at_once_are_refused(project: Project) -> None:
    script = (
        "import sys; from pathlib import Path; from plutao.project import only_one, open_project\n"
        "with only_one(open_project(Path(sys.argv[1]))): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(project.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="Another `plutao run` is at work"), only_one(project):
            pass
        process.communicate("")
    with only_one(project):
        pass


def test_a_read_only_folder_is_a_sentence(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="can't be written"), only_one(replace(project)):
        pass
    with pytest.raises(UserError, match="can't be written"):
        create(project.root.parent / "other", "own-text")


def test_differing_keys_are_dotted() -> None:
    assert projects.differing_keys({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == ["a.c", "d"]
