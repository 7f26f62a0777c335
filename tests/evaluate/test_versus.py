"""plutao compare lets models answer the same prompts; a rule, a reward model or people say which answer is better."""

import json
import math
from pathlib import Path

import pytest

from plutao.errors import UserError
from plutao.evaluate.contest import by_reward_model
from plutao.evaluate.versus import read_prompts, versus
from plutao.files import write_json, write_text
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.models.interop.huggingface import save_model
from plutao.models.reward import RewardModel, reward_token, save_reward
from plutao.text.tokenizer import train
from plutao.worlds import world

TEXT = "What is Pluto? A dwarf planet. O que é o Sol? Uma estrela. 12 + 30 = 42. assistant user tool " * 8
SHAPE = {"layers": 1, "width": 32, "heads": 2, "kv_heads": 2, "head_width": 16, "hidden": 64}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with base, sft and reward, untrained, and the answers its stages gave to three prompts."""
    folder = tmp_path_factory.mktemp("project") / "runs" / "toy-1"
    tokenizer = train("bpe", [TEXT], 300)
    for number, stage in enumerate(("base", "sft", "reward")):
        model = Decoder(DecoderConfig(vocabulary=tokenizer.vocabulary_size, context=160, **SHAPE))
        model.initialise(number)
        (folder / stage).mkdir(parents=True)
        if stage == "reward":
            judge = RewardModel(model, reward_token(tokenizer))
            judge.score.weight.data.normal_()
            save_reward(judge, folder / stage, tokenizer)
        else:
            ends = tokenizer.end_of_text if stage == "base" else tokenizer.special("<|im_end|>")
            save_model(model, folder / stage, eos=ends)
        tokenizer.save(folder / stage)
        write_json(folder / stage / "stage.json", {"stage": stage, "complete": True})
    write_json(folder / "run.json", {"recipe": "r", "data": "d", "created": "2026-01-01T00:00:00Z"})
    write_text(folder / "recipe.toml", 'name = "toy"\n')
    rows = [
        {"id": str(n), "task": "t", "language": "en", "messages": [{"role": "user", "content": f"What is {n}?"}],
         "answers": {"base": f"bad {n}", "sft": f"good {n}"}, "scores": {}}
        for n in range(3)
    ]  # fmt: skip
    write_text(folder / "answers.jsonl", "\n".join(json.dumps(row) for row in rows))
    return folder


def root(run: Path) -> Path:
    return run.parents[1]


def test_a_worlds_rule_judges_where_somebody_converses(run: Path) -> None:
    found = versus([run / "base", run / "sft"], [world("solar")], root(run), None, None, 12)
    assert found is not None and found["judge"] == "rule" and found["prompts"] == 12
    assert list(found["win_rates"]) == ["toy-1/sft_over_toy-1/base"] and set(found["ratings"]) == {
        "toy-1/base",
        "toy-1/sft",
    }
    assert "answers" not in found
    assert versus([run / "base", run / "base"], [world("solar")], root(run), None, None, 12) is None
    assert versus([run / "base", run / "sft"], [], root(run), None, None, 12) is None
    assert versus([run / "base", run / "sft"], [world("solar")], root(run), None, None, 0) is None


def test_a_reward_model_judges_any_prompts(run: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    write_text(prompts, "What is Pluto?\n\nO que é o Sol?\nHow much is 12 + 30?\n")
    found = versus([run / "base", run / "sft"], [], root(run), prompts, "toy-1:reward", 2)
    assert found is not None and found["judge"] == "reward" and found["prompts"] == 2
    long = by_reward_model(run / "reward")(read_prompts(prompts)[:2], ["word " * 500, "é" * 400])
    assert all(map(math.isfinite, long)), "what is longer than the judge's context is read as far as it fits"
    with pytest.raises(UserError, match="--judge RUN:reward"):
        versus([run / "base", run / "sft"], [], root(run), prompts, None, 5)


def test_people_judge_the_answers_that_a_run_kept(run: Path, tmp_path: Path) -> None:
    rankings = tmp_path / "mine.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": f"What is {n}?"}], "completions": [f"bad {n}", f"good {n}"],
         "ranks": ranks, "labeller": "ana"}
        for n, ranks in enumerate(([2, 1], [2, 1], [1, 1]))
    ]  # fmt: skip
    write_text(rankings, "\n".join(json.dumps(row) for row in rows))
    found = versus([run / "base", run / "sft"], [], root(run), None, str(rankings), 300)
    assert found is not None and found["judge"] == "people"
    rate = found["win_rates"]["sft_over_base"]
    assert (rate["wins"], rate["ties"], rate["losses"]) == (2, 1, 0)
    write_text(rankings, json.dumps({**rows[0], "completions": ["something", "else"]}))
    with pytest.raises(UserError, match="ranks no two answers"):
        versus([run / "base", run / "sft"], [], root(run), None, str(rankings), 300)
    with pytest.raises(UserError, match="holds no answers of stage reward"):
        versus([run / "base", run / "reward"], [], root(run), None, str(rankings), 300)


def test_files_of_prompts_are_read_and_refused_by_row(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    write_text(path, '{"prompt": "One?"}\n{"id": "x", "messages": [{"role": "user", "content": "Two?"}]}\n')
    assert [(asked.id, asked.messages[-1].content) for asked in read_prompts(path)] == [("1", "One?"), ("x", "Two?")]
    for text, said in (
        ('{"prompt": "One?"}\n{"question": "Two?"}', "row 2: no prompt"),
        ('{"prompt": "One?"}\nTwo?', "row 2: no JSON"),
        ('{"messages": [{"role": "assistant", "content": "Hi"}]}', "row 1: a prompt ends with what the user says"),
        ("[1]", "row 1: not an object"),
        ("", "holds no prompt"),
    ):
        write_text(path, text)
        with pytest.raises(UserError, match=said):
            read_prompts(path)
    with pytest.raises(UserError, match="is not there"):
        read_prompts(tmp_path / "none.txt")
