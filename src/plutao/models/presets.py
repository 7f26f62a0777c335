"""Named shapes: GPT-2, GPT-3, LLaMA, and our own small ones."""

import difflib
from dataclasses import dataclass
from typing import Any

from plutao.errors import UserError
from plutao.models.decoder import DecoderConfig

GPT2 = "Radford et al. 2019, table 2"
GPT3 = "Brown et al. 2020, table 2.1; the book, Figure 78"
LLAMA = "Touvron et al. 2023, table 2"
OWN = "Plutão: Qwen3's layers in small, counted with 8,192 tokens"

AS_GPT = {"norm": "layer", "positions": "learned", "activation": "gelu_tanh", "bias": True, "tied": True}
AS_LLAMA = {"tied": False, "norm_eps": 1e-6}
AS_QWEN3 = {"tied": True, "qk_norm": True, "norm_eps": 1e-6}


@dataclass(frozen=True)
class Preset:
    """A shape, where it comes from, and how many parameters its authors count."""

    source: str
    published_parameters: int
    shape: dict[str, Any]
    """Fields of DecoderConfig, all but what other fields imply."""
    note: str = ""


def gpt(source: str, published: int, layers: int, width: int, head_width: int, context: int, note: str = "") -> Preset:
    """A GPT: vocabulary of 50,257, feed-forward four times the width."""
    shape = {"vocabulary": 50_257, "context": context, "layers": layers, "width": width, "head_width": head_width}
    return Preset(source, published, shape | {"hidden": 4 * width} | AS_GPT, note)


def llama(published: int, layers: int, width: int, hidden: int) -> Preset:
    """LLaMA 1: vocabulary of 32,000; the feed-forward widths are those of the published weights."""
    shape = {"vocabulary": 32_000, "context": 2048, "layers": layers, "width": width, "head_width": 128}
    return Preset(LLAMA, published, shape | {"hidden": hidden} | AS_LLAMA)


def own(published: int, layers: int, width: int, hidden: int, head_width: int = 64, context: int = 512) -> Preset:
    shape = {"vocabulary": 8192, "context": context, "layers": layers, "width": width, "head_width": head_width}
    return Preset(OWN, published, shape | {"hidden": hidden} | AS_QWEN3)


SPARSE = (
    "GPT-3 alternates dense with locally banded sparse attention; here every layer is dense, which changes no weight."
)
XL = "The table prints 24 heads of 128, which is not 2,048; 16 heads of 128 give the printed 1.3 billion parameters. "
B13 = "The table prints a width of 5,140; 40 heads of 128 make 5,120, which gives the printed 13 billion parameters. "

PRESETS: dict[str, Preset] = {
    "plutao-1m": own(1_000_000, layers=6, width=64, hidden=256, head_width=32),
    "plutao-3m": own(3_000_000, layers=4, width=192, hidden=512),
    "plutao-7m": own(7_000_000, layers=6, width=256, hidden=768),
    "plutao-15m": own(15_000_000, layers=7, width=384, hidden=1024),
    "plutao-30m": own(30_000_000, layers=8, width=512, hidden=1536, context=1024),
    "plutao-60m": own(60_000_000, layers=8, width=768, hidden=2048, context=1024),
    "plutao-125m": own(125_000_000, layers=17, width=768, hidden=2048, context=1024),
    "plutao-350m": own(350_000_000, layers=27, width=1024, hidden=2816, context=1024),
    "gpt2": gpt(GPT2, 124_439_808, 12, 768, 64, 1024, "The paper prints 117M; its weights hold 124,439,808 numbers."),
    "gpt2-medium": gpt(GPT2, 354_823_168, 24, 1024, 64, 1024, "The paper prints 345M."),
    "gpt2-large": gpt(GPT2, 774_030_080, 36, 1280, 64, 1024, "The paper prints 762M."),
    "gpt2-xl": gpt(GPT2, 1_557_611_200, 48, 1600, 64, 1024, "The paper prints 1542M."),
    "gpt3-small": gpt(GPT3, 125_000_000, 12, 768, 64, 2048, SPARSE),
    "gpt3-medium": gpt(GPT3, 350_000_000, 24, 1024, 64, 2048, SPARSE),
    "gpt3-large": gpt(GPT3, 760_000_000, 24, 1536, 96, 2048, SPARSE),
    "gpt3-xl": gpt(GPT3, 1_300_000_000, 24, 2048, 128, 2048, XL + SPARSE),
    "gpt3-2.7b": gpt(GPT3, 2_700_000_000, 32, 2560, 80, 2048, SPARSE),
    "gpt3-6.7b": gpt(GPT3, 6_700_000_000, 32, 4096, 128, 2048, SPARSE),
    "gpt3-13b": gpt(GPT3, 13_000_000_000, 40, 5120, 128, 2048, B13 + SPARSE),
    "gpt3-175b": gpt(GPT3, 175_000_000_000, 96, 12_288, 128, 2048, SPARSE),
    "llama-7b": llama(6_700_000_000, layers=32, width=4096, hidden=11_008),
    "llama-13b": llama(13_000_000_000, layers=40, width=5120, hidden=13_824),
    "llama-33b": llama(32_500_000_000, layers=60, width=6656, hidden=17_920),
    "llama-65b": llama(65_200_000_000, layers=80, width=8192, hidden=22_016),
}


def decoder_config(
    preset: str, vocabulary: int | None = None, context: int | None = None, **overrides: Any
) -> DecoderConfig:
    """A preset's shape with this vocabulary and context (None: the preset's own), and whatever else differs from it.

    Overrides that are None change nothing. What is not given follows what is: another width keeps the width of a head
    (or divides by the given heads) and the feed-forward's proportion; kv_heads follow heads unless given.

    Raises:
        UserError: no such preset (close names are offered), no such field, or a shape that can't exist.
    """
    if preset not in PRESETS:
        close = difflib.get_close_matches(preset, PRESETS, n=3, cutoff=0.5)
        meant = f" Did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"There is no preset {preset!r}.{meant} `plutao plan --presets` lists them.")
    base = PRESETS[preset].shape
    changes = {"vocabulary": vocabulary, "context": context, **overrides}
    changes = {name: value for name, value in changes.items() if value is not None}
    if unknown := sorted(set(changes) - set(DecoderConfig.__dataclass_fields__)):
        raise UserError(
            f"A decoder has no {', '.join(unknown)}; it has {', '.join(DecoderConfig.__dataclass_fields__)}."
        )
    shape = base | changes
    if "heads" in changes and "head_width" not in changes:
        require(
            shape["width"] % shape["heads"] == 0, f"width {shape['width']} does not divide into {shape['heads']} heads"
        )
        shape["head_width"] = shape["width"] // shape["heads"]
    elif "heads" not in changes:
        require(
            shape["width"] % shape["head_width"] == 0,
            f"width {shape['width']} does not divide into heads of {shape['head_width']}; give heads too",
        )
        shape["heads"] = shape["width"] // shape["head_width"]
    shape.setdefault("kv_heads", shape["heads"])
    if "hidden" not in changes and shape["width"] != base["width"]:
        shape["hidden"] = max(64, round(base["hidden"] * shape["width"] / base["width"] / 64) * 64)
    config = DecoderConfig(**shape)
    check(config)
    return config


def check(config: DecoderConfig) -> None:
    """Raises UserError where no decoder can have this shape."""
    c = config
    sizes = ("vocabulary", "context", "layers", "width", "heads", "kv_heads", "head_width", "hidden")
    for name in sizes:
        require(getattr(c, name) >= 1, f"{name} is {getattr(c, name)}; it must be at least 1")
    require(
        c.heads % c.kv_heads == 0,
        f"{c.heads} heads can't share {c.kv_heads} kv_heads evenly; kv_heads must divide heads",
    )
    if c.positions == "rope":
        require(
            c.head_width % 2 == 0,
            f"heads of {c.head_width} can't be rotated in pairs; the width of a head must be even",
        )
    require(0 <= c.dropout < 1, f"dropout is {c.dropout}; it must be at least 0 and below 1")


def require(condition: bool, cause: str) -> None:
    if not condition:
        raise UserError(f"This model can't be built: {cause}.")
