"""`plutao label`: people rank a model's answers, or write what it should have answered."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plutao.cli.terminal import printable, read_line, read_lines
from plutao.errors import UserError

if TYPE_CHECKING:
    from plutao.assistant.labelling import Desk, Prompt, Sheet
    from plutao.assistant.speaker import Speaker
    from plutao.generate.sampling import Sampling


def label(
    dir: Annotated[Path, typer.Argument(metavar="[DIR]", help="The project's folder.")] = Path(),
    labeller: Annotated[str, typer.Option(metavar="NAME", help="Who ranks or writes.")] = "me",
    write: Annotated[bool, typer.Option("--write", help="Write ideal answers in place of ranking.")] = False,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prompts: a line each, or .jsonl; left out: the world's, or typed."),
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; may be repeated.")] = None,
    answer: Annotated[str | None, typer.Option(help="With --write and one --prompt: its ideal answer.")] = None,
    answers: Annotated[int, typer.Option(help="Answers shown at once (K).")] = 4,
    count: Annotated[int | None, typer.Option(help="Leave after so many prompts.")] = None,
    agreement: Annotated[bool, typer.Option("--agreement", help="Only tell how far labellers agree.")] = False,
    run: Annotated[str | None, typer.Option(help="RUN or RUN:STAGE, or a path to a model's folder.")] = None,
    stage: Annotated[str | None, typer.Option(help="The stage, where not the last one.")] = None,
    temperature: Annotated[float, typer.Option(help="Of the answers: higher, and they differ more.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="Tokens of an answer at most.")] = 128,
    seed: Annotated[int, typer.Option(help="The same seed draws the same prompts and answers.")] = 1,
    language: Annotated[str, typer.Option(help="Of what the program itself says: en or pt.")] = "en",
    json: Annotated[bool, typer.Option("--json", help="With --agreement: as JSON.")] = False,
) -> None:
    """Rank a model's answers, blind, or write ideal answers; what you give is kept at once, and training reads it."""
    from plutao.assistant.labelling import MOST_ANSWERS, Desk, said
    from plutao.assistant.words import phrases

    say = phrases(language)
    if not 2 <= answers <= MOST_ANSWERS:
        raise UserError(f"--answers {answers}: there are 2 to {MOST_ANSWERS} to rank.")
    if json and not agreement:
        raise UserError("--json tells agreement: add --agreement.")
    desk = Desk(dir, labeller)
    given = [said(text) for text in prompt or () if text.strip()]
    if agreement:
        print_agreement(desk, say, json)
    elif write and answer is not None:
        write_one(desk, given, answer, say)
    elif write:
        source = iter(given) if given else asked(prompts, None, seed, say)
        write_answers(desk, islice(source, count), say)
    else:
        from plutao.assistant.speaker import find_speaker, load_speaker
        from plutao.generate.sampling import Sampling

        folder = find_speaker(dir, run, stage)
        sampling = Sampling(temperature=temperature, max_tokens=max_tokens, n=answers, seed=seed)
        source = iter(given) if given else asked(prompts, folder, seed, say)
        rank_answers(desk, source, load_speaker(folder, slots=answers), sampling, say, count)


# ---------------------------------------------------------------------------------------------------------------------
# Prompts


def asked(path: Path | None, folder: Path | None, seed: int, say: dict[str, str]) -> "Iterator[Prompt]":
    """The prompts of a file, else of the world the model learned from, else those that are typed."""
    from plutao.assistant.labelling import Prompt, read_prompts
    from plutao.evaluate.measure import worlds_of

    if path is not None:
        return iter(list(read_prompts(path)))  # what is wrong in the file is said before the first answer is written
    try:
        worlds = worlds_of(folder) if folder is not None else []
    except UserError:
        worlds = []
    if worlds:
        questions = [question for world in worlds for question in world.questions("train", 2000, seed)]
        return iter([Prompt(question.messages, question.language) for question in questions])
    return typed_prompts(say)


def typed_prompts(say: dict[str, str]) -> "Iterator[Prompt]":
    from plutao.assistant.labelling import said

    while True:
        typer.echo(say["type_prompt"], err=True)
        text = read_line("▸ ")
        if not text or not text.strip():
            return
        yield said(text.strip())


# ---------------------------------------------------------------------------------------------------------------------
# Ranking


def rank_answers(
    desk: "Desk",
    prompts: "Iterator[Prompt]",
    speaker: "Speaker",
    sampling: "Sampling",
    say: dict[str, str],
    count: int | None,
) -> None:
    """Sheet after sheet until the person leaves or no prompt is left; ends with what there is now."""
    made_by = {"model": speaker.name, "temperature": sampling.temperature, "seed": sampling.seed}
    typer.secho(say["answers_of"], dim=True, err=True)
    done = 0
    sheets = desk.sheets(prompts, speaker, sampling)
    while count is None or done < count:
        sheet = next(sheets, None)
        if sheet is None:
            typer.echo(say["no_prompts"], err=True)
            break
        if not judge(desk, sheet, made_by, say):
            break
        done += 1
    typer.echo(say["summary"].format(name=desk.labeller, count=len(desk.rankings), path=desk.rankings_file), err=True)
    if desk.rankings:
        print_agreement(desk, say, False)


def judge(desk: "Desk", sheet: "Sheet", made_by: dict[str, object], say: dict[str, str]) -> bool:
    """Shows a sheet and takes what the person gives; False where they leave."""
    from plutao.assistant.labelling import parse_order

    show(sheet, say)
    if len(sheet.answers) < 2:
        typer.secho(sheet.problem or say["alike"], dim=not sheet.problem, err=True)
        return True
    while (given := read_line("▸ ")) is not None:
        word, _, rest = given.strip().partition(" ")
        if word == "q":
            return False
        if word == "s":
            desk.skip(sheet)
            typer.secho(say["skipped"], dim=True, err=True)
            return True
        if word == "f":
            desk.flag(sheet, rest.strip())
            typer.secho(say["flagged"], dim=True, err=True)
            return True
        if word == "c":
            correct(desk, sheet, say)
        elif word == "?":
            typer.echo(say["rank_help"], err=True)
        else:
            try:
                ranks = parse_order(given, len(sheet.answers), say)
            except UserError as error:
                typer.echo(str(error), err=True)
                continue
            desk.rank(sheet, ranks, made_by)
            typer.secho(say["all_equal"] if len(set(ranks)) == 1 else say["kept"], dim=True, err=True)
            return True
    return False


def show(sheet: "Sheet", say: dict[str, str]) -> None:
    """The prompt and its answers, numbered."""
    typer.echo()
    for message in sheet.prompt.messages:
        name = say["prompt"] if message is sheet.prompt.messages[-1] else message.role
        typer.secho(f"{name}: {printable(message.content)}", bold=True)
    for number, answer in enumerate(sheet.answers, 1):
        typer.echo(f"  {number}  " + printable(answer).replace("\n", "\n     "))


def correct(desk: "Desk", sheet: "Sheet", say: dict[str, str]) -> None:
    """A better answer, kept as a demonstration."""
    typer.echo(say["your_answer"], err=True)
    text = read_lines()
    if text and text.strip():
        desk.demonstrate(sheet.prompt, text.strip())
        typer.secho(say["demonstrated"], dim=True, err=True)
    else:
        typer.echo(say["no_answer"], err=True)


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write_one(desk: "Desk", prompts: "list[Prompt]", answer: str, say: dict[str, str]) -> None:
    if len(prompts) != 1 or not answer.strip():
        raise UserError('--answer needs one --prompt, and neither may be empty: --write --prompt "…" --answer "…".')
    written = desk.demonstrate(prompts[0], answer.strip())
    typer.echo(say["written"].format(path=desk.conversations_file, count=written), err=True)


def write_answers(desk: "Desk", prompts: "Iterator[Prompt]", say: dict[str, str]) -> None:
    """Prompt after prompt, each with its ideal answer, until one of them is left out."""
    typer.secho(say["writing"], dim=True, err=True)
    for prompt in prompts:
        typer.secho(f"\n{say['prompt']}: {printable(prompt.messages[-1].content)}", bold=True)
        typer.echo(say["ideal"], err=True)
        text = read_lines()
        if text is None or text.strip() == "q":
            return
        if not text.strip() or text.strip() == "s":
            typer.echo(say["no_answer"], err=True)
            continue
        written = desk.demonstrate(prompt, text.strip())
        typer.secho(say["written"].format(path=desk.conversations_file, count=written), dim=True, err=True)


# ---------------------------------------------------------------------------------------------------------------------
# Agreement


def print_agreement(desk: "Desk", say: dict[str, str], json: bool) -> None:
    """How far labellers agree with one another, and this one with themselves."""
    found = desk.agreements()
    if json:
        from json import dumps

        typer.echo(dumps({"agreement": [one.as_json() for one in found]}, ensure_ascii=False))
        return
    if not found:
        typer.echo(say["no_agreement"], err=True)
    for one in found:
        sentence = say["agree_self" if one.labellers[0] == one.labellers[1] else "agree"]
        typer.echo(
            sentence.format(
                first=one.labellers[0],
                second=one.labellers[1],
                tau="–" if one.tau is None else f"{one.tau:.2f}",
                prompts=one.prompts,
                share="–" if one.pairs is None else f"{one.pairs.value:.0%}",
                pairs=0 if one.pairs is None else one.pairs.n,
            ),
            err=True,
        )
