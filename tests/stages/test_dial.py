"""The time dial: the size follows the time, the machine and the text; what was chosen stays chosen."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import done, tiny_project

from plutao import recipe as recipes
from plutao.errors import UserError
from plutao.files import read_json, write_json
from plutao.models.cost import flops_per_token
from plutao.models.decoder import DecoderConfig
from plutao.models.hardware import HARDWARE
from plutao.models.scaling import DEFAULT, Law
from plutao.project import open_project
from plutao.stages import dial
from plutao.stages.candidates import BATCHES, Candidate, Given, Trial, best_of
from plutao.stages.dial import Text, choose_listed, conclude, shapes_of, with_choice
from plutao.train.probe import Speed

RECIPE = recipes.parse("")
SHAPES = shapes_of(RECIPE, 8192, Path(), keep_size=False)


def machine(flops: float, compiling: float = 0.0) -> Any:
    """How fast a machine of so many operations a second would train a shape; counts what was tried."""
    tried: list[DecoderConfig] = []

    def speed(shape: DecoderConfig) -> tuple[Speed, bool]:
        tried.append(shape)
        row = shape.context * flops_per_token(shape) / flops
        return Speed(row, 4e3 * shape.parameters() / flops, compiling), False  # an update costs as much as two rows

    speed.tried = tried  # type: ignore[attr-defined]
    return speed


def turn(
    minutes: float, flops: float = 2e11, unique: float = math.inf, law: Law = DEFAULT, **given: Any
) -> list[Candidate]:
    """The table of a dial on a machine of `flops` (a laptop's two cores by default)."""
    trial = Trial(SHAPES, Given(60 * minutes, 256, BATCHES, unique, **given), law, machine(flops))
    trial.run()
    return trial.candidates()


def chosen(*arguments: Any, **given: Any) -> Candidate:
    best = best_of(turn(*arguments, **given))
    assert best is not None
    return best


def test_more_time_or_a_faster_machine_makes_a_larger_model() -> None:
    by_time = [chosen(minutes).parameters for minutes in (2, 10, 60, 600, 6000)]
    assert by_time == sorted(by_time) and by_time[0] < by_time[-1]
    by_machine = [chosen(10, flops).parameters for flops in (5e10, 5e11, 5e12, 5e13)]
    assert by_machine == sorted(by_machine) and by_machine[0] < by_machine[-1]


def test_the_choice_is_the_largest_of_those_with_about_the_lowest_loss() -> None:
    table = turn(10)
    losses = [candidate.loss for candidate in table if candidate.loss is not None]
    best = best_of(table)
    assert best is not None and len(losses) > 2 and best.loss is not None
    assert best.loss <= 1.02 * min(losses)
    larger = [c.loss for c in table if c.parameters > best.parameters and c.loss is not None]
    assert larger and min(larger) > 1.02 * min(losses)
    assert best.measured, "nobody is told to train a size whose speed was only guessed"


def test_steps_grow_with_the_length_of_the_training() -> None:
    rows = [chosen(minutes).batch for minutes in (2, 60, 6000)]
    assert rows == sorted(rows) and rows[0] < rows[-1]


def test_a_text_that_would_be_read_many_times_makes_the_prediction_worse() -> None:
    plenty, little = chosen(60), chosen(60, unique=2e5)
    assert little.loss is not None and plenty.loss is not None
    assert little.epochs > 10 and little.loss > plenty.loss + 0.05
    assert little.parameters <= plenty.parameters, "what is left of the time makes no larger model"
    assert "would learn this text by heart" in [candidate.obstacle for candidate in turn(60, unique=2e5)]


def test_what_does_not_fit_into_the_memory_is_not_taken() -> None:
    assert chosen(60_000).parameters > 20e6
    small = chosen(60_000, memory=3e8)
    assert small.parameters < 20e6
    obstacles = [candidate.obstacle for candidate in turn(60_000, memory=3e8)]
    assert any("GB of memory" in obstacle for obstacle in obstacles)


def test_trying_speeds_takes_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("plutao.stages.candidates.time.perf_counter", lambda: clock[0])

    def slow(shape: DecoderConfig) -> tuple[Speed, bool]:
        speed, _ = machine(2e11)(shape)
        clock[0] += 10 + 8 * (8 * speed.row + speed.update)
        return replace(speed, compiling=10.0), False

    for minutes, most in ((2, 1), (10, 3), (60, 5)):
        trial = Trial(SHAPES, Given(60 * minutes, 256, BATCHES), DEFAULT, slow)
        trial.run()
        assert 1 <= len(trial.speeds) <= most
        assert trial.spent <= max(0.06 * 60 * minutes, 15)


def test_too_short_a_time_trains_the_smallest_and_says_so() -> None:
    trial = Trial(SHAPES, Given(2, 256, BATCHES, read=10**6), DEFAULT, machine(2e10))
    trial.run()
    choice = conclude(RECIPE, trial, 2 / 60)
    assert choice.preset == "plutao-1m" and choice.batch == 4
    assert choice.reasons == ["2 s are short: plutao-1m is too slow for the time, and is trained as far as it goes."]
    trial.given = replace(trial.given, memory=1e6)
    with pytest.raises(UserError, match=r"Not even plutao-1m.*GB of memory.*model\.context"):
        conclude(RECIPE, trial, 2 / 60)


def test_the_reasons_name_the_neighbours_the_steps_and_the_law() -> None:
    trial = Trial(SHAPES, Given(600, 256, BATCHES, 4e6), DEFAULT, machine(2e11))
    trial.run()
    choice = conclude(RECIPE, trial, 10)
    words = "\n".join(choice.reasons)
    assert "bits per byte" in words and f"{choice.batch} × 256 tokens" in words and DEFAULT.source in words
    assert "times, which is worth" in words, "the text is read more than once"
    lines = dial.lines_of(choice)
    assert (
        len(lines) == 1 + len(SHAPES)
        and next(line for line in lines if line.startswith("▶")).split()[1] == choice.preset
    )
    assert json.loads(json.dumps(choice.as_json()))["preset"] == choice.preset


def test_listed_hardware_is_weighed_by_its_data_sheet() -> None:
    choice = choose_listed(RECIPE, SHAPES, Text(), 60, Path("nowhere"), HARDWARE["h100"], 8, None)
    assert choice.batch % 8 == 0
    best = next(candidate for candidate in choice.table if candidate.preset == choice.preset)
    assert best.tokens_per_second == pytest.approx(8 * 989e12 * 0.4 / flops_per_token(SHAPES[best.preset]), rel=1e-3)


def test_what_somebody_fixed_is_kept() -> None:
    assert dial.fixes_shape(RECIPE, ["model.preset=plutao-3m"]) and dial.fixes_shape(RECIPE, ["model.width=128"])
    assert not dial.fixes_shape(RECIPE, ["base.batch=4", "model.context=128"])
    assert dial.fixes_shape(recipes.parse("[model]\nlayers = 2"), [])
    only = shapes_of(RECIPE, 8192, Path(), keep_size=True)
    assert list(only) == [RECIPE.model.preset]


def test_a_chosen_size_takes_the_place_of_the_recipes_own() -> None:
    recipe = recipes.parse("[model]\nlayers = 2\ndropout = 0.1\n[base]\nbatch = 12\nmicro_batch = 6")
    changed = with_choice(recipe, "plutao-15m", 8)
    assert (changed.model.preset, changed.model.layers, changed.model.dropout) == ("plutao-15m", None, 0.1)
    assert (changed.base.batch, changed.base.micro_batch) == (8, None)
    recipes.parse(recipes.render(changed))  # what was chosen is a recipe


def test_a_run_goes_on_with_what_it_chose(tmp_path: Path) -> None:
    (tmp_path / "plutao.toml").write_text('name = "tiny"\n')
    project = replace(open_project(tmp_path), run="tiny-1")
    assert dial.settled(project) == project
    write_json(project.run_dir / "dial.json", {"preset": "plutao-1m", "batch": 4})
    recipe = dial.settle(project, 1.0, print).recipe
    assert (recipe.model.preset, recipe.base.batch) == ("plutao-1m", 4)
    with pytest.raises(UserError, match=r"begun with plutao-1m.*--run"):
        dial.settle(project, 1.0, print, keep_size=True)


def test_the_projects_own_law_comes_first(tmp_path: Path) -> None:
    assert dial.law_of(tmp_path) == DEFAULT
    law = Law(1.0, 2.0, 0.3, 4.0, 0.3, 5.0, source="this text")
    write_json(tmp_path / "runs" / "scaling" / "law.json", law.as_json())
    assert dial.law_of(tmp_path) == law


def test_a_time_trains_what_the_dial_chose_and_the_same_command_finds_it_done(tmp_path: Path) -> None:
    root = tiny_project(tmp_path / "tiny")
    recipe = (root / "plutao.toml").read_text().replace("layers = 2\n", "").replace("width = 64\n", "")
    (root / "plutao.toml").write_text(recipe)
    said = done("run", root, "--time", "8s").err
    run = root / "runs" / "tiny-1"
    kept, card = read_json(run / "dial.json"), read_json(run / "base" / "stage.json")
    assert "predicted bits per byte" in said and kept["reasons"][0] in said
    shape = next(row for row in kept["table"] if row["preset"] == kept["preset"])
    assert (card["parameters"], card["batch"]) == (shape["parameters"], kept["batch"])
    for place in (run, run / "base"):
        assert recipes.load(place / "recipe.toml").model.preset == kept["preset"]
    assert (root / "data" / "speed.json").is_file()
    assert "done already in run tiny-1" in done("run", root, "--time", "8s").err
