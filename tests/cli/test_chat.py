"""`plutao chat` as a person or a script uses it: answers alone on standard output, commands, judgements that stay."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import listen_to_ctrl_c
from talker import save_talker
from typer.testing import CliRunner, Result

from plutao.cli import build
from plutao.cli.terminal import printable
from plutao.data.conversations import read_conversations
from plutao.errors import UserError
from plutao.generate.chat import ChatPiece


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose run has an assistant at stage sft and, as its base, the same model without turns' ends."""
    root = tmp_path_factory.mktemp("project")
    (root / "plutao.toml").write_text("", encoding="utf-8")
    run = root / "runs" / "small-1"
    save_talker(run / "sft")
    save_talker(run / "base")
    for name in ("config.json", "generation_config.json"):
        path = run / "base" / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": 0}))
    (run / "run.json").write_text("{}")
    return root


def chat(project: Path, *options: str, typed: str | None = None) -> Result:
    arguments = ["chat", str(project), "--temperature", "0", *options]
    return CliRunner().invoke(build(arguments), arguments, input=typed)


def test_a_piped_question_gets_its_answer_alone(project: Path) -> None:
    result = chat(project, typed="Qual é o maior planeta?\n")
    assert result.exit_code == 0 and result.stdout == "O maior planeta é Júpiter.\n"


def test_piped_lines_are_turns_of_one_conversation(project: Path) -> None:
    result = chat(project, typed="Oi\nQual é o maior planeta?\n")
    assert result.stdout == "Olá. Eu falo do céu.\nO maior planeta é Júpiter.\n"


def test_a_tool_call_is_shown_as_such(project: Path) -> None:
    result = chat(project, typed="Quanto é 12+30?\n")
    assert result.stdout == "12+30 dá 42.\n" and "calculator(12+30) → 42" in result.stderr


def test_json_for_scripts(project: Path) -> None:
    told = json.loads(chat(project, "--prompt", "Quanto é 25+50?", "--json", "--seed", "5").stdout)
    assert told["text"] == "25+50 dá 75." and told["finish_reason"] == "stop" and told["seed"] == 5
    assert [message["role"] for message in told["messages"]] == ["assistant", "tool", "assistant"]
    assert told["model"] == "small-1/sft"
    piped = json.loads(chat(project, "--json", typed="Quanto é 25+50?\n").stdout)
    assert piped["text"] == told["text"]


def test_regenerate_rate_and_what_is_kept(project: Path) -> None:
    lines = [
        "Oi",
        "/rate bom",
        "/rate better",
        "/temperature 3",
        "/tokens 12",
        "/regenerate",
        "/rate pior",
        "/rate nice",
    ]
    result = chat(project, "--seed", "1", typed="\n".join(lines))
    rows = [json.loads(line) for line in (project / "data/feedback/chat.jsonl").read_text().splitlines()]
    rating, comparison = rows
    assert rating["rating"] == "good" and rating["answer"] == "Olá. Eu falo do céu."
    assert rating["messages"] == [{"role": "user", "content": "Oi"}] and rating["model"] == "small-1/sft"
    assert comparison["completions"][0] == "Olá. Eu falo do céu." and comparison["ranks"] == [1, 2]
    assert "/regenerate first" in result.stderr and "Say good or bad" in result.stderr
    assert result.exit_code == 1, "a script must learn that some of its lines were not understood"


def test_why_shows_what_else_might_have_come(project: Path) -> None:
    result = chat(project, "--language", "pt", typed="Quanto é 12+30?\n/why\n/why dá\n/why Netuno\n")
    assert "1 12+30" in result.stdout and "O que vem depois de “12+30”" in result.stdout
    assert "▶  ·dá" in result.stdout.replace("▶ ·", "▶  ·") or "▶" in result.stdout
    assert "Netuno" in result.stderr


def test_the_base_model_is_shown_how(project: Path) -> None:
    result = chat(project, "--stage", "base", "--max-tokens", "20", typed="Oi\n/model sft\n/new\nOi\n/model nope\n")
    assert "only continues texts" in result.stderr
    assert result.stdout.splitlines()[-1] == "Olá. Eu falo do céu."
    assert "nope" in result.stderr


def test_a_conversation_is_saved_to_read_and_to_train_on(project: Path, tmp_path: Path) -> None:
    to_read, to_train = tmp_path / "a.md", tmp_path / "a.jsonl"
    lines = f"Quanto é 12+30?\n/save {to_read}\n/save {to_train}\n/save {to_train}\n/quit\nOi\n"
    result = chat(project, "--system", "Fale pouco.", typed=lines)
    assert "12+30" in to_read.read_text(encoding="utf-8")
    [conversation] = read_conversations(to_train, "saved")
    assert [message.role for message in conversation.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert "is there already" in result.stderr


def test_what_is_wrong_is_said_and_the_next_line_answered(project: Path) -> None:
    lines = "/nope\n/temperature hot\n/temperature -1\n/regenerate\n/why x\nplaneta " + "planeta " * 200 + "\nOi\n"
    result = chat(project, typed=lines)
    assert result.stdout == "Olá. Eu falo do céu.\n"
    for words in ("/nope", "'hot'", "temperature = -1", "Nothing was asked", "no whole answer", "context holds 160"):
        assert words in result.stderr
    assert isinstance(chat(project, "--prompt", " ").exception, UserError)
    assert isinstance(chat(project, "--json", typed="").exception, UserError)


def test_judgements_need_a_project(project: Path, tmp_path: Path) -> None:
    arguments = ["chat", str(tmp_path), "--run", str(project / "runs/small-1/sft")]
    result = CliRunner().invoke(build(arguments), arguments, input="Oi\n/rate good\n")
    assert "project's folder" in result.stderr and not (tmp_path / "data").exists()


def test_a_reward_model_does_not_talk(project: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "r"
    (run / "reward").mkdir(parents=True)
    (run / "reward" / "config.json").write_text("{}")
    (run / "run.json").write_text("{}")
    error = chat(tmp_path, "--prompt", "Oi", "--stage", "reward").exception
    assert isinstance(error, UserError) and "judges answers" in str(error)
    save_talker(run / "sft")
    assert chat(tmp_path, "--prompt", "Oi").stdout == "Olá. Eu falo do céu.\n"


def test_what_a_model_writes_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\tc\nd\x9be\x7f") == "a\ufffd[2Jb\tc\nd\ufffde\ufffd"


def test_complete_says_that_chat_talks(project: Path) -> None:
    arguments = ["complete", str(project), "--prompt", "Oi", "--max-tokens", "3"]
    assert "plutao chat" in CliRunner().invoke(build(arguments), arguments).stderr
    base = [*arguments, "--stage", "base"]
    assert "plutao chat" not in CliRunner().invoke(build(base), base).stderr


def test_ctrl_c_stops_the_answer(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The interrupt comes after the second piece: what was shown is the answer, and the next question is answered."""
    from plutao.assistant.conversation import Conversation
    from plutao.assistant.speaker import load_speaker
    from plutao.cli.chat import Talk
    from plutao.generate.sampling import Sampling

    conversation = Conversation(load_speaker(project / "runs/small-1/sft"), Sampling(temperature=0))
    talk = Talk(conversation, project, None, "en")

    def interrupted() -> Iterator[ChatPiece]:
        for place, piece in enumerate(conversation.ask("Qual é o maior planeta?")):
            if place == 1:
                signal.raise_signal(signal.SIGINT)
            yield piece

    talk.answer(interrupted())
    shown = capsys.readouterr().out.strip()
    assert conversation.turns[-1].content == shown and "O maior planeta é Júpiter.".startswith(shown)
    assert not conversation.speaker.engine.busy
    talk.answer(conversation.ask("Which planet is red?"))
    assert conversation.last is not None and conversation.turns[-1].content == conversation.last.text


class Terminal:
    """`plutao chat` in a terminal of its own."""

    def __init__(self, *options: str) -> None:
        self.master, slave = pty.openpty()
        command = [sys.executable, "-m", "plutao", "chat", *options]
        settings = os.environ | {"TERM": "dumb", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=settings,
            start_new_session=True,
            preexec_fn=listen_to_ctrl_c,
        )
        os.close(slave)
        self.bytes = b""

    @property
    def shown(self) -> str:
        return self.bytes.decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Reads on until this comes; what came up to its end is not looked at again."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, f"{text!r} did not come: {self.shown}"
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.bytes += os.read(self.master, 65536)
                except OSError:
                    break
        assert text in self.shown, self.shown
        self.bytes = self.shown.partition(text)[2].encode()


def test_ctrl_c_at_the_prompt_does_not_end_the_program(project: Path) -> None:
    """In a real terminal: the next question is answered, and /quit leaves with 0."""
    terminal = Terminal(str(project), "--temperature", "1.9")
    try:
        terminal.wait_for("It may be wrong")
        terminal.wait_for("you ▸ ")
        terminal.type("/temperature 0\n")
        terminal.wait_for("Temperature: 0")
        terminal.wait_for("you ▸ ")
        time.sleep(0.3)  # it waits for a line now
        os.kill(terminal.process.pid, signal.SIGINT)
        terminal.wait_for("(/quit)")
        terminal.type("Qual é o maior planeta?\n")
        terminal.wait_for("Júpiter.")
        terminal.type("/quit\n")
        assert terminal.process.wait(timeout=30) == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.master)
