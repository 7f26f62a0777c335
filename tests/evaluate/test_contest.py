"""The contest of a run's stages: the same prompts for all, judged by the world's rule, kept where report and people find it."""

import json
import shutil
from collections.abc import Iterator
from typing import Any, cast

import pytest
import torch

from plutao import recipe as recipes
from plutao.evaluate import contest
from plutao.evaluate.contest import Clock, chosen, compare_stages, pairs_among
from plutao.evaluate.responders import Example
from plutao.files import read_json, write_json, write_text
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.models.interop.huggingface import save_model
from plutao.models.reward import RewardModel, reward_token, save_reward
from plutao.project import Project
from plutao.text.chat import Message
from plutao.text.tokenizer import Tokenizer, train
from plutao.worlds.contract import Grade, Question, World

TEXT = "What is Pluto? A dwarf planet. O que é o Sol? Uma estrela. 12 + 30 = 42. assistant user tool " * 8


class Toy:
    """A world in which the longer answer is the better one."""

    name, languages = "toy", ("en", "pt")

    def questions(self, split: str, count: int | None = None, seed: int = 1) -> list[Question]:
        texts = {"en": "What is {n}?", "pt": "O que é {n}?"}
        return [
            Question(f"{split}-{language}-{n}", f"task{n % 3}", language, (Message("user", texts[language].format(n=n)),),
                     answers=("a",), ideal="A star.")
            for n in range(12)
            for language in self.languages
        ]  # fmt: skip

    def grade(self, question: Question, answer: str) -> Grade:
        return Grade(len(answer) > 20, min(1.0, len(answer) / 100), {})


TOY = cast(World, Toy())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Three stages of one run, untrained."""
    root = tmp_path_factory.mktemp("project")
    tokenizer = train("bpe", [TEXT], 300)
    shape = {"layers": 1, "width": 32, "heads": 2, "kv_heads": 2, "head_width": 16, "hidden": 64}
    write_text(root / "plutao.toml", 'name = "toy"\nseed = 3\n')
    project = Project(root, recipes.load(root / "plutao.toml"), "toy-1")
    for number, stage in enumerate(("base", "sft", "rl")):
        model = Decoder(DecoderConfig(vocabulary=tokenizer.vocabulary_size, context=128, **shape))
        model.initialise(number)
        folder = project.stage_dir(stage)
        folder.mkdir(parents=True)
        save_model(model, folder, eos=tokenizer.end_of_text if stage == "base" else tokenizer.special("<|im_end|>"))
        tokenizer.save(folder)
        card: dict[str, Any] = {"stage": stage, "complete": True}
        write_json(folder / "stage.json", card | ({"exam": {"overall": 1}} if stage == "sft" else {}))
    yield project


def test_a_run_ends_with_comparisons_and_answers(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "world", lambda name: TOY)
    told: list[str] = []
    found = contest.run(project, "toy", told.append, prompts=20)
    assert read_json(project.run_dir / "comparisons.json") == json.loads(json.dumps(found))
    assert {"sft_over_base", "rl_over_sft", "rl_over_base"} == set(found["win_rates"])
    rate = found["win_rates"]["rl_over_sft"]
    assert rate["n"] == 20 and rate["wins"] + rate["ties"] + rate["losses"] == 20
    assert any(line.startswith("rl over sft: ") and "of 20 prompts" in line for line in told)
    assert set(found["ratings"]) == {"base", "sft", "rl"} == set(found["diversity"]) == set(found["right"])
    assert found["diversity"]["base"]["entropy"]["value"] == pytest.approx(8.2, abs=0.1), (
        "an untrained model: log2 of 300"
    )
    assert found["arithmetic"]["model"] == "rl" and found["arithmetic"]["without"]["overall"]["n"] == 12 * contest.SUMS
    assert set(found["exam"]) == {"rl"}, "the stage whose card has no exam"
    assert found["simulated"] is True and found["temperature"] == 1.0

    lines = [json.loads(line) for line in (project.run_dir / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 20
    for line in lines:
        assert set(line["answers"]) == set(line["scores"]) == {"base", "sft", "rl"}
        for stage, text in line["answers"].items():
            assert line["scores"][stage] == pytest.approx(min(1, len(text) / 100))
    wins = sum(line["scores"]["rl"] > line["scores"]["sft"] for line in lines)
    assert rate["wins"] == wins, "the answers that are kept are those that were judged"


def test_without_a_world_the_runs_reward_model_judges_prompts_that_were_kept_aside(project: Project) -> None:
    folder = project.stage_dir("reward")
    tokenizer = Tokenizer.load(project.stage_dir("sft"))
    judge = RewardModel(project.model("sft"), reward_token(tokenizer))
    judge.score.weight.data.normal_(generator=torch.Generator().manual_seed(1))
    folder.mkdir()
    save_reward(judge, folder, tokenizer)
    tokenizer.save(folder)
    write_json(folder / "stage.json", {"stage": "reward", "complete": True})
    asked = TOY.questions("validation")[:9]
    found = contest.run(project, None, prompts=6, asked=asked, examples=[Example("What is 1?", "A number.")])
    assert (found["judge"], found["simulated"], found["prompts"]) == ("reward", False, 6)
    assert set(found["win_rates"]) == {"sft_over_base", "rl_over_sft", "rl_over_base"} and found["diversity"]
    assert len((project.run_dir / "answers.jsonl").read_text(encoding="utf-8").splitlines()) == 6
    with_rule = compare_stages({"sft": project.stage_dir("sft"), "rl": project.stage_dir("rl")}, TOY, 1, 0.0, 6,
                               reward=folder)  # fmt: skip
    assert with_rule["by_reward_model"]["win_rates"]["rl_over_sft"]["n"] == 6
    shutil.rmtree(folder)


def test_the_same_seed_gives_the_same_contest(project: Project) -> None:
    folders = {stage: project.stage_dir(stage) for stage in ("base", "sft")}
    one, other = (compare_stages(folders, TOY, 5, seconds=0, prompts=8) for _ in range(2))
    assert one["answers"] == other["answers"] and one["ratings"] == other["ratings"]
    assert compare_stages(folders, TOY, 6, seconds=0, prompts=8)["answers"] != one["answers"]


def test_little_time_means_fewer_prompts_and_never_none(project: Project) -> None:
    folders = {stage: project.stage_dir(stage) for stage in ("base", "sft")}
    found = compare_stages(folders, TOY, 5, seconds=0.0, prompts=24)
    assert found["prompts"] == 24 < contest.ROUND and found["win_rates"]["sft_over_base"]["n"] == 24
    assert found["diversity"] == {} and found["arithmetic"] == {}
    assert not Clock(0.0, 0.0)(0.6) and Clock(0.0, None)(0.6)


def test_any_beginning_of_the_prompts_holds_all_tasks_and_languages() -> None:
    questions = Toy().questions("exam")
    some = chosen(questions, 12, 1)
    cells = [(question.task, question.language) for question in some]
    assert len(set(cells[:6])) == 6 and sorted(cells[:6]) == sorted(cells[6:])
    assert chosen(questions, 24, 1) != chosen(questions, 24, 2)
    assert len(chosen(questions, 1000, 1)) == 24


def test_pairs_of_stages_are_named_by_the_later_one() -> None:
    assert pairs_among({"base": 0, "sft": 0, "rl": 0}) == [("sft", "base"), ("rl", "sft"), ("rl", "base")]
    assert pairs_among({"a/sft": 0, "b/rl": 0}) == [("b/rl", "a/sft")]
