"""What the model has read, kept: keys and values of every layer, one slot for each text that is being written."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plutao.models.decoder import DecoderConfig

STEP = 64
"""Positions are added in steps of this many: a short text does not pay for the context's length."""


@dataclass(frozen=True)
class Chunk:
    """A stretch of a prompt that is read in one pass: its tokens, from position `start` on, into a slot."""

    slot: int
    start: int
    tokens: Sequence[int]
    wanted: int = 0
    """Of how many tokens, the last ones, the logits after them are asked for."""


class SlotCache:
    """Keys and values of `slots` texts, in one block of memory per layer; implements `KeyValueCache`.

    Each pass through the model is announced by `begin`, which says which slots and positions it will write. A slot sees
    its own positions up to the one being computed and nothing else, so what an earlier text left there is never looked
    at. Attention always goes over all positions allocated: then the keys of the first R slots lie together in memory,
    and one batched product reads them without a copy.
    """

    def __init__(
        self, config: DecoderConfig, slots: int, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        self.slots, self.capacity, self.context = slots, 0, config.context
        self._shape = (2, slots, config.kv_heads)
        self._layers = [torch.zeros(*self._shape, 0, config.head_width, dtype=dtype, device=device)] * config.layers
        self._heads = torch.arange(2 * config.kv_heads, device=device)
        self._rows = slice(0, 0)
        self._index = torch.empty(0, dtype=torch.long, device=device)
        self._mask = torch.empty(0, dtype=torch.bool, device=device)

    def reserve(self, positions: int) -> None:
        """Makes room for texts of so many positions, keeping what is there."""
        if positions <= self.capacity:
            return
        assert positions <= -(-self.context // STEP) * STEP, f"{positions} positions in a context of {self.context}"
        capacity = -(-positions // STEP) * STEP
        grown = []
        for old in self._layers:
            new = old.new_zeros(*self._shape, capacity, old.shape[-1])
            new[..., : self.capacity, :] = old
            grown.append(new)
        self._layers, self.capacity = grown, capacity

    def release(self) -> None:
        """Gives the memory back, when no text is being written."""
        self._layers = [layer[..., :0, :].clone() for layer in self._layers]
        self.capacity = 0

    def copy(self, source: int, target: int, positions: int) -> None:
        """Slot `target` now holds the first `positions` of slot `source`: one prompt, read once, answered many times."""
        for layer in self._layers:
            layer[:, target, :, :positions] = layer[:, source, :, :positions]

    def begin(self, start: int, positions: Int[Tensor, "R T"]) -> None:
        """The next pass computes `positions` of the slots `start`, `start` + 1 … `start` + R − 1."""
        count, length = positions.shape
        kv_heads = self._shape[2]
        self._rows = slice(start, start + count)
        slots = torch.arange(start, start + count, device=positions.device)
        # Row of the layer seen as a long table of vectors: ((key or value · slots + slot) · heads + head) · capacity + position.
        part, head = self._heads // kv_heads, self._heads % kv_heads
        table = ((part * self.slots + slots.view(-1, 1, 1)) * kv_heads + head) * self.capacity
        self._index = (table + positions.unsqueeze(-1)).view(-1)
        places = torch.arange(self.capacity, device=positions.device)
        self._mask = (places <= positions.unsqueeze(-1)).view(count, 1, length, self.capacity)

    @property
    def layers(self) -> list[Float[Tensor, "2 slots Hkv S Dh"]]:
        """Each layer's block of memory, keys and values; another list whenever they have moved."""
        return self._layers

    @property
    def mask(self) -> Bool[Tensor, "R 1 T S"]:
        """Who may look (True) at whom in this pass."""
        return self._mask

    def write(self, layer: int, keys_values: Float[Tensor, "R T 2*Hkv Dh"]) -> tuple[Tensor, Tensor]:
        """Stores new keys and values (the keys' heads first); returns all keys and values of these slots, both
        (R, Hkv, S, Dh), contiguous in memory.
        """
        block = self._layers[layer]
        width = block.shape[-1]
        block.view(-1, width).index_copy_(0, self._index, keys_values.reshape(-1, width))
        return block[0, self._rows], block[1, self._rows]

    def update(
        self, layer: int, keys: Float[Tensor, "R Hkv T Dh"], values: Float[Tensor, "R Hkv T Dh"]
    ) -> tuple[Float[Tensor, "R Hkv S Dh"], Float[Tensor, "R Hkv S Dh"], Bool[Tensor, "R 1 T S"]]:
        """As `write`, in the form in which `Decoder` speaks to a cache."""
        keys, values = self.write(layer, torch.cat((keys, values), dim=1).transpose(1, 2))
        return keys, values, self._mask
