"""Stage 2: a base model becomes one that answers; what is learned, what is kept aside, what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import done, refused, tiny_project

from plutao import recipe as recipes
from plutao.data.conversations import Conversation
from plutao.data.documents import build_documents
from plutao.errors import UserError
from plutao.files import read_json, write_json
from plutao.generate.chat import converses, load_chat
from plutao.generate.sampling import Sampling
from plutao.models.interop.huggingface import load_model
from plutao.models.interop.proof import export_huggingface
from plutao.project import Project, open_project
from plutao.stages import base, demonstrations, sft, tokenizer
from plutao.text.chat import TEMPLATE, Message, ToolCall
from plutao.text.tokenizer import Tokenizer
from plutao.train.parallel import World
from plutao.train.progress import Silence

SECTION = """
[sft]
steps = 40
batch = 4
precision = "fp32"
compile = "off"
evaluate = 1
sample_at = [0.0, 1.0]
validation = 0.2

[[sft.sources]]
name = "pairs"
path = "pairs.jsonl"
language = "pt"
license = "CC BY-NC 4.0"
"""
WORDS = ("sun", "pluto", "ice", "rio")


def write_pairs(path: Path, count: int = 60) -> None:
    rows = [{"prompt": f"say {WORDS[n % 4]} {n}", "response": WORDS[n % 4]} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def trained_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a tokenizer and a base model, in run r."""
    root = tiny_project(tmp_path_factory.mktemp("sft") / "tiny")
    with (root / "plutao.toml").open("a", encoding="utf-8") as file:
        file.write(SECTION)
    write_pairs(root / "pairs.jsonl")
    project = replace(open_project(root, ("base.steps=5", "model.context=48")), run="r")
    card = build_documents(project.recipe.data, project.recipe.seed, root, project.data / "documents")
    write_json(project.run_dir / "run.json", {"data": card.fingerprint, "recipe": project.recipe.fingerprint})
    recipes.save(project.recipe, project.run_dir / "recipe.toml")
    tokenizer.run(project, card.folder, "inputs", lambda text: None)
    base.run(project, World(), Silence())
    return root


@pytest.fixture
def root(trained_base: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoiled."""
    return Path(shutil.copytree(trained_base, tmp_path / "copy"))


def opened(root: Path, *overrides: str) -> Project:
    return replace(open_project(root, ("base.steps=5", "model.context=48", *overrides)), run="r")


def ran(root: Path, *overrides: str) -> tuple[Project, dict[str, Any]]:
    project = opened(root, *overrides)
    sft.check(project.recipe, root)
    sft.run(project, World(), Silence())
    card: dict[str, Any] = read_json(project.stage_dir("sft") / "stage.json")
    return project, card


def lines(project: Project, key: str) -> list[Any]:
    text = (project.stage_dir("sft") / "metrics.jsonl").read_text()
    return [line[key] for line in map(json.loads, text.splitlines()) if key in line]


@pytest.fixture(scope="module")
def assistant(trained_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any]]:
    """One that learned for a while."""
    root = Path(shutil.copytree(trained_base, tmp_path_factory.mktemp("assistant") / "copy"))
    return ran(root, "sft.steps=150", "sft.optimizer.kind=adamw", "sft.optimizer.learning_rate=0.01")


def test_it_learns_to_answer_and_to_end_its_turn(assistant: tuple[Project, dict[str, Any]]) -> None:
    project, card = assistant
    folder = project.stage_dir("sft")
    assert converses(folder) and not converses(project.stage_dir("base"))
    assert card["complete"] and card["stage"] == "sft" and card["inputs"] == sft.inputs(project)
    assert card["validation"]["loss"] < 0.7 < 3.0 < lines(project, "loss")[0]
    assert card["validation"]["low"] < card["validation"]["loss"] < card["validation"]["high"]
    assert card["validation"]["conversations"] == card["sources"]["pairs"]["validation"]
    assert card["validation"]["by_source"]["pairs"]["loss"] == card["validation"]["loss"]
    reply = load_chat(folder).answer([(Message("user", "say pluto 5"),)], Sampling(temperature=0, max_tokens=8))[0][0]
    assert reply.finish_reason == "stop"
    before, after = lines(project, "samples")
    assert len(before) == len(after) == 3 and any(sample["text"] in WORDS for sample in after)


def test_transformers_answers_and_stops_where_the_turn_ends(assistant: tuple[Project, dict[str, Any]]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = assistant[0].stage_dir("sft")
    theirs, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    end, made = theirs.convert_tokens_to_ids("<|im_end|>"), Tokenizer.load(folder)
    assert model.generation_config.eos_token_id == [end, made.end_of_text]
    messages = [{"role": "user", "content": "say pluto 5"}]
    asked = theirs.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = model.generate(**asked, max_new_tokens=12, do_sample=False)[0, asked["input_ids"].shape[1] :].tolist()
    assert written[-1] == end and len(written) < 12
    ours = load_chat(folder).answer([(Message("user", "say pluto 5"),)], Sampling(temperature=0, max_tokens=12))[0][0]
    assert ours.tokens == written


def test_an_export_still_ends_its_turns(assistant: tuple[Project, dict[str, Any]], tmp_path: Path) -> None:
    folder = assistant[0].stage_dir("sft")
    export_huggingface(folder, tmp_path / "export", "bfloat16")
    assert converses(tmp_path / "export")
    assert read_json(tmp_path / "export" / "tokenizer_config.json")["chat_template"] == TEMPLATE


class Killed(Exception):
    """What a kill would do, at a step of our choice."""


class KilledAt(Silence):
    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, step: int, *rest: Any) -> None:
        if step == self.step:
            raise Killed


def test_killed_and_resumed_it_is_the_same_to_the_last_bit(root: Path, tmp_path: Path) -> None:
    settings = ("sft.steps=12", "sft.replay=0.25", "sft.checkpoint_minutes=1e-9", "model.dropout=0.1")
    other = Path(shutil.copytree(root, tmp_path / "other"))
    straight, _ = ran(root, *settings)
    with pytest.raises(Killed):
        sft.run(opened(other, *settings), World(), KilledAt(7))
    resumed, _ = ran(other, *settings)
    one, two = (load_model(project.stage_dir("sft")).state_dict() for project in (straight, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_card_says_where_the_conversations_are_from(root: Path) -> None:
    own = root / "data" / "conversations"
    own.mkdir()
    conversations = [
        Conversation((Message("user", f"quem {n}?"), Message("assistant", "eu")), str(n), "ana", "pt", "CC0")
        for n in range(3)
    ]
    (own / "ana.jsonl").write_text("".join(json.dumps(c.as_json()) + "\n" for c in conversations))
    project, card = ran(root, "sft.steps=2", "sft.replay=0.25")
    pairs, mine = card["sources"]["pairs"], card["sources"]["own"]
    assert pairs["conversations"] + pairs["validation"] == 60 and pairs["validation"] >= 1
    assert pairs["origin"] == "path pairs.jsonl" and pairs["languages"] == {"pt": 60}
    assert mine["origin"] == "data/conversations" and mine["conversations"] + mine["validation"] == 3
    assert card["noncommercial"] == ["pairs"] and mine["licenses"] == {"CC0": 3}
    assert {row["source"] for row in card["data"]} == {"pairs", "own", "texts"}
    before, of_tokenizer = sft.inputs(project), tokenizer.inputs(project, "text")
    (own / "ana.jsonl").write_text(json.dumps(conversations[0].as_json()) + "\n")
    assert sft.inputs(project) != before
    assert tokenizer.inputs(project, "text") == of_tokenizer  # what people write in between begins nothing anew


def test_what_is_kept_aside_is_not_learned(root: Path) -> None:
    project = opened(root)
    made = demonstrations.read(project, project.tokenizer(), 48)
    asked = {conversation.messages[0].content for conversation in made.held_out}
    train, validation = made.train["pairs"], made.validation["pairs"]
    learned = {train.read(number)[0].tobytes() for number in range(len(train))}
    aside = {validation.read(number)[0].tobytes() for number in range(len(validation))}
    assert asked and len(aside) == len(asked) and not learned & aside


def test_a_conversation_longer_than_the_context_is_cut_and_counted(root: Path) -> None:
    turns = [{"role": role, "content": "the sun"} for _ in range(6) for role in ("user", "assistant")]
    write_pairs(root / "pairs.jsonl", 20)
    with (root / "pairs.jsonl").open("a") as file:
        file.write(json.dumps({"messages": turns}) + "\n")
    project = opened(root)
    made = demonstrations.read(project, project.tokenizer(), 48)
    cut = made.card["pairs"]["cut"]
    assert cut["conversations"] == 1 and 2 <= cut["turns"] <= 10
    with (root / "pairs.jsonl").open("a") as file:
        file.write(json.dumps({"id": "endless", "prompt": "the sun " * 60, "response": "sim"}) + "\n")
    with pytest.raises(UserError, match=r"Conversation endless .* a single exchange is longer than the 48 tokens"):
        demonstrations.read(project, project.tokenizer(), 48)
    skipping = opened(root, "data.bad_rows=skip")
    assert demonstrations.read(skipping, skipping.tokenizer(), 48).card["pairs"]["skipped"] == {
        "longer than the context": 1
    }


def test_what_can_not_be_is_refused_before_it_begins(root: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jsonl is not there"):
        sft.check(opened(root, "sft.sources.0.path=gone.jsonl").recipe, root)
    with pytest.raises(UserError, match="'own' is the name of what people"):
        sft.check(opened(root, "sft.sources.0.name=own").recipe, root)
    (root / "plutao.toml").write_text((root / "plutao.toml").read_text().partition("[[sft.sources]]")[0])
    with pytest.raises(UserError, match=r"Stage sft has nothing to learn from: name some in \[\[sft\.sources\]\], or"):
        sft.check(opened(root).recipe, root)


def test_two_conversations_that_open_differently_are_the_least(root: Path) -> None:
    write_pairs(root / "pairs.jsonl", 1)
    project = opened(root)
    with pytest.raises(UserError, match="at least two that open differently"):
        demonstrations.read(project, project.tokenizer(), 48)
    write_pairs(root / "pairs.jsonl", 2)
    made = demonstrations.read(project, project.tokenizer(), 48)
    assert len(made.train["pairs"]) == len(made.validation["pairs"]) == 1


def test_a_few_own_demonstrations_are_learned_rather_than_kept_aside() -> None:
    threshold = demonstrations.threshold
    assert threshold([0.3, 0.1, 0.6], 0.02) == 0.3  # nothing is below the share: the least lot's opening alone
    assert threshold([0.3, 0.01, 0.6], 0.02) == 0.02
    assert threshold([0.3, 0.3], 0.02) == 0.3  # one opening: nothing can be kept aside


def test_it_depends_on_its_settings_its_conversations_and_its_base(root: Path) -> None:
    seen = {
        sft.inputs(opened(root, *change)) for change in ((), ("sft.batch=8",), ("seed=2",), ("data.bad_rows=skip",))
    }
    assert len(seen) == 4
    assert sft.inputs(opened(root, "report.language=pt")) in seen
    write_pairs(root / "pairs.jsonl", 59)
    seen.add(sft.inputs(opened(root)))
    card = root / "runs" / "r" / "base" / "stage.json"
    write_json(card, read_json(card) | {"inputs": "another base"})
    seen.add(sft.inputs(opened(root)))
    assert len(seen) == 6


def test_languages_take_turns_in_the_samples() -> None:
    held = [
        Conversation((Message("user", text), Message("assistant", "x")), text, "s", text[:2])
        for text in ("pt 1", "pt 1", "pt 2", "pt 3", "en 1")
    ]
    assert [conversation.id for conversation in sft.in_turn(held)] == ["pt 1", "en 1", "pt 2", "pt 3"]


def test_any_row_of_training_can_be_looked_at(root: Path) -> None:
    shown = done("inspect", root, "--run", "r", "--mask", "--row", 3).out
    assert "What row 3 of stage sft teaches" in shown and "<|im_end|>⟧" in shown and "⟦" in shown
    seen = json.loads(done("inspect", root, "--run", "r:sft", "--mask", "--row", 3, "--json").out)["mask"]
    learned = [each["token"]["text"] for each in seen["tokens"] if each["learned"]]
    assert "".join(learned).removesuffix("<|im_end|>") in WORDS
    of_base = json.loads(done("inspect", root, "--run", "r", "--stage", "base", "--mask", "--json").out)["mask"]
    assert of_base["learned"] == of_base["positions"] == 48 and of_base["padding"] == 0
    page = root / "mask.html"
    done("inspect", root, "--run", "r", "--mask", "--html", page, "--language", "pt")
    assert "O que a linha 0 da etapa sft ensina" in page.read_text()
    assert "no rows with a mask" in refused("inspect", root, "--run", "r", "--stage", "rl", "--mask")
    assert "There is no run 'x'" in refused("inspect", root, "--run", "x", "--mask")


def test_samples_show_the_calls_that_an_answer_makes() -> None:
    call = ToolCall("calculator", {"expression": "1+1"})
    messages = (Message("assistant", "", (call,)), Message("tool", "2"), Message("assistant", "É 2."))
    assert sft.in_a_line(messages) == '{"name": "calculator", "arguments": {"expression": "1+1"}} → 2 É 2.'
    assert sft.in_a_line(messages[2:]) == "É 2."
