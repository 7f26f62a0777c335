"""`plutao chat`: talking to a model in the terminal."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plutao.cli.terminal import printable, stopping, typed
from plutao.errors import UserError

if TYPE_CHECKING:
    from plutao.assistant.conversation import Conversation
    from plutao.assistant.speaker import Speaker
    from plutao.generate.chat import ChatPiece, Reply

RUN_STAGES = ("base", "sft", "rl", "dpo")


def chat(
    dir: Annotated[Path, typer.Argument(metavar="[DIR]", help="The project's folder.")] = Path(),
    prompt: Annotated[str | None, typer.Option(help="One question; its answer is printed, and that is all.")] = None,
    system: Annotated[str, typer.Option(help="A system prompt: how it should behave.")] = "",
    run: Annotated[str | None, typer.Option(help="RUN or RUN:STAGE, or a path to a model's folder.")] = None,
    stage: Annotated[str | None, typer.Option(help="The stage, where not the last one.")] = None,
    temperature: Annotated[float, typer.Option(help="Below 1 surer, above 1 bolder, 0 greedy.")] = 0.7,
    max_tokens: Annotated[int, typer.Option(help="Tokens of an answer at most.")] = 256,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answers.")] = None,
    language: Annotated[str, typer.Option(help="Of what the program itself says: en or pt.")] = "en",
    json: Annotated[bool, typer.Option("--json", help="The answer with its tool calls as JSON.")] = False,
) -> None:
    """Talk to a model: type, or pipe lines in, each a turn. The assistant may be wrong."""
    from plutao.assistant.conversation import Conversation
    from plutao.assistant.speaker import find_speaker, load_speaker
    from plutao.assistant.words import phrases
    from plutao.generate.sampling import Sampling

    say = phrases(language)
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed)
    if prompt is not None and not prompt.strip():
        raise UserError('There is nothing to answer: give --prompt "…" a text.')
    speaker = load_speaker(find_speaker(dir, run, stage))
    talk = Talk(Conversation(speaker, sampling, system), dir, run, language)
    if not json and (prompt is not None or not sys.stdin.isatty()):
        talk.warn_of_base()
    if json:
        print_json(talk, prompt if prompt is not None else sys.stdin.read().strip())
    elif prompt is not None:
        talk.answer(talk.conversation.ask(prompt))
    elif sys.stdin.isatty():
        talk.greet()
        talk.loop(typed(f"\n{say['you']} ▸ "))
    else:
        talk.loop(line.rstrip("\r\n") for line in sys.stdin)


class Talk:
    """The terminal's side of a conversation: what is typed, what is shown."""

    def __init__(self, conversation: "Conversation", root: Path, run: str | None, language: str) -> None:
        from plutao.assistant.words import phrases

        self.conversation, self.root, self.run, self.language = conversation, root, run, language
        self.say = phrases(language)
        self.commands: dict[str, Callable[[str], None]] = {
            "/system": self.system, "/temperature": self.temperature, "/tokens": self.tokens, "/model": self.model,
            "/regenerate": self.regenerate, "/rate": self.rate, "/why": self.why, "/new": self.new, "/save": self.save,
            "/help": lambda _: self.note(self.say["help"]),
        }  # fmt: skip

    def greet(self) -> None:
        self.introduce()
        self.note(self.say["warning"])

    def introduce(self) -> None:
        """Which model speaks."""
        from plutao.look.view import numbers

        form, speaker = numbers(self.language), self.conversation.speaker
        self.note(
            self.say["about"].format(
                name=speaker.name,
                parameters=form.number(speaker.engine.model.config.parameters()),
                temperature=form.significant(self.conversation.sampling.temperature),
            )
        )
        self.warn_of_base()

    def warn_of_base(self) -> None:
        if not self.conversation.speaker.learned_to_talk:
            self.note(self.say["base"])

    def note(self, text: str) -> None:
        """What the program says, apart from what the model says; dimmed in a terminal."""
        typer.secho(text, err=True, dim=True)

    def loop(self, lines: Iterator[str]) -> None:
        """Answers line after line until they end or /quit comes; what was wrong with one is said, and the next comes."""
        interactive = sys.stdin.isatty()
        failed = False
        for line in lines:
            name, _, rest = line.strip().partition(" ")
            if name in ("/quit", "/exit"):
                break
            try:
                self.react(name, rest.strip(), line.strip())
            except UserError as error:
                failed = True
                typer.echo(str(error), err=True)
            except KeyboardInterrupt:  # while a model is read, say: the program goes on
                self.note(self.say["stopped"])
        if failed and not interactive:
            raise typer.Exit(1)

    def react(self, name: str, rest: str, line: str) -> None:
        if not line:
            return
        if name in self.commands:
            self.commands[name](rest)
        elif name.startswith("/") and name.count("/") == 1:
            raise UserError(self.say["unknown"].format(name=name))
        else:
            self.answer(self.conversation.ask(line))

    # -----------------------------------------------------------------------------------------------------------------
    # Answers

    def answer(self, pieces: "Iterator[ChatPiece]") -> None:
        """Shows an answer as it comes; Ctrl-C stops it and keeps what was shown."""
        shown = ""
        with stopping() as stopped:
            for piece in pieces:
                if piece.call is not None:
                    result = piece.result if piece.result is not None else self.say["not_run"]
                    arguments = ", ".join(str(value) for value in piece.call.arguments.values())
                    typer.echo("\n" * bool(shown.strip()), nl=False)
                    self.note(printable(f"{piece.call.name}({arguments}) → {result}"))
                text = piece.text if shown else piece.text.lstrip()
                shown += text
                typer.echo(printable(text), nl=False)
                sys.stdout.flush()
                if stopped():
                    break
        typer.echo()
        if stopped() and self.conversation.last is None:
            self.conversation.stop(shown)
            self.note(self.say["stopped"])
        elif self.conversation.last is not None:
            self.remark(self.conversation.last)

    def remark(self, reply: "Reply") -> None:
        """What is to be known of an answer besides its words."""
        if reply.dropped:
            self.note(self.say["dropped"].format(count=reply.dropped))
        if reply.finish_reason == "length":
            full = sum(reply.written) < self.conversation.sampling.max_tokens
            self.note(self.say["context_full"] if full else self.say["cut"].format(count=sum(reply.written)))
        elif reply.finish_reason == "tools":
            self.note(self.say["too_many_calls"])
        elif not reply.text.strip():
            self.note(self.say["empty"])

    def regenerate(self, _: str) -> None:
        self.answer(self.conversation.again())

    # -----------------------------------------------------------------------------------------------------------------
    # Settings

    def system(self, text: str) -> None:
        if text:
            self.conversation.system = "" if text == "-" else text
        now = self.conversation.system
        self.note(self.say["system_is"].format(text=now) if now else self.say["no_system"])

    def temperature(self, text: str) -> None:
        from dataclasses import replace

        if text:
            value = self.number(text)
            self.conversation.sampling = replace(self.conversation.sampling, temperature=value)
        self.note(self.say["temperature_is"].format(value=f"{self.conversation.sampling.temperature:g}"))

    def tokens(self, text: str) -> None:
        from dataclasses import replace

        if text:
            self.conversation.sampling = replace(self.conversation.sampling, max_tokens=int(self.number(text)))
        self.note(self.say["tokens_are"].format(value=self.conversation.sampling.max_tokens))

    def number(self, text: str) -> float:
        from math import isfinite

        try:
            value = float(text.replace(",", "."))
        except ValueError:
            value = float("nan")
        if not isfinite(value):
            raise UserError(self.say["not_a_number"].format(text=text))
        return value

    def model(self, name: str) -> None:
        """Another model goes on with the conversation."""
        if name:
            self.conversation.speaker = self.other(name)
            self.conversation.last = self.conversation.before = None
        self.introduce()

    def other(self, name: str) -> "Speaker":
        from plutao.assistant.speaker import find_speaker, load_speaker

        run = (self.run or "current").partition(":")[0]
        if (Path(run) / "config.json").is_file():  # a stage's folder: the other stages of its run lie beside it
            run = str(Path(run).resolve().parent)
        here = name in RUN_STAGES and not Path(name).is_dir()
        return load_speaker(find_speaker(self.root, run if here else name, name if here else None))

    def new(self, _: str) -> None:
        self.conversation.turns.clear()
        self.conversation.last = self.conversation.before = None
        self.note(self.say["fresh"])

    # -----------------------------------------------------------------------------------------------------------------
    # Judging, looking, keeping

    def rate(self, word: str) -> None:
        from plutao.assistant import rows
        from plutao.project import RECIPE_FILE

        row = self.conversation.rate(word, "chat")
        if not (self.root / RECIPE_FILE).is_file():
            raise UserError(self.say["needs_project"])
        path = rows.file_of(self.root / "data" / "feedback", "chat")
        rows.append(path, row)
        self.note(self.say["rated"].format(path=path, rating=word))

    def why(self, word: str) -> None:
        if not word:
            self.note(self.say["words"])
            found = self.conversation.words()
            listed = [f"{place} {one.text} {one.probability:.0%}" for place, one in enumerate(found, 1)]
            typer.echo(printable("   ".join(listed)))
            return
        from rich.console import Console

        from plutao.look.next_token import view

        console = Console() if Console().is_terminal else Console(width=120)
        for seen in self.conversation.why(word):
            console.print(view(seen, self.language).terminal())

    def save(self, name: str) -> None:
        if not name:
            raise UserError(self.say["help"].splitlines()[-2])
        self.conversation.save(Path(name))
        self.note(self.say["saved"].format(path=name))


def print_json(talk: Talk, prompt: str) -> None:
    """One JSON object: what was asked, what was answered, and how it ended."""
    from json import dumps

    if not prompt:
        raise UserError('There is nothing to answer: give --prompt "…", or pipe a text in.')
    for _ in talk.conversation.ask(prompt):
        pass
    reply = talk.conversation.last
    assert reply is not None
    found = {
        "model": talk.conversation.speaker.name,
        "prompt": prompt,
        "text": reply.text.strip(),
        "messages": [message.as_json() for message in reply.messages],
        "finish_reason": reply.finish_reason,
        "prompt_tokens": len(reply.prompt),
        "completion_tokens": sum(reply.written),
        "dropped": reply.dropped,
        "seed": reply.seed,
    }
    typer.echo(dumps(found, ensure_ascii=False))
