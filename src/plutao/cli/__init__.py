"""The door: `plutao VERB …`. Only the module of the verb that was called is imported, so that `--help` is instant."""

import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from plutao import __version__
from plutao.errors import Interrupted, UserError

VERBS: dict[str, tuple[str, str]] = {
    "new": ("plutao.cli.project:new", "A project folder: a commented recipe and a place for texts."),
    "run": ("plutao.cli.project:run", "The pipeline; resumes by itself; ends with the report."),
    "plan": ("plutao.cli.plan:plan", "Parameters, memory, FLOPs, time and money, before paying."),
    "data": ("plutao.cli.data:app", "Sources in, clean shards out, what is in them."),
    "chat": ("plutao.cli.chat:chat", "Talk to a model; judge its answers; see why a word came."),
    "label": ("plutao.cli.label:label", "Rank a model's answers, or write what it should have answered."),
    "complete": ("plutao.cli.complete:complete", "Let a model continue a text."),
    "inspect": (
        "plutao.cli.inspect:inspect",
        "Look inside: tokens, next-token table, softmax, chain rule, one training step.",
    ),
    "eval": ("plutao.cli.evaluate:evaluate", "Bits per byte of any text, exams."),
    "compare": ("plutao.cli.compare:compare", "The same measures of several models side by side."),
    "serve": ("plutao.cli.serve:serve", "The models for people and programs: an OpenAI-compatible API with accounts."),
    "user": ("plutao.cli.user:app", "People of the service: make, list, shut out, give a new password."),
    "key": ("plutao.cli.key:app", "API keys: make, list, revoke."),
    "replay": ("plutao.cli.replay:replay", "A stored answer written again, from what it came from."),
    "export": ("plutao.cli.export:export", "Take a model elsewhere, with proof that it answers the same."),
    "doctor": ("plutao.cli.doctor:doctor", "What this machine can do, what is missing, how to mend it."),
}


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application for this command line: the verb that is called, and one line of each of the others."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(top)
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, (place, line) in VERBS.items():
        if name != called:
            app.command(name, help=line)(lambda: None)
            continue
        module, _, attribute = place.partition(":")
        verb = getattr(importlib.import_module(module), attribute)
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=name, help=line)
        else:
            app.command(name)(verb)
    return app


def top(
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and leave.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show Python's traceback of an error.")] = False,
) -> None:
    """From a folder of text to an assistant of your own."""


def main() -> None:
    """The command `plutao`: what the user did wrong becomes one sentence on stderr, and an exit status that is not 0."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: half-written files are removed
    # PyTorch's threads wait for each other in a loop that burns the core another program could finish on. Waiting shortly
    # and then sleeping costs nothing on a quiet machine; beside a busy program training is 1.8 times as fast (docs/speed.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if "--version" in arguments[:1]:
        print(__version__)
        return
    try:
        sys.exit(guarded(lambda: build(arguments)(args=arguments), debug="--debug" in sys.argv))
    except SystemExit as done:
        # CPython notes a Ctrl-C that struck inside exec("…"), as dataclasses do while modules are read, and `python -m` would
        # die of it here, whatever was done about it since; the next exec takes the note back.
        exec("")
        if "TORCHELASTIC_RUN_ID" in os.environ:  # under torchrun
            leave_at_once(done)
        raise


def leave_at_once(done: SystemExit) -> None:
    """Ends the process without the interpreter's own clearing up, in which threads that the group of processes leaves
    behind may abort ("terminate called without an active exception"), and torchrun then stops the others for it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(done.code if isinstance(done.code, int) else int(done.code is not None))


def guarded(command: Callable[[], object], debug: bool) -> int:
    """Runs a command and turns its errors into an exit status.

    Usage errors, --help and a reader that has enough (`plutao … | head`) leave by typer's SystemExit, the last silently.
    """
    try:
        command()
    except Interrupted as stop:
        print(f"plutao: {stop}", file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        if debug:
            raise
        print(f"plutao: {in_words(error)}", file=sys.stderr)
        return 1
    return 0


def in_words(error: UserError | OSError) -> str:
    if isinstance(error, UserError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}."
