"""A reward in one line of the recipe: what a function gets, and how its mistakes are told."""

from pathlib import Path

import pytest
import torch
from talker import talker

from plutao.errors import UserError
from plutao.generate.chat import Reply
from plutao.models.decoder import Decoder
from plutao.models.reward import RewardModel, reward_token, score_answers
from plutao.stages.rewards import ModelReward, Prompt, load_function, reward_fingerprint
from plutao.text.chat import Message

PROMPTS = [Prompt((Message("user", "how many?"),), "three"), Prompt((Message("user", "who?"),))]
REPLIES = [
    Reply((Message("assistant", "three"),), "three", [1], [2, 3], [True, True], [-1.0, -1.0], "stop", 0),
    Reply((Message("assistant", "it is"),), "it is", [1], [2], [True], [-1.0], "length", 0),
]
FILE = """
calls = []

def plain(messages, answers):
    calls.append((messages, answers))
    return [len(answer) for answer in answers]

def all_of_it(messages, answers, ideals, ended):
    return [(answer == ideal) + 10 * end for answer, ideal, end in zip(answers, ideals, ended)]

def no_list(messages, answers): return 3
def too_few(messages, answers): return [1.0]
def infinite(messages, answers): return [1.0, float("inf")]
def words(messages, answers): return ["good", "bad"]
def raises(messages, answers):
    return [{}["missing"] for _ in answers]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "rewards.py").write_text(FILE, encoding="utf-8")
    (tmp_path / "broken.py").write_text("def f(:\n", encoding="utf-8")
    (tmp_path / "needs.py").write_text("import a_module_that_is_not_there\n", encoding="utf-8")
    return tmp_path


def test_a_function_gets_conversations_and_answers_and_what_else_it_asks_for(root: Path) -> None:
    reward = load_function("rewards.py:plain", root)
    assert reward(PROMPTS, REPLIES).tolist() == [5, 5]
    messages, answers = reward.function.__globals__["calls"][0]
    assert messages == [[{"role": "user", "content": "how many?"}], [{"role": "user", "content": "who?"}]]
    assert answers == ["three", "it is"]
    assert load_function("rewards.py:all_of_it", root)(PROMPTS, REPLIES).tolist() == [11, 0]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("rewards.py", "names no reward"),
        ("missing.py:f", r"there is no file .*missing.py. It could begin with: def my_reward"),
        ("rewards.py:plane", r"has no function 'plane'\. Did you mean 'plain'\?"),
        ("broken.py:f", r"SyntaxError: .*\(broken.py, line 1\)"),
        ("needs.py:f", "No module named 'a_module_that_is_not_there'"),
        ("no.such.module:f", "can't be imported"),
    ],
)
def test_what_can_not_be_loaded_is_said_in_a_sentence(root: Path, name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load_function(name, root)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no_list", "must return a list of numbers and returned 3"),
        ("too_few", "returned 1 numbers for 2 answers"),
        ("infinite", "gave answer 2 the reward inf"),
        ("words", r"returned \['good', 'bad'\]"),
        ("raises", r"failed: KeyError: 'missing' \(rewards.py, line 16\)"),
    ],
)
def test_what_a_function_does_wrong_is_said_in_a_sentence(root: Path, name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load_function(f"rewards.py:{name}", root)(PROMPTS, REPLIES)


def test_a_module_that_is_installed_serves_too(root: Path) -> None:
    with pytest.raises(UserError, match="has no function"):
        load_function("json:score", root)


def test_another_content_is_another_reward(root: Path) -> None:
    before = reward_fingerprint("rewards.py:plain", root)
    (root / "rewards.py").write_text(FILE + "# more", encoding="utf-8")
    assert reward_fingerprint("rewards.py:plain", root) != before


def test_the_reward_models_number_is_that_of_the_whole_conversation() -> None:
    model, tokenizer = talker()
    copy = Decoder(model.config)
    copy.load_state_dict(model.state_dict())
    judge = RewardModel(copy, reward_token(tokenizer))
    torch.nn.init.normal_(judge.score.weight)
    expected = score_answers(judge, tokenizer, [prompt.messages for prompt in PROMPTS], ["three", "it is"])
    torch.testing.assert_close(ModelReward(judge, tokenizer)(PROMPTS, REPLIES), expected)
