"""The door: instant help, one sentence for what went wrong, a traceback only when asked for."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import done, in_a_process, plutao

from plutao import __version__
from plutao.cli import VERBS


def test_help_comes_at_once() -> None:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        answer = in_a_process("--help")
        times.append(time.perf_counter() - started)
        assert answer.status == 0
        assert all(verb in answer.out for verb in VERBS)
    assert min(times) < 0.5


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from plutao.cli import VERBS, build\n"
        "for words in [['--help'], *[[verb, '--help'] for verb in VERBS]]:\n"
        "    try:\n"
        "        build(words)(args=words)\n"
        "    except SystemExit as leave:\n"
        "        assert leave.code == 0, words\n"
        "print([name for name in ('torch', 'transformers', 'pyarrow', 'plotly', 'tokenizers') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    said = done(verb, "--help").out
    assert f"{verb} [OPTIONS]" in said
    assert len(said.splitlines()) > 6


def test_a_verb_without_its_arguments_says_how_it_is_used() -> None:
    assert plutao().status in (0, 2)
    answer = plutao("new")
    assert answer.status == 2
    assert "DIR" in answer.err


def test_the_version() -> None:
    assert in_a_process("--version").out == f"{__version__}\n"


def test_a_traceback_only_when_asked_for(tmp_path: Path) -> None:
    wrong = ("new", tmp_path / "x", "--recipe", "nope")
    plain = in_a_process(*wrong)
    assert plain.status == 1
    assert plain.err.startswith("plutao: There is no recipe 'nope'.") and plain.err.count("\n") == 1
    for words in ((*wrong, "--debug"), ("--debug", *wrong)):
        debugged = in_a_process(*words)
        assert debugged.status == 1
        assert "Traceback" in debugged.err and "UserError" in debugged.err


@pytest.mark.parametrize("words", [("plan", "--presets"), ("doctor",), ("--help",)])
def test_a_reader_who_has_enough_is_no_error(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # as `head` does once it has its lines
    command = [sys.executable, "-m", "plutao", *words]
    with os.fdopen(writing, "wb") as closed:
        result = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert result.stderr == ""
