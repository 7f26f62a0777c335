"""`plutao export`: a model for other programs, and the proof that it answers the same there."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """What a model can be exported to."""

    hf = "hf"
    gguf = "gguf"


class Type(StrEnum):
    """How exported weights are stored."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def export(
    dir: Annotated[Path, typer.Argument(help="The project's folder.")] = Path(),
    to: Annotated[Format, typer.Option(help="hf: a folder that transformers and vLLM load.")] = Format.hf,
    run: Annotated[str | None, typer.Option(help="RUN or RUN:STAGE, or a path to a model's folder.")] = None,
    stage: Annotated[str | None, typer.Option(help="The stage, where not the last one.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to: exports/RUN-STAGE-hf in the project if left out.")] = None,
    dtype: Annotated[Type, typer.Option(help="How weights are stored.")] = Type.float32,
    json: Annotated[bool, typer.Option("--json", help="The proof as JSON.")] = False,
) -> None:
    """Write a model for other programs, and prove that it answers the same there."""
    from dataclasses import asdict
    from json import dumps

    from plutao.errors import UserError
    from plutao.models.interop.proof import export_huggingface
    from plutao.project import resolve_model

    if to is Format.gguf:
        raise UserError("Export to GGUF is not written yet: `--to hf` works, and its folder is what a converter reads.")
    source = resolve_model(run, dir, stage)
    target = out or dir / "exports" / f"{source.resolve().parent.name}-{source.name}-{to.value}"
    proof = export_huggingface(source, target, dtype.value)
    if json:
        typer.echo(dumps({"folder": str(target)} | asdict(proof)))
        return
    typer.echo(f"{target} holds the model ({proof.dtype}) and its tokenizer, for transformers and vLLM.")
    typer.echo(
        f"Proved with transformers on {proof.texts} texts: {proof.tokens} positions, logits at most "
        f"{proof.largest_difference:.1e} apart (allowed: {proof.tolerance:.1e}); {proof.greedy_tokens} greedy tokens alike"
        + (f", {proof.near_ties} continuations compared up to a near tie." if proof.near_ties else ".")
    )
