"""What a decoder costs, from its shape alone: operations and memory. Nothing is allocated here.

Letters: N parameters, L layers, H heads of width Dh, T positions, B rows of a batch, V tokens of vocabulary.
"""

from dataclasses import asdict, dataclass
from typing import Literal

from plutao.errors import UserError
from plutao.models.decoder import DecoderConfig
from plutao.models.hardware import GIB, available_memory
from plutao.models.parts import SHORT

Optimizer = Literal["muon", "adamw"]
Precision = Literal["bf16", "fp32"]


# ---------------------------------------------------------------------------------------------------------------------
# Operations


def flops_per_token(config: DecoderConfig, length: int | None = None) -> float:
    """Operations to learn from one token in rows of `length` (None: the whole context): 6N + 12·L·H·Dh·T.

    Each parameter multiplies and adds once forward and twice backward; attention's two products of a T × T matrix come
    on top, counted whole although half is masked (Chowdhery et al. 2022, appendix B).
    """
    return plain_flops_per_token(config) + attention_flops_per_token(config, length)


def plain_flops_per_token(config: DecoderConfig) -> float:
    """6N: the count of Kaplan et al. 2020 and of GPT-3's table D.1 (Brown et al. 2020), attention's products left out."""
    return 6.0 * config.parameters()


def attention_flops_per_token(config: DecoderConfig, length: int | None = None) -> float:
    """12·L·H·Dh·T: a query meets T keys and mixes T values, each 2·Dh operations, forward once and backward twice."""
    return 12.0 * config.layers * config.heads * config.head_width * (length or config.context)


# ---------------------------------------------------------------------------------------------------------------------
# Memory


@dataclass(frozen=True)
class Memory:
    """Bytes that training takes, by what they hold."""

    weights: int
    """In fp32, and once more in bf16 where products are computed in it."""
    gradients: int
    optimizer: int
    """AdamW keeps two averages a parameter; Muon one for each hidden matrix."""
    activations: int
    """What the layers keep for the way back (an estimate)."""
    logits: int
    """The scores of all tokens at all positions, and their gradients."""

    @property
    def states(self) -> int:
        """What does not depend on the batch, and is shared out where training is sharded."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        return self.states + self.activations + self.logits

    def as_dict(self) -> dict[str, int]:
        return asdict(self) | {"total": self.total}


def training_memory(
    config: DecoderConfig,
    batch: int,
    length: int | None = None,
    optimizer: Optimizer = "muon",
    precision: Precision = "bf16",
) -> Memory:
    """Memory to train with `batch` rows of `length` tokens at once (None: the whole context), weights kept in fp32.

    Activations are an estimate: for each position and layer the inputs of the products, at the width they are computed
    in, and the residual stream twice in fp32. Fused attention keeps no T × T matrix; the plain one of short rows
    (see `parts.plain_is_faster`) keeps it in fp32 and in bf16, and its inputs once more.
    """
    N, parts = config.parameters(), config.parameters_by_part()
    hidden_matrices = parts["attention"] + parts["feed_forward"]
    length = length or config.context
    positions = batch * length
    number = 2 if precision == "bf16" else 4
    heads = (2 * config.heads + 2 * config.kv_heads) * config.head_width
    inner = (4 if config.activation == "swiglu" else 2) * config.hidden
    turned = (config.heads + config.kv_heads) * config.head_width * (config.qk_norm + (config.positions == "rope"))
    per_layer = number * (2 * config.width + heads + turned + inner) + 4 * 2 * config.width
    if precision == "bf16" and length <= SHORT:
        per_layer += (4 + 2) * config.heads * length + 2 * (config.heads + 2 * config.kv_heads) * config.head_width
    return Memory(
        weights=4 * N + (2 * N if precision == "bf16" else 0),
        gradients=4 * N,
        optimizer=8 * N - (4 * hidden_matrices if optimizer == "muon" else 0),
        activations=positions * config.layers * per_layer,
        logits=positions * config.vocabulary * (4 + 4 + (number if precision == "bf16" else 0)),
    )


def key_value_memory(config: DecoderConfig, batch: int = 1, length: int | None = None, number: int = 4) -> int:
    """Bytes of the keys and values of `batch` texts of `length` tokens; `number` is the size of one (fp32: 4)."""
    return 2 * config.layers * config.kv_heads * config.head_width * batch * (length or config.context) * number


def largest_batch(
    config: DecoderConfig,
    available: int,
    length: int | None = None,
    optimizer: Optimizer = "muon",
    precision: Precision = "bf16",
    shards: int = 1,
) -> int:
    """How many rows can be trained on at once in `available` bytes, states shared by `shards` devices; 0 where none."""
    memory = training_memory(config, 1, length, optimizer, precision)
    return max(0, (available - memory.states // shards) // (memory.activations + memory.logits))


def assert_fits(
    config: DecoderConfig,
    batch: int,
    length: int | None = None,
    optimizer: Optimizer = "muon",
    precision: Precision = "bf16",
    available: int | None = None,
) -> None:
    """Says before anything is allocated that training with `batch` rows at once won't fit.

    `available` is in bytes; None is what this machine has free.

    Raises:
        UserError: with the numbers, and what to lower to what.
    """
    available = available_memory() if available is None else available
    memory = training_memory(config, batch, length, optimizer, precision)
    if memory.total <= available:
        return
    numbers = (
        f"Training this model of {config.parameters() / 1e6:,.1f} million parameters needs {memory.total / GIB:.1f} GiB "
        f"of memory ({memory.states / GIB:.1f} for weights, gradients and optimizer, "
        f"{(memory.activations + memory.logits) / GIB:.1f} for {batch} rows of {length or config.context} tokens) and "
        f"{available / GIB:.1f} GiB are free."
    )
    fitting = largest_batch(config, available, length, optimizer, precision)
    if fitting:
        raise UserError(f"{numbers} Set base.micro_batch to {fitting} or less: gradients add up to the same batch.")
    raise UserError(f"{numbers} Not even one row fits: take a smaller model.preset, or a shorter model.context.")
