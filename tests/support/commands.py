"""`plutao` as a person types it, in this process or in one of its own, and a project small enough to train in a second."""

import io
import os
import random
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plutao.cli import build, guarded

RECIPE = """name = "tiny"

[data]
validation = 0.2

[[data.sources]]
name = "texts"
path = "data/sources"
language = "pt"

[tokenizer]
vocabulary = 300

[model]
preset = "plutao-1m"
layers = 2
width = 64
context = 32

[base]
steps = 20
batch = 4
precision = "fp32"
compile = "off"
evaluate = 1
sample_at = [0.0, 1.0]
sample_tokens = 8
"""
WORDS = [
    "the",
    "sun",
    "and",
    "pluto",
    "talk",
    "about",
    "ice",
    "a",
    "planeta",
    "é",
    "pequeno",
    "moon",
    "of",
    "chuva",
    "rio",
]


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str


def plutao(*arguments: object) -> Answer:
    """Runs the command in this process, errors turned into an exit status as by the command itself."""
    words = [str(argument) for argument in arguments]
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status: Any = guarded(lambda: build(words)(args=words), debug=False)
        except SystemExit as leave:
            status = leave.code
    return Answer(int(status or 0), out.getvalue(), err.getvalue())


def done(*arguments: object) -> Answer:
    """As `plutao`, for a command that must succeed."""
    answer = plutao(*arguments)
    assert answer.status == 0, answer.err
    return answer


def refused(*arguments: object) -> str:
    """As `plutao`, for a command that must be refused in a sentence or two; returns what it said, on one line."""
    answer = plutao(*arguments)
    assert answer.status == 1, (answer.status, answer.err)
    return sentence(answer.err)


def sentence(err: str) -> str:
    """The last thing said on stderr, which must be our own sentence and no traceback."""
    assert "Traceback" not in err
    before, mark, said = err.rpartition("plutao: ")
    assert mark and (not before or before.endswith("\n")), err
    assert said.rstrip().endswith("."), said
    return " ".join(said.split())


def start(*arguments: object, **environment: str) -> "subprocess.Popen[str]":
    """The command in a process of its own, with one thread, for signals, kills and exit codes; Ctrl-C reaches it even where
    the tests run behind a shell that told its children not to listen.
    """
    command = [sys.executable, "-m", "plutao", *map(str, arguments)]
    everything = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=everything,
        preexec_fn=listen_to_ctrl_c,
    )


def listen_to_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def in_a_process(*arguments: object, **environment: str) -> Answer:
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=120)
    return Answer(process.returncode, out, err)


def write_texts(folder: Path, files: int = 20, words: int = 400, seed: int = 1) -> None:
    """Sentences of chance, in Portuguese and English."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        text = " ".join(chance.choice(WORDS) for _ in range(words))
        (folder / f"{number}.txt").write_text(f"{text}.\n", encoding="utf-8")


def tiny_project(root: Path, texts: bool = True) -> Path:
    """A project of 40 kB of text and a model of 200,000 parameters."""
    (root / "data" / "sources").mkdir(parents=True)
    (root / "plutao.toml").write_text(RECIPE, encoding="utf-8")
    if texts:
        write_texts(root / "data" / "sources")
    return root
