"""`plutao new` and `plutao run` as words on a line; what runs do is proved in tests/test_pipeline.py."""

from pathlib import Path

import pytest
from commands import done, refused, tiny_project

from plutao import recipe as recipes
from plutao.cli.project import parse_minutes
from plutao.errors import UserError


@pytest.mark.parametrize("name", sorted(recipes.shipped()))
def test_new_writes_every_recipe_that_ships(tmp_path: Path, name: str) -> None:
    said = done("new", tmp_path / "p", "--recipe", name).out
    assert f"Made {tmp_path / 'p' / 'plutao.toml'} from the recipe {name}." in said
    assert f"plutao run {tmp_path / 'p'}" in said
    written = recipes.load(tmp_path / "p" / "plutao.toml")
    assert written == recipes.parse(recipes.shipped()[name])


def test_the_command_it_names_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "Now: plutao run 'meus textos/sol é'\n" in done("new", "meus textos/sol é", "--recipe", "shakespeare").out


def test_new_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "letter.txt").write_text("mine")
    done("new", tmp_path / "p")
    (tmp_path / "p" / "plutao.toml").write_text("# changed by hand\n")
    assert "exists already" in refused("new", tmp_path / "p")
    assert (tmp_path / "p" / "plutao.toml").read_text() == "# changed by hand\n"
    assert (tmp_path / "p" / "letter.txt").read_text() == "mine"


def test_new_where_a_file_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refused("new", tmp_path / "file" / "p")


def test_the_folder_is_this_one_if_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_project(tmp_path / "tiny"))
    done("run", "--stage", "tokenizer")
    assert Path("runs/tiny-1/tokenizer/tokenizer.json").is_file()


@pytest.mark.parametrize(("text", "minutes"), [("90s", 1.5), ("10m", 10), ("1.5h", 90), ("3", 3), (" 2 min ", 2)])
def test_times_are_written_as_people_write_them(text: str, minutes: float) -> None:
    assert parse_minutes(text) == pytest.approx(minutes)


@pytest.mark.parametrize("text", ["", "soon", "0m", "-5m", "10 d", "1,5h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"is not a time: write 90s, 10m or 1\.5h"):
        parse_minutes(text)
