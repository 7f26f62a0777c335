"""Stage 3 from rankings to a measured, centred reward model: people's files, a world's labellers, kills and bad input."""

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ranked import ranked, ranked_project, write
from typer.testing import CliRunner

from plutao.cli import build
from plutao.errors import Interrupted, UserError
from plutao.evaluate.rankings import measure_rankings
from plutao.generate.chat import Chat
from plutao.models.reward import load_reward, score_answers
from plutao.project import Project, is_complete, open_project
from plutao.stages import rankings as sources
from plutao.stages import reward
from plutao.stages.card import read_card
from plutao.text.chat import Message
from plutao.train.device import Device
from plutao.train.parallel import World
from plutao.train.progress import Silence


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = ranked_project(tmp_path_factory.mktemp("reward") / "project", length="steps = 120")
    reward.run(project, World(), Silence())
    return project


def test_it_learns_what_people_prefer_and_says_how_well(trained: Project) -> None:
    card = read_card(trained.stage_dir("reward"))
    assert is_complete(trained.stage_dir("reward"), reward.inputs(trained))
    assert card["pair_accuracy"]["value"] > 0.85 > card["baselines"]["longer"]["high"]
    assert card["pair_accuracy"]["low"] < card["pair_accuracy"]["value"] < card["pair_accuracy"]["high"]
    assert set(card["by_distance"]) == {"1", "2", "3"}
    assert card["rankings"]["held_out"] + card["rankings"]["prompts"] == 120
    assert card["rankings"]["labellers"] == {"ana": card["rankings"]["prompts"]}
    assert card["labellers"] == {"agreement": None, "of_agreement": None, "simulated": {}}
    assert card["verdict"]["good_enough"] and card["verdict"]["why"].startswith("Good enough")
    assert card["calibration"]["bins"] and card["reward"]["deviation"] > 0.5
    lines = [json.loads(line) for line in (trained.stage_dir("reward") / "metrics.jsonl").read_text().splitlines()]
    looks = [line["validation"] for line in lines if "validation" in line]
    assert looks and {"pair_accuracy", "loss"} <= set(looks[0])


def test_it_can_be_measured_on_any_rankings(trained: Project, tmp_path: Path) -> None:
    """`plutao eval --rankings` says of the held-out rankings what the stage's card says, and counts what does not fit."""
    kept = sources.read_back(trained.stage_dir("reward"))
    rows = [
        {
            "messages": [message.as_json() for message in one.ranking.messages],
            "completions": [text if isinstance(text, str) else text[-1].content for text in one.ranking.completions],
            "ranks": list(one.ranking.ranks),
        }
        for one in kept.held_out
    ]
    file = tmp_path / "others.jsonl"
    write(file, [*rows, rows[0] | {"completions": ["red", "red"], "ranks": [1, 2]}])
    arguments = ["eval", str(trained.root), "--rankings", str(file)]
    told = CliRunner().invoke(build(arguments), [*arguments, "--json"], catch_exceptions=False)
    found, card = json.loads(told.stdout), read_card(trained.stage_dir("reward"))
    assert found["pair_accuracy"]["value"] == pytest.approx(card["pair_accuracy"]["value"], abs=0.01)
    assert found["baselines"]["longer"] == card["baselines"]["longer"]
    assert found["left_out"] == {"an answer twice": 1}
    words = CliRunner().invoke(build(arguments), arguments, catch_exceptions=False).stdout
    assert "1 rank apart " in words and "Left out: 1 × an answer twice." in words
    assert f"reward model       {found['pair_accuracy']['value']:6.1%}" in words


def test_what_can_not_be_measured_on_rankings_is_refused(trained: Project, tmp_path: Path) -> None:
    folder = trained.stage_dir("reward")
    ties = tmp_path / "ties.jsonl"
    write(ties, [{"prompt": "red?", "completions": ["red", "blue"], "ranks": [1, 1]}])
    with pytest.raises(UserError, match=r"ties\.jsonl holds no ranking that can be measured with: 1 × "):
        measure_rankings(folder, str(ties), trained.root)
    with pytest.raises(UserError, match="There is no corpus 'nothing'"):
        measure_rankings(folder, "nothing", trained.root)
    with pytest.raises(UserError, match="holds no reward model"):
        measure_rankings(trained.stage_dir("sft"), str(ties), trained.root)


def test_demonstrations_have_reward_zero_on_average(trained: Project) -> None:
    tokenizer = trained.tokenizer()
    model = load_reward(trained.stage_dir("reward"), tokenizer)
    kept = sources.read_back(trained.stage_dir("reward"))
    everyone = [*kept.train, *kept.held_out]
    prompts = [one.ranking.messages for one in everyone]
    ideal = [one.ranking.demonstration or "" for one in everyone]
    assert float(score_answers(model, tokenizer, prompts, ideal).mean()) == pytest.approx(0, abs=1e-4)
    asks = (Message("user", "give me red number 3"),)
    good, bad = score_answers(model, tokenizer, [asks, asks], ["here is red, please", "blue"])
    assert good > bad


def test_held_out_prompts_are_never_learned_from_and_all_rows_lie_there_to_be_read(trained: Project) -> None:
    rows = [json.loads(line) for line in (trained.stage_dir("reward") / "rankings.jsonl").open(encoding="utf-8")]
    splits: dict[str, set[str]] = {"train": set(), "validation": set()}
    for row in rows:
        splits[row["split"]].add(row["messages"][0]["content"])
    assert not splits["train"] & splits["validation"]
    assert 20 <= len(splits["validation"]) <= 30 and len(rows) == 120


def test_what_it_depends_on(trained: Project) -> None:
    before = reward.inputs(trained)
    assert reward.inputs(open_project(trained.root, ("reward.batch=4",), "ranked-1")) != before
    assert reward.inputs(open_project(trained.root, ("report.language=pt",), "ranked-1")) == before
    write(trained.data / "rankings" / "rui.jsonl", ranked(3, seed=9))
    assert reward.inputs(trained) != before
    (trained.data / "rankings" / "rui.jsonl").unlink()
    assert reward.inputs(trained) == before


class Stopping(Silence):
    """Somebody presses Ctrl-C at a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def update(self, step: int, steps: int, loss: float, tokens_per_second: float, seconds_left: float) -> None:
        if step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stopped_stage_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = ranked_project(tmp_path / "whole", length="steps = 10")
    reward.run(whole, World(), Silence())
    stopped = ranked_project(tmp_path / "stopped", length="steps = 10")
    with pytest.raises(Interrupted):
        reward.run(stopped, World(), Stopping(at=4))
    rankings = stopped.stage_dir("reward") / "rankings.jsonl"
    written = rankings.stat().st_mtime_ns
    reward.run(stopped, World(), Silence())
    assert rankings.stat().st_mtime_ns == written  # they were not gathered again
    weights = [load_reward(project.stage_dir("reward")).state_dict() for project in (whole, stopped)]
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name


def test_prompts_of_one_group_are_never_divided(tmp_path: Path) -> None:
    rows = [row | {"group": f"debate {number % 4}"} for number, row in enumerate(ranked(40))]
    project = ranked_project(tmp_path / "project")
    write(project.data / "rankings" / "ana.jsonl", rows)
    found = sources.collect(project, "reward", World(), Silence())
    groups = [{one.ranking.group for one in some} for some in (found.train, found.held_out)]
    assert len(groups[1]) == 1 and not groups[0] & groups[1]


def test_files_with_several_labellers_tell_their_agreement(tmp_path: Path) -> None:
    rows = ranked(60)
    second = [
        row | {"labeller": "rui", "ranks": row["ranks"] if n % 10 else row["ranks"][::-1]} for n, row in enumerate(rows)
    ]
    project = ranked_project(tmp_path / "project", length="steps = 5")
    write(project.data / "rankings" / "ana.jsonl", rows)
    write(project.data / "rankings" / "rui.jsonl", second)
    reward.run(project, World(), Silence())
    card = read_card(project.stage_dir("reward"))
    assert 0.7 < card["labellers"]["agreement"]["value"] <= 1
    assert card["rankings"]["labellers"] == {"ana": card["rankings"]["prompts"], "rui": card["rankings"]["prompts"]}


# ---------------------------------------------------------------------------------------------------------------------
# A world's questions


WORLD = """[[reward.sources]]
name = "world"
world = "solar"
count = {count}
"""


def world_project(root: Path, count: int = 24) -> Project:
    """The world's questions are long in this tiny tokenizer, so the context is wide."""
    project = ranked_project(root, more="answers = 3\n" + WORLD.format(count=count), length="steps = 2", context=512)
    for file in (project.data / "rankings").iterdir():
        file.unlink()
    return project


@pytest.fixture
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "ANSWER_TOKENS", 6)
    monkeypatch.setattr(sources, "AT_ONCE", 8)


def test_the_sft_model_answers_and_the_worlds_labellers_rank(tmp_path: Path, short_answers: None) -> None:
    project = world_project(tmp_path / "project")
    reward.run(project, World(), Silence())
    kept = sources.read_back(project.stage_dir("reward"))
    everyone = [*kept.train, *kept.held_out]
    assert all(2 <= len(one.ranking.completions) <= 5 and one.ranking.demonstration for one in everyone)
    assert all(len(one.labellers) == 1 for one in kept.train) and all(
        len(set(one.labellers)) == 2 for one in kept.held_out
    )
    assert all("(simulated)" in str(name) for one in everyone for name in one.labellers)
    card = read_card(project.stage_dir("reward"))
    assert card["labellers"]["simulated"] and card["labellers"]["agreement"]["n"] > 0


def test_answers_that_were_written_before_a_kill_are_not_written_again(
    tmp_path: Path, short_answers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = world_project(tmp_path / "project")
    answer, asked = Chat.answer, []

    def dying(self: Chat, conversations: Any, sampling: Any = None) -> Any:
        asked.append(len(conversations))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return answer(self, conversations, sampling)

    monkeypatch.setattr(Chat, "answer", dying)
    with pytest.raises(KeyboardInterrupt):
        sources.collect(project, "reward", World(), Silence())
    answers = project.stage_dir("reward") / "answers.jsonl"
    assert len(answers.read_text().splitlines()) == 16
    with answers.open("a") as file:
        file.write('[[{"role": "assi')  # what a kill in the middle of a line leaves
    resumed = sources.collect(project, "reward", World(), Silence())
    assert asked == [8, 8, 8, 8]
    other = sources.collect(world_project(tmp_path / "other"), "reward", World(), Silence())
    assert resumed == other


def test_a_given_time_leaves_questions_out_rather_than_being_overdrawn(tmp_path: Path, short_answers: None) -> None:
    project = world_project(tmp_path / "project", count=60)
    found = sources.collect(project, "reward", World(), Silence(), minutes=1e-6)
    assert 0 < len(found.train) + len(found.held_out) <= 8


# ---------------------------------------------------------------------------------------------------------------------
# Bad input


def refused(project: Project) -> str:
    with pytest.raises(UserError) as error:
        reward.run(project, World(), Silence())
    said = str(error.value)
    assert re.search(r"[.…]$", said)
    return said


def changed(root: Path, rows: list[dict[str, Any]], **more: Any) -> Project:
    project = ranked_project(root, **more)
    write(project.data / "rankings" / "ana.jsonl", rows)
    return project


def test_rankings_that_teach_nothing_are_refused_in_a_sentence(tmp_path: Path) -> None:
    ties = [row | {"ranks": [1] * 4} for row in ranked(12)]
    assert "only ties" in refused(changed(tmp_path / "ties", ties))
    long = [row | {"messages": [{"role": "user", "content": "red " * 99 + str(n)}]} for n, row in enumerate(ranked(12))]
    said = refused(changed(tmp_path / "long", long))
    assert "prompt longer than the context" in said and "model.context (64)" in said
    few = refused(changed(tmp_path / "few", ranked(1)))
    assert "too few to learn from" in few


def test_texts_too_long_are_cut_where_the_source_says_so(tmp_path: Path) -> None:
    rows = ranked(24)
    long = [
        row
        | {
            "messages": [{"role": "user", "content": f"{'please ' * 90}{row['messages'][0]['content']}"}],
            "completions": [f"{completion} {'white ' * 90}" for completion in row["completions"]],
        }
        for row in rows
    ]
    cut = '[[reward.sources]]\nname = "essays"\npath = "data/essays.jsonl"\ncut = true\n'
    project = ranked_project(tmp_path / "project", more=cut, length="steps = 2")
    (project.data / "rankings" / "ana.jsonl").unlink()
    write(project.data / "essays.jsonl", long)
    reward.run(project, World(), Silence())
    card = read_card(project.stage_dir("reward"))
    assert card["rankings"]["left_out"]["answers cut"] == 4 * card["rankings"]["elements"]
    assert card["reward"]["demonstrations"] > 0 and abs(card["reward"]["offset"]) < 100
    encoded = reward.encode(
        sources.read_back(project.stage_dir("reward")), project.tokenizer(), 64, project.recipe, "reward"
    )
    read = project.tokenizer().decode(encoded.held_out[0][1].rows[0])
    assert "number" in read.partition("assistant")[0]  # what was asked stands at the end
    assert all(len(row) <= 64 for _, element in encoded.held_out for row in element.rows)


def test_a_row_that_is_no_ranking_names_its_place_and_costs_nothing(tmp_path: Path) -> None:
    rows = ranked(12)
    rows[4] = rows[4] | {"completions": ["red"], "ranks": [1]}
    project = changed(tmp_path / "project", rows)
    with pytest.raises(UserError, match="row 5"):  # before anything long begins …
        reward.check(project.recipe, project.root)
    said = refused(project)  # … and when the stage itself reads it
    assert "ana.jsonl, row 5" in said and "has 1 answer" in said and 'bad_rows = "skip"' in said
    skipping = open_project(project.root, ("data.bad_rows=skip",), "ranked-1")
    reward.run(open_project(project.root, ("data.bad_rows=skip", "reward.steps=2"), "ranked-1"), World(), Silence())
    assert read_card(skipping.stage_dir("reward"))["rankings"]["skipped"] == {"one answer": 1}


def test_no_source_at_all_is_refused_before_anything_begins(tmp_path: Path) -> None:
    project = ranked_project(tmp_path / "project")
    reward.check(project.recipe, project.root)
    (project.data / "rankings" / "ana.jsonl").unlink()
    with pytest.raises(UserError, match="nothing to learn from"):
        reward.check(project.recipe, project.root)


def test_a_constant_reward_is_told(tmp_path: Path) -> None:
    project = ranked_project(tmp_path / "project", length="steps = 1")
    with_nothing = open_project(project.root, ("reward.optimizer.learning_rate=1e-30",), "ranked-1")
    reward.run(with_nothing, World(), Silence())
    verdict = read_card(project.stage_dir("reward"))["verdict"]
    assert not verdict["good_enough"] and verdict["reasons"] == ["constant"] and "same reward" in verdict["why"]


def test_short_trainings_are_not_compiled_and_what_the_recipe_says_holds(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = sources.read_back(trained.stage_dir("reward"))
    encoded = reward.encode(kept, trained.tokenizer(), 64, trained.recipe, "reward")
    config = trained.model("sft").config
    compiling = Device("cpu", 0, "fp32", True, "a test")
    monkeypatch.setattr(
        "plutao.stages.reward.devices.choose",
        lambda precision, compile_, rank: compiling if compile_ != "off" else replace(compiling, compiled=False),
    )

    def compiles(minutes: float | None = None, **settings: Any) -> bool:
        chosen = reward.settings_of(trained.recipe).model_copy(update={"compile": "auto", **settings})
        return reward.device_for(chosen, encoded, config, minutes, World()).compiled

    assert not compiles() and compiles(compile="on")
    assert compiles(minutes=20) and not compiles(minutes=1)
    assert compiles(steps=None, epochs=1e5) and not compiles(steps=None, epochs=1.0)
