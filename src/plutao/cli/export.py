"""`plutao export`: a model for other programs, and the proof that it answers the same there."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

READ_BACK = 5_000_000
"""N-grams of an ARPA file that is read again to be compared: reading holds all of it in memory."""


class Format(StrEnum):
    """What a model can be exported to."""

    hf = "hf"
    gguf = "gguf"
    word2vec = "word2vec"
    word2vec_binary = "word2vec-binary"
    arpa = "arpa"


class Type(StrEnum):
    """How exported weights are stored."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def export(
    dir: Annotated[Path, typer.Argument(help="The project's folder.")] = Path(),
    to: Annotated[
        Format,
        typer.Option(
            help="hf: a folder that transformers and vLLM load; word2vec: word vectors as gensim reads them; arpa: n-grams."
        ),
    ] = Format.hf,
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
    if to in (Format.word2vec, Format.word2vec_binary):
        export_vectors(resolve_model(run, dir, stage or "vectors"), dir, to, out, json)
        return
    if to is Format.arpa:
        export_ngrams(resolve_model(run, dir, stage or "ngram"), dir, out, json)
        return
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


def export_vectors(source: Path, dir: Path, to: Format, out: Path | None, json: bool) -> None:
    """Word vectors in one of word2vec's formats, read back and compared."""
    from json import dumps

    import numpy as np

    from plutao.models.interop import word2vec
    from plutao.models.word_vectors import load_vectors

    binary = to is Format.word2vec_binary
    target = out or dir / "exports" / f"{source.resolve().parent.name}-{source.name}.{'bin' if binary else 'txt'}"
    vectors = load_vectors(source)
    word2vec.write(vectors, target, binary)
    again = word2vec.read(target)
    assert again.words == vectors.words and np.array_equal(again.vectors, vectors.vectors), (
        "what was written is read back"
    )
    if json:
        typer.echo(dumps({"file": str(target), "words": len(again.words), "width": again.width, "equal": True}))
        return
    typer.echo(
        f"{target} holds {len(again.words):,} words of {again.width} numbers each; read back, all of them are the same. "
        f"gensim: KeyedVectors.load_word2vec_format({str(target)!r}, binary={binary})"
    )


def export_ngrams(source: Path, dir: Path, out: Path | None, json: bool) -> None:
    """An n-gram model as an ARPA file, read back and compared."""
    from json import dumps

    from plutao.models.interop.arpa import largest_difference, write_arpa
    from plutao.models.ngram import load
    from plutao.text.tokenizer import Tokenizer

    target = out or dir / "exports" / f"{source.resolve().parent.name}-{source.name}.arpa"
    model, tokenizer = load(source), Tokenizer.load(source)
    write_arpa(model, tokenizer, target)
    sizes = [len(level) for level in model.levels]
    apart = largest_difference(model, tokenizer, target) if sum(sizes) <= READ_BACK else None
    if json:
        typer.echo(dumps({"file": str(target), "ngrams": sizes, "largest_difference": apart}))
        return
    proof = (
        "too many to be read back here"
        if apart is None
        else f"read back, log-probabilities are at most {apart:.1e} apart"
    )
    counts = ", ".join(f"{size:,}" for size in sizes)
    typer.echo(f"{target} holds the n-grams of orders 1 to {model.order} ({counts}); {proof}.")
    typer.echo(f"KenLM: kenlm.Model({str(target)!r}), with tokens as words.")
