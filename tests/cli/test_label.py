"""`plutao label`: orders and written answers as people give them, each on the disk at once, as the stages read them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from talker import save_talker
from typer.testing import CliRunner, Result

from plutao.assistant import rows
from plutao.assistant.labelling import parse_order, read_prompts
from plutao.assistant.words import ENGLISH, PORTUGUESE
from plutao.cli import build
from plutao.cli.terminal import printable
from plutao.data.conversations import read_conversations
from plutao.data.rankings import Ranking, read_rankings
from plutao.errors import UserError
from plutao.project import create
from plutao.worlds import world


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_talker(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "plutao.toml").write_text("", encoding="utf-8")
    (tmp_path / "prompts.txt").write_text("Qual é o maior planeta?\n\nOi\nWhich planet is red?\nQuanto é 11/0?\n")
    return tmp_path


@dataclass(frozen=True)
class Source:
    name: str = "label"
    language: str | None = None
    license: str | None = None


def label(project: Path, model: Path, *options: str, typed: str = "") -> Result:
    arguments = ["label", str(project), "--run", str(model), "--temperature", "2", "--max-tokens", "12", *options]
    return CliRunner().invoke(build(arguments), arguments, input=typed)


def with_prompts(project: Path) -> tuple[str, str]:
    return "--prompts", str(project / "prompts.txt")


def given(project: Path, labeller: str = "me") -> list[Ranking]:
    return list(read_rankings(project / f"data/rankings/{labeller}.jsonl", Source()))


# ---------------------------------------------------------------------------------------------------------------------
# Ranking


def test_an_order_becomes_the_row_that_stage_reward_reads(project: Path, model: Path) -> None:
    result = label(project, model, *with_prompts(project), typed="2 1=3 4\nq\n")
    [ranking] = given(project)
    assert ranking.ranks == (2, 1, 2, 3) and len(set(ranking.completions)) == 4
    assert ranking.messages[0].content == "Qual é o maior planeta?" and ranking.labeller == "me"
    shown = [line.split("  ", 2)[2] for line in result.stdout.split("\n") if line.startswith("  1  ")]
    assert printable(ranking.completions[0]).split("\n")[0] == shown[0]
    assert result.exit_code == 0 and "ranked by me so far: 1" in result.stderr


def test_it_goes_on_where_it_stopped(project: Path, model: Path) -> None:
    label(project, model, *with_prompts(project), typed="1 2 3 4\ns\nf rude\n")
    again = label(project, model, *with_prompts(project), typed="4 3 2 1\n")
    assert [ranking.messages[0].content for ranking in given(project)] == ["Qual é o maior planeta?", "Quanto é 11/0?"]
    assert "Oi" not in again.stdout and "No prompts are left" in again.stderr
    kinds = [(row["kind"], row.get("reason")) for row in rows.read(project / "data/feedback/me.jsonl")]
    assert kinds == [("skip", None), ("flag", "rude")]


def test_a_wrong_order_is_asked_for_again(project: Path, model: Path) -> None:
    result = label(project, model, *with_prompts(project), typed="1 2 3\n1 1 2 3\n5\nbest\n?\n1 2 3 4\nq\n")
    for words in ("missing: 4", "1 is named twice", "There are answers 1 to 4", "? helps", "flag it"):
        assert words in result.stderr
    assert len(given(project)) == 1


def test_a_better_answer_becomes_a_demonstration(project: Path, model: Path) -> None:
    label(project, model, *with_prompts(project), typed="c\nJúpiter,\no maior de todos.\n\n1 2 3 4\nq\n")
    [conversation] = read_conversations(project / "data/conversations/me.jsonl", "label")
    assert conversation.messages[-1].content == "Júpiter,\no maior de todos."
    [ranking] = given(project)
    assert ranking.demonstration == "Júpiter,\no maior de todos."


def test_labellers_see_the_same_answers_in_orders_of_their_own(project: Path, model: Path) -> None:
    label(project, model, *with_prompts(project), "--labeller", "ana", "--seed", "7", typed="1234\n2134\n1234\n1234\n")
    for order in ("1 2 3 4\n" * 4,):
        result = label(project, model, *with_prompts(project), "--labeller", "bia", typed=order)
    of_ana, of_bia = given(project, "ana"), given(project, "bia")
    assert len(of_ana) == 4
    for one, other in zip(of_ana, of_bia, strict=True):
        assert set(one.completions) == set(other.completions)
    assert any(one.completions != other.completions for one, other in zip(of_ana, of_bia, strict=True))
    assert "ana and bia: Kendall's tau" in result.stderr
    told = json.loads(label(project, model, "--agreement", "--json").stdout)["agreement"]
    assert told[0]["labellers"] == ["ana", "bia"] and told[0]["prompts"] == 4 and -1 <= told[0]["tau"] <= 1


def test_an_earlier_prompt_comes_again_unannounced(project: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plutao.assistant.labelling.REPEATED", 2)
    result = label(project, model, *with_prompts(project), typed="1 2 3 4\n" * 6)
    repeats = [row for row in rows.read(project / "data/feedback/me.jsonl") if row["kind"] == "repeat"]
    assert len(given(project)) == 4 and len(repeats) == 2
    known = {frozenset(ranking.completions) for ranking in given(project)}
    assert all(frozenset(row["completions"]) in known for row in repeats)
    assert "me with their own earlier order" in result.stderr


def test_prompts_come_from_the_world_that_the_model_learned_from(tmp_path: Path, model: Path) -> None:
    """And a base model's answers, to prompts shown with examples, can be ranked as well."""
    create(tmp_path / "demo", "sistema-solar")
    run = tmp_path / "demo" / "runs" / "sistema-solar-1"
    shutil.copytree(model, run / "base")
    shutil.copy(tmp_path / "demo" / "plutao.toml", run / "recipe.toml")
    (run / "run.json").write_text("{}")
    for name in ("config.json", "generation_config.json"):
        described = json.loads((run / "base" / name).read_text())
        (run / "base" / name).write_text(json.dumps(described | {"eos_token_id": 0}))
    arguments = ["label", str(tmp_path / "demo"), "--temperature", "2", "--max-tokens", "12"]
    CliRunner().invoke(build(arguments), arguments, input="1 2 3 4\n1 2 3 4\n")
    questions = {question.messages for question in world("solar").questions("train", 2000, 1)}
    ranked = given(tmp_path / "demo")
    assert len(ranked) == 2 and all(ranking.messages in questions for ranking in ranked)
    assert {ranking.language for ranking in ranked} <= {"pt", "en"}


def test_answers_that_are_all_alike_are_not_ranked(project: Path, model: Path) -> None:
    result = label(project, model, *with_prompts(project), "--temperature", "0", typed="q\n")
    assert "nothing to rank" in result.stderr and not (project / "data/rankings/me.jsonl").exists()


def test_a_prompt_longer_than_the_context_is_passed_over(project: Path, model: Path) -> None:
    (project / "prompts.txt").write_text("planeta " * 200 + "\nOi\n")
    result = label(project, model, *with_prompts(project), typed="1 2 3 4\n")
    assert "context holds 160" in result.stderr and len(given(project)) == 1


def test_typed_prompts_and_an_end_of_input(project: Path, model: Path) -> None:
    result = label(project, model, typed="Oi\n1 2 3 4\nWhich planet is red?\n")
    assert [ranking.messages[0].content for ranking in given(project)] == ["Oi"]
    assert result.exit_code == 0


def test_a_closed_terminal_loses_nothing(project: Path, model: Path) -> None:
    """What was given is on the disk although the process is killed while the next prompt is shown."""
    command = [sys.executable, "-m", "plutao", "label", str(project), "--run", str(model), *with_prompts(project)]
    process = subprocess.Popen(
        [*command, "--temperature", "2", "--max-tokens", "12"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    process.stdin.write(b"1 2 3 4\n")
    process.stdin.flush()
    end = time.monotonic() + 60
    while not (project / "data/rankings/me.jsonl").exists() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(given(project)) == 1
    label(project, model, *with_prompts(project), typed="1 2 3 4\nq\n")
    assert [ranking.messages[0].content for ranking in given(project)] == ["Qual é o maior planeta?", "Oi"]


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def test_written_answers_are_conversations_to_learn_from(project: Path, model: Path) -> None:
    typed = "Qual é a maior lua?\nGanimedes,\nde Júpiter.\n\nE a menor?\ns\n\nOi\nOlá.\n\n\n"
    result = label(project, model, "--write", "--labeller", "ana", typed=typed)
    found = list(read_conversations(project / "data/conversations/ana.jsonl", "label"))
    assert [conversation.messages[-1].content for conversation in found] == ["Ganimedes,\nde Júpiter.", "Olá."]
    assert [conversation.id for conversation in found] == ["ana-1", "ana-2"] and result.exit_code == 0


def test_one_answer_from_a_script(project: Path, model: Path) -> None:
    label(project, model, "--write", "--prompt", "Oi", "--answer", "Olá.")
    [conversation] = read_conversations(project / "data/conversations/me.jsonl", "label")
    assert [message.content for message in conversation.messages] == ["Oi", "Olá."]
    assert isinstance(label(project, model, "--write", "--prompt", "Oi", "--answer", " ").exception, UserError)


# ---------------------------------------------------------------------------------------------------------------------
# What is wrong, and what is half there


def test_what_cannot_be_done_is_said(project: Path, model: Path, tmp_path: Path) -> None:
    for options, words in (
        (("--answers", "1"), "2 to 9"),
        (("--labeller", "../me"), "letters, digits"),
        (("--prompts", "nowhere.txt"), "is not there"),
        (("--json",), "--agreement"),
    ):
        error = label(project, model, *options).exception
        assert isinstance(error, UserError) and words in str(error), options
    error = label(tmp_path / "elsewhere", model).exception
    assert isinstance(error, UserError) and "no project" in str(error)


@pytest.mark.parametrize(
    ("text", "ranks"),
    [
        ("2 1=3 4", (2, 1, 2, 3)),
        ("2>1=3>4", (2, 1, 2, 3)),
        ("2, 1 = 3, 4", (2, 1, 2, 3)),
        ("2134", (2, 1, 3, 4)),
        ("1=2=3=4", (1, 1, 1, 1)),
        ("4 3 2 1", (4, 3, 2, 1)),
    ],
)
def test_orders_as_people_write_them(text: str, ranks: tuple[int, ...]) -> None:
    assert parse_order(text, 4, ENGLISH) == ranks


@pytest.mark.parametrize(
    "text", ["", "= 1 2 3 4", "1 2 3 4 =", "1 == 2 3 4", "1 2 3 0", "1 2 3 4 4", "a b", "-1 2 3 4"]
)
def test_what_is_no_order(text: str) -> None:
    with pytest.raises(UserError):
        parse_order(text, 4, ENGLISH)


def test_prompts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": "A"},
    ]
    path.write_text(json.dumps({"prompt": "P", "language": "pt"}) + "\n" + json.dumps({"messages": messages}) + "\n")
    first, second = read_prompts(path)
    assert first.messages[0].content == "P" and first.language == "pt"
    assert [message.role for message in second.messages] == ["system", "user"]
    path.write_text('{"question": 1}\n')
    with pytest.raises(UserError, match=r"p.jsonl, row 1.*right form"):
        list(read_prompts(path))


def test_half_a_row_goes_and_a_whole_one_without_its_end_stays(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows.append(path, {"a": "linha\u2028separada"})
    with path.open("a") as file:
        file.write('{"b": 2}')
    rows.append(path, {"c": 3})
    with path.open("a") as file:
        file.write('{"d": "half')
    rows.append(path, {"e": 5})
    assert [list(row) for row in rows.read(path)] == [["a"], ["b"], ["c"], ["e"]]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"rows\.jsonl"):
        rows.append(tmp_path / "data" / "rows.jsonl", {"a": 1})


def test_both_languages_say_the_same_things() -> None:
    assert ENGLISH.keys() == PORTUGUESE.keys()
    for key, text in ENGLISH.items():
        assert set(fields(text)) == set(fields(PORTUGUESE[key])), key


def fields(text: str) -> list[str]:
    import string

    return [name for _, name, _, _ in string.Formatter().parse(text) if name]
