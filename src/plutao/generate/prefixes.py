"""Beginnings that were read before: their keys and values are kept, and copied where a prompt begins alike.

Prompts share system prompts, worked examples, and the turns of a conversation that goes on. What was read is kept in
blocks of `BLOCK` tokens, each known by the block before it and its own tokens (as in Kwon et al. 2023, "PagedAttention",
section 4.4), so that a beginning shared by many is kept once. Memory is bounded; what was not used for longest leaves.
"""

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plutao.generate.cache import SlotCache
from plutao.models.decoder import DecoderConfig

BLOCK = 16
"""Tokens that are kept or forgotten together."""

Key = tuple[int | str, tuple[int, ...]]
"""The number of the block before (for the first: the salt), and the block's tokens."""


@dataclass(frozen=True)
class Block:
    """`number` is never used again, `place` is."""

    number: int
    place: int


class PrefixStore:
    """Keys and values of at most `tokens` tokens, in memory of their own."""

    def __init__(self, config: DecoderConfig, tokens: int, dtype: torch.dtype, device: torch.device) -> None:
        self.places = tokens // BLOCK
        self._shape = (self.places, 2, config.kv_heads, BLOCK, config.head_width)
        self._layers, self._dtype, self._device = config.layers, dtype, device
        self._pool: list[Tensor] = []
        self._numbers = itertools.count()
        self.clear()

    def clear(self) -> None:
        """Forgets everything: the weights have changed."""
        self._known: OrderedDict[Key, Block] = OrderedDict()  # those unused for longest first
        self._free = list(range(self.places))

    @property
    def tokens(self) -> int:
        """How many are kept."""
        return len(self._known) * BLOCK

    def restore(self, salt: str, prompt: Sequence[int], cache: SlotCache, slot: int) -> int:
        """Copies the longest beginning of a prompt that is kept into a slot; returns its length.

        The prompt's last token is never among it: reading it gives the logits of what comes next.
        """
        found = self._find(salt, prompt, (len(prompt) - 1) // BLOCK)
        if not found:
            return 0
        length = len(found) * BLOCK
        cache.reserve(length)
        places = torch.tensor([block.place for block in found], device=self._device)
        for pool, layer in zip(self._pool, cache.layers, strict=True):
            kept = pool[places].permute(1, 2, 0, 3, 4)
            layer[:, slot, :, :length] = kept.reshape(*kept.shape[:2], length, -1)
        return length

    def keep(self, salt: str, tokens: Sequence[int], cache: SlotCache, slot: int) -> None:
        """Keeps what a slot holds of `tokens` (its first positions), as far as it is not kept yet."""
        whole = len(tokens) // BLOCK
        chain = self._find(salt, tokens, whole)
        old = len(chain)
        if not self._pool and whole:
            self._pool = [torch.empty(self._shape, dtype=self._dtype, device=self._device) for _ in range(self._layers)]
        while len(chain) < whole and (place := self._take_place(chain)) is not None:
            key = self._key(salt, tokens, chain)
            chain.append(Block(next(self._numbers), place))
            self._known[key] = chain[-1]
        if len(chain) > old:
            places = torch.tensor([block.place for block in chain[old:]], device=self._device)
            for pool, layer in zip(self._pool, cache.layers, strict=True):
                read = layer[:, slot, :, old * BLOCK : len(chain) * BLOCK]
                pool[places] = read.view(*read.shape[:2], -1, BLOCK, read.shape[-1]).permute(2, 0, 1, 3, 4)
            self._touch(salt, tokens, chain)

    def _find(self, salt: str, tokens: Sequence[int], most: int) -> list[Block]:
        chain: list[Block] = []
        while len(chain) < most and (block := self._known.get(self._key(salt, tokens, chain))) is not None:
            chain.append(block)
        self._touch(salt, tokens, chain)
        return chain

    def _key(self, salt: str, tokens: Sequence[int], chain: Sequence[Block]) -> Key:
        begin = len(chain) * BLOCK
        return chain[-1].number if chain else salt, tuple(tokens[begin : begin + BLOCK])

    def _touch(self, salt: str, tokens: Sequence[int], chain: Sequence[Block]) -> None:
        """The chain was used now. Its beginning counts as used last, so that no block outlives the one before it."""
        for length in range(len(chain), 0, -1):
            self._known.move_to_end(self._key(salt, tokens, chain[: length - 1]))

    def _take_place(self, chain: Sequence[Block]) -> int | None:
        """A free place, or that of the block unused for longest; None where only the chain itself is left."""
        if self._free:
            return self._free.pop()
        if len(chain) >= self.places:
            return None
        _, block = self._known.popitem(last=False)
        assert block not in chain, "the chain was used last and goes last"
        return block.place
