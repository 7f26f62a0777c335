"""What `chat` and `label` need of a terminal: lines that people type, Ctrl-C, and text that can be shown."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import typer


def typed(prompt: str) -> Iterator[str]:
    """The lines a person types, until the end of input; Ctrl-C at the prompt clears the line."""
    with suppress(ImportError):
        import readline  # noqa: F401 – gives `input` a history and the arrow keys, where Python has it
    while True:
        try:
            yield input(prompt)
        except KeyboardInterrupt:
            typer.echo("\n(/quit)", err=True)
        except EOFError:
            typer.echo()
            return


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """While an answer is written, Ctrl-C asks it to stop; what is yielded tells whether that was asked."""
    asked = False

    def ask(_: int, __: FrameType | None) -> None:
        nonlocal asked
        asked = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def printable(text: str) -> str:
    """What a model writes could steer the terminal: control characters are shown as a sign of their own."""
    return "".join(c if c in "\n\t" or not (ord(c) < 32 or 127 <= ord(c) < 160) else "\ufffd" for c in text)


def read_line(prompt: str) -> str | None:
    """One line that is typed or piped in; None where there is no more, or Ctrl-C came."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return line.rstrip("\r\n") if line else None
    try:
        return input(prompt)
    except (EOFError, KeyboardInterrupt):
        typer.echo()
        return None


def read_lines() -> str | None:
    """Lines up to an empty one, joined; None where nothing came at all because there is no more."""
    lines: list[str] = []
    while line := read_line("  "):
        lines.append(line)
    return "\n".join(lines) if lines or line is not None else None
