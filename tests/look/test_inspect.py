"""`plutao inspect` as a person types it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from plutao.cli import build
from plutao.cli.inspect import inspect
from plutao.errors import UserError
from plutao.files import write_json

TEXT = "Eu vou retirar dinheiro no"
app = typer.Typer()
app.command()(inspect)


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--run", str(folder), *arguments], catch_exceptions=False)


def numbers(folder: Path, *arguments: str) -> dict[str, dict[str, object]]:
    told: dict[str, dict[str, object]] = json.loads(run(folder, *arguments, "--json").stdout)
    return told


def test_the_door_knows_the_verb() -> None:
    shown = CliRunner().invoke(build(["inspect", "--help"]), ["inspect", "--help"])
    assert shown.exit_code == 0
    for option in ("--text", "--tokens", "--next", "--softmax", "--chain", "--step", "--html"):
        assert option in shown.stdout


def test_the_default_is_tokens_and_what_comes_next(folder: Path) -> None:
    shown = run(folder, "--text", TEXT)
    assert shown.exit_code == 0
    assert "·dinheiro" in shown.stdout and "·caixa" in shown.stdout
    assert numbers(folder, "--text", TEXT).keys() == {"model", "text", "tokens", "next"}


def test_without_a_text_it_shows_how_a_document_begins(folder: Path) -> None:
    assert "How a document begins" in run(folder).stdout
    with pytest.raises(UserError, match="--chain needs a text"):
        run(folder, "--chain")


def test_every_look_tells_its_numbers(folder: Path) -> None:
    told = numbers(folder, "--text", TEXT, "--next", "--surprise", "--chain", "--step", "--top", "3")
    assert told.keys() == {"model", "text", "next", "surprise", "chain", "step"}
    assert len(told["next"]["candidates"]) == 3  # type: ignore[arg-type]
    assert told["chain"]["log_probability"] == pytest.approx(
        -sum(each["surprise"] for each in told["surprise"]["positions"]) * 0.693147,  # type: ignore[attr-defined]
        rel=1e-4,
    )
    assert told["step"]["loss_after"] < told["step"]["loss"]  # type: ignore[operator]


def test_a_seed_and_a_temperature_choose_the_draw(folder: Path) -> None:
    draws = [numbers(folder, "--text", TEXT, "--softmax", "--seed", seed)["softmax"] for seed in ("1", "1", "2")]
    assert draws[0] == draws[1] != draws[2]
    greedy = numbers(folder, "--text", TEXT, "--softmax", "--temperature", "0")["softmax"]
    assert greedy["chosen"]["rank"] == 1  # type: ignore[index]


def test_explanations_come_in_portuguese_too(folder: Path) -> None:
    shown = run(folder, "--text", TEXT, "--softmax", "--chain", "--step", "--language", "pt").stdout
    for words in ("soma acumulada", "regra da cadeia", "passo de treinamento", "neurônio"):
        assert words in shown
    with pytest.raises(UserError, match="not 'de'"):
        run(folder, "--text", TEXT, "--language", "de")


def test_the_page_stands_alone_and_says_what_it_shows(folder: Path, tmp_path: Path) -> None:
    """A run's stage is named with its step; what the text says is text, on the page and in its scripts."""
    stage = tmp_path / "runs" / "lua-1" / "base"
    shutil.copytree(folder, stage)
    write_json(stage / "stage.json", {"stage": "base", "steps": 1200})
    page = tmp_path / "look.html"
    text = "O Sol </script><script>alert(1)</script>"
    shown = run(stage, "--text", text, "--tokens", "--next", "--softmax", "--html", str(page))
    assert shown.exit_code == 0 and shown.stdout == ""
    html = page.read_text(encoding="utf-8")
    assert "lua-1, stage base, step 1,200" in html
    assert "alert(1)" in html and "<script>alert" not in html
    assert html.count('class="plot"') == html.count("<details>") == 3
    assert "default-src 'none'" in html  # nothing can be loaded from anywhere
    assert "src=" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def test_a_run_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no run or model folder"):
        CliRunner().invoke(app, [str(tmp_path), "--run", "nothing", "--text", "a"], catch_exceptions=False)
