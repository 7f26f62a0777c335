"""Stage dpo: the model comes to prefer what people prefer, and says how far it went from the SFT model for it."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranked import ranked_project

from plutao.errors import Interrupted
from plutao.evaluate.divergence import log_ratios
from plutao.generate.chat import load_chat
from plutao.generate.sampling import Sampling
from plutao.models.interop.huggingface import load_model
from plutao.project import Project, is_complete, open_project
from plutao.stages import dpo, reward
from plutao.stages.card import read_card
from plutao.text.chat import Message
from plutao.train.parallel import World
from plutao.train.progress import Silence

BETA = "beta = 0.5"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("dpo") / "project"
    project = ranked_project(root, "dpo", more=f"{BETA}\n[reward]", length="steps = 80")
    dpo.run(project, World(), Silence())
    return project


def test_it_prefers_what_people_prefer_and_tells_how_far_it_went(trained: Project) -> None:
    card = read_card(trained.stage_dir("dpo"))
    assert is_complete(trained.stage_dir("dpo"), dpo.inputs(trained))
    assert card["pair_accuracy"]["value"] > 0.75 > card["baselines"]["random"]["value"]
    assert card["kl"]["value"] > 0.5 and card["kl"]["low"] < card["kl"]["value"] < card["kl"]["high"]
    assert card["validation"]["loss"] < 0.6 and card["beta"] == 0.5
    assert "verdict" not in card


def test_its_folder_is_an_assistants(trained: Project) -> None:
    chat = load_chat(trained.stage_dir("dpo"))
    asked = [(Message("user", f"give me {colour} number 1"),) for colour in ("red", "blue")]
    answers = chat.answer(asked, Sampling(temperature=0.0, max_tokens=8))
    assert len(answers) == 2


def test_a_stopped_stage_goes_on_to_the_same_weights_without_reading_all_again(tmp_path: Path) -> None:
    whole = ranked_project(tmp_path / "whole", "dpo", f"{BETA}\n[reward]", length="steps = 6")
    dpo.run(whole, World(), Silence())
    stopped = ranked_project(tmp_path / "stopped", "dpo", f"{BETA}\n[reward]", length="steps = 6")

    class Stopping(Silence):
        def update(self, step: int, *others: object) -> None:
            if step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        dpo.run(stopped, World(), Stopping())
    reference = stopped.stage_dir("dpo") / "reference.json"
    written = reference.stat().st_mtime_ns
    dpo.run(stopped, World(), Silence())
    assert reference.stat().st_mtime_ns == written
    first, second = (load_model(project.stage_dir("dpo")).state_dict() for project in (whole, stopped))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_from_the_very_rankings_of_stage_reward(tmp_path: Path) -> None:
    both = "steps = 1\nbatch = 4\ncompile = 'off'\nprecision = 'fp32'\nvalidation = 0.2"
    project = ranked_project(tmp_path / "project", "dpo", f"{BETA}\n[reward]\n{both}", length="steps = 1")
    reward.run(project, World(), Silence())
    dpo.run(project, World(), Silence())
    first, second = (project.stage_dir(stage) / "rankings.jsonl" for stage in ("reward", "dpo"))
    assert first.read_text() == second.read_text()
    assert dpo.inputs(open_project(project.root, ("dpo.beta=0.2",), "ranked-1")) != dpo.inputs(project)


def test_a_model_has_not_gone_away_from_itself(trained: Project) -> None:
    chat = load_chat(trained.stage_dir("dpo"))
    asked = [(Message("user", f"give me red number {n}"),) for n in range(5)]
    replies = [some[0] for some in chat.answer(asked, Sampling(max_tokens=12, seed=1))]
    own = log_ratios(replies, chat.engine.model, chat.engine.vocabulary)
    assert max(map(abs, own)) < 1e-3
    model = load_model(trained.stage_dir("sft"))
    other = log_ratios(replies, model, chat.engine.vocabulary)
    expected = []
    for reply in replies:
        row = torch.tensor([reply.prompt + reply.tokens])
        logprobs = model(row).detach()[0, :, : chat.engine.vocabulary].log_softmax(-1)
        start = len(reply.prompt)
        theirs = sum(float(logprobs[start + n - 1, token]) for n, token in enumerate(reply.tokens))
        expected.append(sum(reply.logprobs) - theirs)
    assert other == pytest.approx(expected, abs=1e-3)
    # What a tool put between is nobody's choice.
    half = [
        replace(reply, written=[False] * len(reply.tokens), logprobs=[0.0] * len(reply.tokens)) for reply in replies
    ]
    assert log_ratios(half, model, chat.engine.vocabulary) == [0.0] * 5
