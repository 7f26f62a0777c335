"""The decoder as one call per step (native.cpp) and the draw as another (draw.cpp), built once for this machine where a
C++ compiler is found.

`PackedDecoder` and `walk_rows` compute the same with PyTorch's operations; they serve where this can't be.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from plutao.compiled import library
from plutao.generate.cache import Chunk, SlotCache
from plutao.generate.packed import FoldedBlock, fold_block, fold_norm
from plutao.models.decoder import Block, Decoder, DecoderConfig

SOURCES = tuple(Path(__file__).with_name(name) for name in ("native.cpp", "draw.cpp"))
LANES, PANEL = 16, 32
"""As in native.cpp."""
ACTIVATIONS = {"swiglu": 0, "gelu": 1, "gelu_tanh": 2}
Pointer = ctypes.c_void_p


class NativeNorm(ctypes.Structure):
    _fields_ = (("weight", Pointer), ("bias", Pointer))


class NativeMatrix(ctypes.Structure):
    _fields_ = (("panels", Pointer), ("bias", Pointer), ("inputs", ctypes.c_int64), ("outputs", ctypes.c_int64))


class NativeLayer(ctypes.Structure):
    _fields_ = (
        ("attention_norm", NativeNorm),
        ("feed_forward_norm", NativeNorm),
        ("queries_keys_values", NativeMatrix),
        ("output", NativeMatrix),
        ("up", NativeMatrix),
        ("down", NativeMatrix),
        ("head_norm", Pointer),
    )


class NativeModel(ctypes.Structure):
    _fields_ = (
        *(
            (name, ctypes.c_int64)
            for name in ("layers", "width", "heads", "kv_heads", "head_width", "hidden", "context")
        ),
        ("activation", ctypes.c_int64),
        ("epsilon", ctypes.c_float),
        ("layer", ctypes.POINTER(NativeLayer)),
        ("norm", NativeNorm),
        ("head", NativeMatrix),
        *((name, Pointer) for name in ("embedding", "positions", "cosines", "sines")),
    )


class NativeTokens(ctypes.Structure):
    _fields_ = (
        ("rows", ctypes.c_int64),
        *((name, Pointer) for name in ("tokens", "slots", "places")),
        ("slot_count", ctypes.c_int64),
        ("capacity", ctypes.c_int64),
        ("cache", Pointer),
        ("alone", ctypes.c_int64),
        ("wanted_count", ctypes.c_int64),
        ("wanted", Pointer),
    )


class NativeDecoder:
    """A decoder's weights laid out for native.cpp. `serves` says whether it can be used; then

    - `read(cache, start, rows, lengths)` reads prompts into slots and gives the logits after each one's end;
    - `step(cache, tokens, places)` reads one token of each of the first slots and gives the next logits;
    - `mixed(cache, tokens, places, chunks)` does that and reads stretches of prompts, in one pass.
    """

    independent = True
    """A row's numbers are the same whatever rows stand beside it: every sum has one fixed order."""

    def __init__(self, model: Decoder, dtype: torch.dtype = torch.float32) -> None:
        self.config, self.dtype = model.config, dtype
        self.device = model.embedding.weight.device
        entry = entry_point(dtype)
        assert entry is not None and serves(model, dtype), "ask `serves` first"
        self._entry = entry
        self._kept: list[Any] = []  # what the structures point at
        with torch.inference_mode():
            self._model = self._lay_out(model)
        self._scratch = torch.empty(0, dtype=torch.uint8)
        self._blocks: tuple[Any, Any] = (None, None)

    def read(self, cache: SlotCache, start: int, rows: Sequence[Sequence[int]]) -> Float[Tensor, "R V"]:
        """Reads each row into the slot `start`, `start` + 1 …; the logits after the last token of each."""
        lengths = torch.tensor([len(row) for row in rows])
        slots = torch.arange(start, start + len(rows)).repeat_interleave(lengths)
        places = torch.cat([torch.arange(len(row)) for row in rows])
        tokens = torch.tensor([token for row in rows for token in row])
        cache.reserve(int(lengths.max()))
        return self._run(cache, tokens, slots, places, lengths.cumsum(0) - 1, alone=False)

    def step(self, cache: SlotCache, tokens: Sequence[int], places: Sequence[int]) -> Float[Tensor, "R V"]:
        """Reads one token into each of the first slots, at its place; the logits after it."""
        cache.reserve(max(places) + 1)
        slots = torch.arange(len(tokens))
        return self._run(cache, torch.tensor(tokens), slots, torch.tensor(places), slots, alone=True)

    def mixed(
        self, cache: SlotCache, tokens: Sequence[int], places: Sequence[int], chunks: Sequence[Chunk]
    ) -> tuple[Float[Tensor, "R V"], list[Float[Tensor, "W V"]]]:
        """As `step`, and in the same pass each chunk into its slot: (the logits of the first slots, those that each
        chunk wants).
        """
        all_tokens, slots, all_places = [*tokens], [*range(len(tokens))], [*places]
        wanted = list(slots)
        for chunk in chunks:
            all_tokens += chunk.tokens
            slots += [chunk.slot] * len(chunk.tokens)
            all_places += range(chunk.start, chunk.start + len(chunk.tokens))
            wanted += range(len(all_tokens) - chunk.wanted, len(all_tokens))
        cache.reserve(max(all_places) + 1)
        read, into, at, rows = (
            torch.tensor(part, dtype=torch.long) for part in (all_tokens, slots, all_places, wanted)
        )
        logits = self._run(cache, read, into, at, rows, alone=not chunks)
        first, *others = torch.split(logits, [len(tokens), *(chunk.wanted for chunk in chunks)])
        return first, others

    def _run(
        self,
        cache: SlotCache,
        tokens: Int[Tensor, " R"],
        slots: Int[Tensor, " R"],
        places: Int[Tensor, " R"],
        wanted: Int[Tensor, " W"],
        alone: bool,
    ) -> Float[Tensor, "W V"]:
        logits = torch.empty(len(wanted), filled(self.config.vocabulary, PANEL))
        reading = NativeTokens(
            len(tokens), tokens.data_ptr(), slots.data_ptr(), places.data_ptr(), cache.slots, cache.capacity,
            ctypes.addressof(self._pointers(cache)), alone, len(wanted), wanted.data_ptr(),
        )  # fmt: skip
        threads = torch.get_num_threads()
        arguments = (ctypes.byref(self._model), ctypes.byref(reading), logits.data_ptr())
        needed = self._entry(*arguments, None, threads)
        if needed > len(self._scratch):
            self._scratch = torch.empty(needed, dtype=torch.uint8)
        self._entry(*arguments, self._scratch.data_ptr(), threads)
        return logits[:, : self.config.vocabulary]

    def _pointers(self, cache: SlotCache) -> Any:
        """Where each layer's keys and values lie, made anew only when they have moved."""
        layers, pointers = self._blocks
        if layers is not cache.layers:
            pointers = (Pointer * len(cache.layers))(*(layer.data_ptr() for layer in cache.layers))
            self._blocks = (cache.layers, pointers)
        return pointers

    # ------------------------------------------------------------------------------------------------------- the weights

    def _lay_out(self, model: Decoder) -> NativeModel:
        c = self.config
        layers = [self._layer(fold_block(block, c)) for block in model.blocks if isinstance(block, Block)]
        assert len(layers) == c.layers, "every block must be laid out"
        head, norm = fold_norm(model.norm, model.head.weight.detach(), None, c.norm == "rms")
        learned, rotary = model.position_embedding, model.rotary
        array = (NativeLayer * c.layers)(*layers)
        self._kept.append(array)
        return NativeModel(
            c.layers, c.width, c.heads, c.kv_heads, c.head_width, c.hidden, c.context,
            ACTIVATIONS[c.activation], c.norm_eps, array, self._norm(norm), self._matrix(head),
            self._numbers(model.embedding.weight),
            self._numbers(None if learned is None else learned.weight),
            self._numbers(None if rotary is None else rotary.cosines),
            self._numbers(None if rotary is None else rotary.sines),
        )  # fmt: skip

    def _layer(self, block: FoldedBlock) -> NativeLayer:
        up = block.up
        if self.config.activation == "swiglu":
            up = (side_by_side(up[0]), None if up[1] is None else side_by_side(up[1]))
        return NativeLayer(
            self._norm(block.attention_norm),
            self._norm(block.feed_forward_norm),
            self._matrix(block.queries_keys_values),
            self._matrix(block.output),
            self._matrix(up),
            self._matrix(block.down),
            self._numbers(block.head_norm),
        )

    def _norm(self, norm: tuple[Tensor, Tensor | None] | None) -> NativeNorm:
        weight, bias = norm or (None, None)
        return NativeNorm(self._numbers(weight), self._numbers(bias))

    def _matrix(self, folded: tuple[Float[Tensor, "N K"], Float[Tensor, " N"] | None]) -> NativeMatrix:
        weight, bias = folded
        outputs, inputs = weight.shape
        missing = -outputs % PANEL
        panels = F.pad(weight, (0, 0, 0, missing)).to(self.dtype).view(-1, PANEL, inputs)
        if self.dtype == torch.bfloat16:
            panels = panels.view(-1, PANEL, inputs // 2, 2).transpose(1, 2).contiguous()
        else:
            panels = panels.transpose(1, 2).contiguous()
        self._kept.append(panels)
        filled_up = None if bias is None else F.pad(bias, (0, missing))
        return NativeMatrix(panels.data_ptr(), self._numbers(filled_up), inputs, outputs)

    def _numbers(self, tensor: Tensor | None) -> int | None:
        """The address of a tensor's numbers in single precision, kept as long as this decoder."""
        if tensor is None:
            return None
        kept = tensor.detach().float().contiguous()
        self._kept.append(kept)
        return kept.data_ptr()


def side_by_side(gate_and_up: Tensor) -> Tensor:
    """Rows of gate and up (gates first), reordered into 16 of the one and 16 of the other in turn, filled with zeros."""
    halves = gate_and_up.view(2, -1, *gate_and_up.shape[1:])
    missing = -halves.shape[1] % LANES
    halves = torch.cat((halves, halves.new_zeros(2, missing, *halves.shape[2:])), dim=1)
    return halves.view(2, -1, LANES, *halves.shape[2:]).transpose(0, 1).reshape(-1, *halves.shape[2:])


def draw(
    probabilities: Float[Tensor, "R V"],
    top_k: Int[Tensor, "R 1"],
    top_p: Float[Tensor, "R 1"],
    min_p: Float[Tensor, "R 1"],
    r: Float[Tensor, " R"],
) -> Int[Tensor, " R"] | None:
    """The token that each row's number r picks on the walk along its sorted probabilities; None where this machine can't."""
    library = load() if probabilities.device.type == "cpu" and probabilities.dtype == torch.float32 else None
    if library is None:
        return None
    chosen = torch.empty(len(probabilities), dtype=torch.long)
    columns = [probabilities, top_k.long(), top_p.float(), min_p.float(), r.double()]
    columns = [column.contiguous() for column in columns]  # kept while their memory is read
    numbers, *settings = (Pointer(column.data_ptr()) for column in columns)
    rows, count = map(ctypes.c_int64, probabilities.shape)
    threads = ctypes.c_int64(torch.get_num_threads())
    library.draw(numbers, rows, count, *settings, Pointer(chosen.data_ptr()), threads)
    return chosen


def filled(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


# ---------------------------------------------------------------------------------------------------------------- building


def serves(model: Decoder, dtype: torch.dtype) -> bool:
    """Whether this machine can run `model` so: on the CPU, with widths of whole vectors, and a compiler that works."""
    return model.embedding.weight.device.type == "cpu" and fits(model.config) and entry_point(dtype) is not None


def fits(config: DecoderConfig) -> bool:
    return config.width % LANES == 0 and config.head_width % LANES == 0 and config.hidden % 2 == 0


@cache
def entry_point(dtype: torch.dtype) -> Any | None:
    """The compiled pass for weights of `dtype`; None where there is none (no compiler, no bf16 instructions)."""
    library = load()
    name = {torch.float32: "read_tokens", torch.bfloat16: "read_tokens_bf16"}.get(dtype)
    entry = None if library is None or name is None else getattr(library, name, None)
    if entry is not None:
        entry.argtypes = (Pointer, Pointer, Pointer, Pointer, ctypes.c_int64)
        entry.restype = ctypes.c_int64
    return entry


@cache
def load() -> ctypes.CDLL | None:
    """The library for this machine, built where it is not there yet (a second or two, once); None where it can't be."""
    return library("decoder", SOURCES)
