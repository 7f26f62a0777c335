"""`plutao complete`: a model continues a text."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plutao.errors import UserError

if TYPE_CHECKING:
    from plutao.generate.answers import Completion
    from plutao.generate.engine import Engine
    from plutao.generate.sampling import Sampling
    from plutao.generate.writer import Writer


def complete(
    dir: Annotated[Path, typer.Argument(help="The project's folder.")] = Path(),
    prompt: Annotated[
        str | None, typer.Option(help="The text to continue; left out: read from standard input.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="RUN or RUN:STAGE, or a path to a model's folder.")] = None,
    stage: Annotated[str | None, typer.Option(help="The stage, where not the last one.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Tokens to write at most.")] = 100,
    temperature: Annotated[float, typer.Option(help="Below 1 surer, above 1 bolder; 0 is --greedy.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Only the k most probable tokens; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Only the most probable tokens whose sum reaches p.")] = 1.0,
    min_p: Annotated[float, typer.Option(help="Only tokens this share as probable as the best.")] = 0.0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1: words already used become rarer.")] = 1.0,
    stop: Annotated[list[str] | None, typer.Option(help="A text that ends the answer; may be repeated.")] = None,
    stop_probability: Annotated[float, typer.Option(help="End when the best token is less probable.")] = 0.0,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the most probable token.")] = False,
    seed: Annotated[int | None, typer.Option(help="The same seed draws the same text.")] = None,
    n: Annotated[int, typer.Option(help="How many continuations.")] = 1,
    beam: Annotated[
        int | None, typer.Option(min=1, help="Translators: hypotheses kept side by side; 1 is --greedy.")
    ] = None,
    best_of: Annotated[int | None, typer.Option(help="Draw so many, give the n most probable.")] = None,
    logprobs: Annotated[int, typer.Option(help="Alternatives told per token (with --json).")] = 0,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Read only the end of a prompt that is too long.")
    ] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16: faster where the machine has it.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Completions with tokens and log-probabilities as JSON.")
    ] = False,
) -> None:
    """Let a model continue a text, or a translator translate it; that alone goes to standard output."""
    import torch

    from plutao.cli.translation import is_translation, translate
    from plutao.generate.chat import converses
    from plutao.generate.sampling import Sampling
    from plutao.generate.writer import load_writer
    from plutao.project import resolve_model

    sampling = Sampling(
        temperature=0.0 if greedy else temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        max_tokens=max_tokens,
        stop=tuple(stop or ()),
        stop_probability=stop_probability,
        seed=seed,
        logprobs=logprobs,
        n=n,
        best_of=best_of,
    )
    text = read_prompt(prompt)
    folder = resolve_model(run, dir, stage)
    if is_translation(folder):
        translate(folder, text, sampling, beam, json)
        return
    if beam is not None:
        raise UserError(f"--beam is for translators, and {folder} holds a model that continues texts: leave it out.")
    if converses(folder):
        typer.echo("This model learned to talk: `plutao chat` asks it as it was taught.", err=True)
    engine = load_writer(folder, torch.bfloat16 if bf16 else None, slots=min(sampling.drawn, 16))
    if json:
        print_json(engine, text, sampling, truncate)
    elif sampling.drawn == 1:
        print_stream(engine, text, sampling, truncate)
    else:
        [completions] = engine.complete([text], sampling, truncate_prompt=truncate)
        for completion in completions:
            tell_truncation(completion)
        typer.echo("\n\n".join(completion.text for completion in completions))


def read_prompt(prompt: str | None) -> str:
    """The option's text, or what is piped in (without its last line break)."""
    if prompt is not None:
        return prompt
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError('There is no text to continue: give --prompt "…", or pipe a text in.')
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"The text on standard input is not UTF-8 (byte {error.start}): convert it first.") from error


def print_stream(engine: "Engine | Writer", prompt: str, sampling: "Sampling", truncate: bool) -> None:
    """Writes the text as it comes."""
    for piece in engine.stream(prompt, sampling, truncate_prompt=truncate):
        typer.echo(piece.text, nl=False)
        sys.stdout.flush()
        if piece.completion is not None:
            typer.echo()
            tell_truncation(piece.completion)


def tell_truncation(completion: "Completion") -> None:
    if completion.truncated:
        typer.echo(f"The first {completion.truncated} tokens of the prompt did not fit and were not read.", err=True)


def print_json(engine: "Engine | Writer", prompt: str, sampling: "Sampling", truncate: bool) -> None:
    """One JSON object: the prompt and its completions."""
    from json import dumps

    [completions] = engine.complete([prompt], sampling, truncate_prompt=truncate)
    described = [describe(engine, completion) for completion in completions]
    typer.echo(dumps({"prompt": prompt, "completions": described}, ensure_ascii=False))


def describe(engine: "Engine | Writer", completion: "Completion") -> dict[str, Any]:
    show = engine.tokenizer.token_text
    tokens = [
        {"id": token, "text": show(token), "logprob": logprob}
        for token, logprob in zip(completion.tokens, completion.token_logprobs, strict=True)
    ]
    for token, alternatives in zip(tokens, completion.alternatives, strict=False):
        token["alternatives"] = [{"id": id, "text": show(id), "logprob": logprob} for id, logprob in alternatives]
    return {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "tokens": tokens,
        "mean_logprob": completion.mean_logprob,
        "prompt_tokens": completion.prompt_tokens,
        "truncated": completion.truncated,
        "seed": completion.seed,
    }
