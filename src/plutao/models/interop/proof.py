"""Exporting a model, with a proof: the exported folder, read by transformers, answers what our own decoder answers."""

import importlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plutao.errors import UserError
from plutao.files import atomic_folder, read_json, write_json
from plutao.models.decoder import Decoder
from plutao.models.interop.huggingface import load_model, save_model
from plutao.text.tokenizer import Tokenizer

PROOF = "export.json"
"""The proof's record inside an export; it also tells that a folder is an export and may be replaced by a newer one."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TEXTS = (
    "Plutão fica longe do Sol, e um ano dele dura",
    "Era uma vez uma cidade pequena à beira do rio, onde",
    "The Earth turns around the Sun once a year, and the Moon",
    "Once upon a time there was a girl who asked: \"Why",
)  # fmt: skip
RELATIVE_TOLERANCE = 1e-4
NEW_TOKENS = 32


@dataclass(frozen=True)
class Proof:
    """What was compared, and how far apart the two were at most."""

    texts: int
    tokens: int
    """Positions whose logits were compared."""
    largest_difference: float
    """Between two logits of the same token at the same position."""
    tolerance: float
    """What the difference had to stay below: 1e-4 of the largest logit, at least 1e-4."""
    greedy_tokens: int
    """Tokens that both wrote alike, each continuing the texts with its most likely token."""
    near_ties: int
    """Continuations compared only up to a near tie: the two best logits less than twice the tolerance apart, where
    rounding may turn the choice."""
    dtype: str
    """Type of the exported weights."""


def export_huggingface(source: Path, out: Path, dtype: str = "float32", texts: Sequence[str] = TEXTS) -> Proof:
    """Writes the model of the folder `source` to `out` with its tokenizer, and proves there that it answers the same.

    `out` appears only once the proof has succeeded; an older export of that name is then replaced.

    Raises:
        UserError: transformers is not installed, no such type, `out` holds something else, the model can't be read or
            written, or the export answers differently.
    """
    require_transformers()
    if dtype not in DTYPES:
        raise UserError(f"There is no type {dtype!r} to export to: {', '.join(DTYPES)}.")
    if out.exists() and not (out / PROOF).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an export: give another folder to --out, or empty it.")
    model = load_model(source)
    tokenizer = Tokenizer.load(source) if (source / "tokenizer.json").is_file() else None
    with atomic_folder(out) as folder:
        save_model(model, folder, DTYPES[dtype], **special_ids(source))
        for name in TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        # Fewer digits answer slightly differently whoever reads them: what is proved is that both read the same.
        for parameter in model.parameters():
            parameter.data = parameter.data.to(DTYPES[dtype]).to(torch.float32)
        proof = prove(model, tokenizer, folder, dtype, texts)
        write_json(folder / PROOF, asdict(proof))
    return proof


def special_ids(source: Path) -> dict[str, Any]:
    """bos, eos and pad as the source's own configuration gives them."""
    settings = read_json(source / "config.json")
    if (source / "generation_config.json").is_file():
        settings |= read_json(source / "generation_config.json")
    return {name: settings.get(f"{name}_token_id") for name in ("bos", "eos", "pad")}


@torch.no_grad()
def prove(model: Decoder, tokenizer: Tokenizer | None, folder: Path, dtype: str, texts: Sequence[str] = TEXTS) -> Proof:
    """Compares `model` with what transformers makes of `folder`: ids of texts, logits, and greedy continuations.

    Raises:
        UserError: they differ, saying in what.
    """
    theirs = load_theirs(folder)
    rows = texts_as_rows(model, tokenizer, folder, texts)
    tokens = 0
    largest, difference = 0.0, 0.0
    for row in rows:
        ours_logits, their_logits = model(row), theirs(row).logits
        largest = max(largest, ours_logits.abs().max().item())
        difference = max(difference, (ours_logits - their_logits).abs().max().item())
        tokens += row.numel()
    tolerance = RELATIVE_TOLERANCE * max(1.0, largest)
    if not difference <= tolerance:  # so that NaN fails too
        raise UserError(
            f"The export answers differently: logits are up to {difference:.2g} apart, where {tolerance:.2g} is allowed. "
            "Nothing was written; please report this as a bug, with the model's config.json."
        )
    alike, ties = 0, 0
    for row in rows:
        written, tied = compare_greedy(model, theirs, row, 2 * tolerance)
        alike, ties = alike + written, ties + tied
    return Proof(len(rows), tokens, difference, tolerance, alike, ties, dtype)


def texts_as_rows(model: Decoder, tokenizer: Tokenizer | None, folder: Path, texts: Sequence[str]) -> list[Tensor]:
    """The texts as (1, T) tokens, checked to be the same with transformers' tokenizer; one more row of random tokens
    goes over the whole vocabulary and the whole context (1,024 positions at most)."""
    context = model.config.context
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(model.config.vocabulary, (1, min(context, 1024)), generator=generator)]
    if tokenizer is None:
        return rows
    library: Any = importlib.import_module("transformers")
    their_tokenizer = library.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for text in texts:
        ids = tokenizer.encode(text)
        if their_tokenizer.encode(text, add_special_tokens=False) != ids:
            raise UserError(
                f"The export reads text differently: transformers' tokens of {text!r} are not ours. Nothing was "
                "written; please report this as a bug, with tokenizer.json."
            )
        if ids:
            rows.append(torch.tensor([ids[:context]]))
    return rows


def compare_greedy(model: Decoder, theirs: Any, row: Tensor, near: float) -> tuple[int, bool]:
    """How many tokens both write alike after the first half of `row`, and whether a near tie ended the comparison.

    Raises:
        UserError: they write different tokens where it was no near tie.
    """
    prompt = row[:, : max(1, row.shape[1] // 2)]
    room = min(NEW_TOKENS, model.config.context - prompt.shape[1])
    if room == 0:
        return 0, False
    answer = theirs.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=room, use_cache=True
    )
    expected = answer[0, prompt.shape[1] :].tolist()
    for place, token in enumerate(expected):
        best = model(prompt)[0, -1].topk(2)
        if (best.values[0] - best.values[1]).item() < near:
            return place, True
        if int(best.indices[0]) != token:
            raise UserError(
                f"The export continues a text differently at its token {place + 1} ({token}, ours {best.indices[0]}). "
                "Nothing was written; please report this as a bug, with the model's config.json."
            )
        prompt = torch.cat((prompt, best.indices[None, :1]), dim=1)
    return len(expected), False


def load_theirs(folder: Path) -> Any:
    """transformers' model of the folder, computing in fp32."""
    library: Any = importlib.import_module("transformers")
    library.utils.logging.disable_progress_bar()
    return library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()


def require_transformers() -> None:
    """Raises UserError with the remedy where transformers is not installed."""
    try:
        importlib.import_module("transformers")
    except ImportError as error:
        raise UserError(
            "Proving an export needs transformers, which is not installed: pip install 'plutao[hf]'."
        ) from error
