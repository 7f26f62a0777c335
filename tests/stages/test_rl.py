"""Stage 4 from an SFT model to a measured assistant: rewards of people's own, kills, stops and bad input."""

import copy
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from talker import talker

from plutao import recipe as recipes
from plutao.data.conversation_batches import pack_all
from plutao.errors import Interrupted, UserError
from plutao.generate.chat import load_chat
from plutao.generate.sampling import Sampling
from plutao.models.decoder import Decoder
from plutao.models.interop.huggingface import load_model, save_model
from plutao.models.reward import RewardModel, reward_token, save_reward
from plutao.project import Project, is_complete, open_project, start_run
from plutao.stages import demonstrations, rl, sft
from plutao.stages.card import read_card, write_card
from plutao.stages.rollouts import RolloutBatches, collate
from plutao.text.chat import Message
from plutao.text.tokenizer import train
from plutao.train.parallel import World
from plutao.train.progress import Silence

RECIPE = """name = "small"

[model]
context = 160

[sft]
[[sft.sources]]
name = "talk"
path = "data/talk.jsonl"

[reward]

[rl]
reward = "rewards.py:short"
steps = 3
batch = 6
answers = 2
max_tokens = 32
precision = "fp32"
sample_at = [0.0, 1.0]
optimizer = { kind = "adamw", learning_rate = 1e-3 }
"""
REWARDS = """
def short(messages, answers, ended):
    return [end - len(answer) / 50 for answer, end in zip(answers, ended)]

def constant(messages, answers):
    return [1.0 for _ in answers]

def failing(messages, answers):
    return [len(messages[0]["content"])]
"""
PROMPTS = ["Oi", "Qual é o maior planeta?", "Which planet is red?", "Quanto é 12+30?", "Quanto é 25+50?", "Quanto é 11/0?",
           "Qual planeta?", "planet?", "Oi, Olá", "Mars?", "céu?", "Which?"]  # fmt: skip


def hesitating() -> Decoder:
    """The talker with some noise in its weights: what it says varies, and mostly ends."""
    model = copy.deepcopy(talker()[0])
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return model


def ends() -> list[int]:
    tokenizer = talker()[1]
    return [tokenizer.special("<|im_end|>"), tokenizer.end_of_text]


def write_talk(root: Path, prompts: list[str]) -> None:
    rows = [[{"role": "user", "content": text}, {"role": "assistant", "content": "Olá."}] for text in prompts]
    (root / "data").mkdir(exist_ok=True)
    text = "".join(json.dumps({"messages": row}) + "\n" for row in rows)
    (root / "data" / "talk.jsonl").write_text(text, encoding="utf-8")


def small_project(root: Path, *overrides: str) -> Project:
    """A project with a run whose SFT model is the talker, and prompts in the conversations it learned from."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "plutao.toml").write_text(RECIPE, encoding="utf-8")
    (root / "rewards.py").write_text(REWARDS, encoding="utf-8")
    write_talk(root, PROMPTS)
    project = start_run(open_project(root, overrides), "small-1", {})
    _, tokenizer = talker()
    tokenizer.save(project.stage_dir("tokenizer"))
    project.stage_dir("sft").mkdir()
    save_model(hesitating(), project.stage_dir("sft"), bos=tokenizer.end_of_text, eos=ends(), pad=tokenizer.pad)
    write_card(project.stage_dir("sft"), "sft", "the-talker", {})
    return project


def with_reward_model(project: Project, tokenizer: Any = None) -> Project:
    own = talker()[1]
    torch.manual_seed(0)
    judge = RewardModel(load_model(project.stage_dir("sft")), reward_token(own))
    torch.nn.init.normal_(judge.score.weight, std=0.2)
    folder = project.stage_dir("reward")
    folder.mkdir()
    save_reward(judge, folder, tokenizer or own)
    write_card(folder, "reward", "a-judge", {})
    return project


def run(project: Project, minutes: float | None = None) -> dict[str, Any]:
    rl.run(project, World(), Silence(), minutes)
    return read_card(project.stage_dir("rl"))


def lines(project: Project) -> list[dict[str, Any]]:
    text = (project.stage_dir("rl") / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_grpo_with_a_function_as_reward(tmp_path: Path) -> None:
    project = small_project(tmp_path / "p", "rl.algorithm=grpo", "rl.steps=8")
    card = run(project)
    assert is_complete(project.stage_dir("rl"), rl.inputs(project))
    assert card["rounds"] == card["steps"] == 8
    assert [row["n"] for row in card["best_of_n"]] == [1, 2, 4, 8, 16]
    assert card["best_of_n"][0]["reward"] == pytest.approx(card["reward_before"])
    rewards = [row["reward"] for row in card["best_of_n"]]
    assert rewards == sorted(rewards)
    assert card["reward_gain"]["value"] == pytest.approx(card["reward_after"] - card["reward_before"], abs=1e-6)
    assert card["stopped"] is None
    assert "On prompts kept aside the reward" in card["diagnosis"] and "nats" in card["diagnosis"]
    assert {"prompt", "before", "after"} == set(card["examples"][0])
    told = [line for line in lines(project) if "loss" in line]
    assert len(told) == 8
    assert {
        "reward",
        "kl",
        "kl_k3",
        "entropy",
        "clip_fraction",
        "length",
        "ended",
        "distinct",
        "kl_coefficient",
    } <= set(told[0])
    assert told[0]["kl"] == pytest.approx(0, abs=1e-3)  # the first answers are the SFT model's own
    assert len([line for line in lines(project) if "samples" in line]) == 2
    looks = [line["validation"] for line in lines(project) if "validation" in line]
    assert [set(look) for look in looks] == [{"reward", "kl", "length"}] * 2
    reply = load_chat(project.stage_dir("rl")).answer([(Message("user", "Oi"),)], Sampling(max_tokens=30, seed=1))
    assert reply[0][0].messages[0].role == "assistant"


def test_ppo_with_the_reward_model(tmp_path: Path) -> None:
    project = with_reward_model(
        small_project(tmp_path / "p", "rl.reward=model", "report.language=pt", "rl.kl_target=4")
    )
    card = run(project)
    assert card["algorithm"] == "ppo"
    assert "afasta" in card["diagnosis"]
    told = [line for line in lines(project) if "loss" in line]
    assert {"value_loss", "policy_loss"} <= set(told[0])
    assert told[1]["kl_coefficient"] < told[0]["kl_coefficient"]
    moved, started = load_model(project.stage_dir("rl")), load_model(project.stage_dir("sft"))
    assert any(not torch.equal(a, b) for a, b in zip(moved.parameters(), started.parameters(), strict=True))


def test_demonstrations_beside_the_reward_are_not_unlearned(tmp_path: Path) -> None:
    """A reward against what the conversations taught: with their loss beside it they stay likelier than without."""
    losses = {}
    for name, weight in (("without", 0.0), ("with", 3.0)):
        project = small_project(
            tmp_path / name, f"rl.demonstrations={weight}", "rl.steps=12", "rl.optimizer.learning_rate=3e-3"
        )
        run(project)
        told = [line for line in lines(project) if "loss" in line]
        assert all(("demonstrations_loss" in line) == bool(weight) for line in told)
        losses[name] = loss_on_conversations(project)
    assert losses["with"] < losses["without"] - 0.05


def loss_on_conversations(project: Project) -> float:
    """Of the trained policy, in nats per learned token of the conversations that stage sft would read."""
    _, tokenizer = talker()
    made = demonstrations.read(project, tokenizer, 160)
    batches = list(pack_all(made.train, 160, tokenizer.pad, 4))
    loss: float = sft.loss_of(*sft.answer_losses(load_model(project.stage_dir("rl")), batches))["loss"]
    return loss


def test_interrupted_between_rounds_and_resumed_is_the_same_as_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    divided = ("rl.steps=5", "rl.inner_epochs=2", "rl.minibatches=2", "rl.demonstrations=0.5")
    whole = small_project(tmp_path / "whole", *divided)
    run(whole)
    parts = small_project(tmp_path / "parts", *divided)
    drawn = RolloutBatches.next_round
    rounds = 0

    def impatient(self: RolloutBatches) -> Any:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            signal.raise_signal(signal.SIGINT)
        return drawn(self)

    with monkeypatch.context() as patch:
        patch.setattr(RolloutBatches, "next_round", impatient)
        with pytest.raises(Interrupted, match="step 12 of 20"):  # the round at hand is learned from to its end
            run(parts)
    run(parts)
    same(load_model(whole.stage_dir("rl")), load_model(parts.stage_dir("rl")))
    untimed = [
        [
            {key: value for key, value in line.items() if "second" not in key}
            for line in lines(project)
            if "reward" in line
        ]
        for project in (whole, parts)
    ]
    assert untimed[0] == untimed[1] and len(untimed[0]) == 5


def same(a: Decoder, b: Decoder) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


def test_it_ends_where_the_divergence_is_too_large(tmp_path: Path) -> None:
    project = small_project(
        tmp_path / "p", "rl.kl_stop=0.5", "rl.steps=60", "rl.kl=0.0", "rl.optimizer.learning_rate=5e-3"
    )
    card = run(project)
    assert 0 < card["steps"] < 60
    assert "rl.kl_stop" in card["stopped"] and "rl.kl_stop" in card["diagnosis"]
    assert any("ended early" in line.get("event", "") for line in lines(project))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("rl.reward=rewards.py:constant",), r"reward is the same for all answers that were tried"),
        (("rl.reward=rewards.py:failing",), r"rewards.py:failing failed: TypeError: .*\(rewards.py, line 9\)"),
        (("rl.max_tokens=2",), r"Only 0% of the SFT model's answers come to an end within rl.max_tokens = 2"),
        (("rl.max_tokens=150",), r"There is no prompt to learn from: each of the 12 is longer than"),
    ],
)  # fmt: skip
def test_what_can_teach_nothing_is_refused_before_it_starts(
    tmp_path: Path, overrides: tuple[str, ...], sentence: str
) -> None:
    project = small_project(tmp_path / "p", *overrides)
    if "150" in overrides[0]:
        write_talk(project.root, [f"{number} planeta céu Olá Mars " * 20 for number in range(12)])
    with pytest.raises(UserError, match=sentence):
        run(project)
    assert not (project.stage_dir("rl") / "stage.json").exists()


def test_a_reward_model_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    other = train("bpe", ["other texts make another tokenizer " * 10], 290)
    project = with_reward_model(small_project(tmp_path / "p", "rl.reward=model"), other)
    with pytest.raises(UserError, match="reads with another tokenizer"):
        run(project)


def test_prompts_without_room_for_an_answer_are_left_out_and_counted(tmp_path: Path) -> None:
    project = small_project(tmp_path / "p")
    write_talk(project.root, [*PROMPTS, "Qual planeta " * 90])
    assert run(project)["prompts"] == {"train": 12, "measured": 12, "long": 1}


def test_what_it_depends_on(tmp_path: Path) -> None:
    project = small_project(tmp_path / "p")
    seen = {rl.inputs(project)}
    seen.add(rl.inputs(Project(project.root, open_project(project.root, ("rl.kl=0.5",)).recipe, project.run)))
    (project.root / "rewards.py").write_text(REWARDS + "\n# changed", encoding="utf-8")
    seen.add(rl.inputs(project))
    write_card(project.stage_dir("sft"), "sft", "another model", {})
    seen.add(rl.inputs(project))
    assert len(seen) == 4


def test_another_reward_starts_anew(tmp_path: Path) -> None:
    project = small_project(tmp_path / "p")
    first = run(project)
    longer = REWARDS.replace("end - len(answer) / 50", "len(answer) / 50")
    (project.root / "rewards.py").write_text(longer, encoding="utf-8")
    assert not is_complete(project.stage_dir("rl"), rl.inputs(project))
    second = run(project)
    assert second["inputs"] != first["inputs"]
    assert second["reward_before"] != first["reward_before"]
    assert [line["step"] for line in lines(project) if "reward" in line] == [1, 2, 3]


def test_what_can_not_be_is_refused_at_once(tmp_path: Path) -> None:
    project = small_project(tmp_path / "p")

    def check(*overrides: str) -> None:
        rl.check(open_project(project.root, overrides).recipe, project.root)

    check()
    with pytest.raises(UserError, match=r"leaves no room for prompts in model\.context = 160"):
        check("rl.max_tokens=150")
    with pytest.raises(UserError, match=r"can't be divided into rl\.minibatches = 13"):
        check("rl.minibatches=13")
    with pytest.raises(UserError, match=r"has no function 'shor'\. Did you mean 'short'\?"):
        check("rl.reward=rewards.py:shor")
    with pytest.raises(UserError, match="grpo compares the answers of one prompt"):
        recipes.parse(RECIPE, overrides=["rl.algorithm=grpo", "rl.answers=1"])


def test_a_learning_rate_alone_does_not_change_the_optimizer(tmp_path: Path) -> None:
    project = small_project(tmp_path / "p")
    text = RECIPE.replace('optimizer = { kind = "adamw", learning_rate = 1e-3 }', "")
    (project.root / "plutao.toml").write_text(text, encoding="utf-8")
    settings = open_project(project.root, ("rl.optimizer.learning_rate=3e-4",)).recipe.rl
    assert settings is not None
    assert (settings.optimizer.kind, settings.optimizer.learning_rate) == ("adamw", 3e-4)
    assert settings.optimizer.weight_decay == 0


def test_given_minutes_it_ends_in_them(tmp_path: Path) -> None:
    project = small_project(tmp_path / "p")
    card = run(project, minutes=8 / 60)
    assert card["steps"] > 3
    assert card["seconds"] < 8


def test_a_calculators_result_is_read_and_not_learned(tmp_path: Path) -> None:
    """The talker calls the calculator in its rollouts; the tokens of the result are no actions."""
    project = small_project(tmp_path / "p")
    save_model(talker()[0], project.stage_dir("sft"), bos=0, eos=ends(), pad=1)
    ready = rl.prepare(project, World())
    asks = [(Message("user", "Quanto é 12+30?"),)]
    reply = ready.chat.answer(asks, Sampling(max_tokens=80, temperature=0))[0][0]
    assert [message.role for message in reply.messages] == ["assistant", "tool", "assistant"]
    written = collate([reply], 1, torch.device("cpu"))
    actions = {place - len(reply.prompt) for place in written.places[0].tolist()}
    result = talker()[1].decode([token for place, token in enumerate(reply.tokens) if place not in actions])
    assert "<tool_response>42</tool_response>" in result
    assert "calculator" not in result
