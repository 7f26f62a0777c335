"""What every stage that trains says in a recipe: how long, in which bites, how weights move."""

import typing
from typing import Literal

from pydantic import Field, model_validator

from plutao.data.settings import Settings

LENGTHS = ("tokens", "steps", "epochs", "minutes")
"""The ways to say how long a stage trains; it takes one."""


class OptimizerSettings(Settings):
    """How weights move."""

    kind: Literal["muon", "adamw"] = "muon"
    """`muon` orthogonalises the updates of hidden matrices (Jordan et al. 2024; AdamW for the rest); `adamw` for all."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak learning rate of AdamW."""
    matrix_learning_rate: float = Field(default=1e-2, gt=0)
    """Peak learning rate of Muon's matrices, on AdamW's scale (updates are rescaled to AdamW's usual size)."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Decay of matrices, times the learning rate; embeddings, norms and biases do not decay."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's two averages."""
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Muon's momentum (Nesterov)."""
    clip: float = Field(default=1.0, gt=0)
    """Largest global gradient norm; a longer gradient is scaled down to it."""


class ScheduleSettings(Settings):
    """How the learning rate goes up and comes down."""

    kind: Literal["wsd", "cosine", "inverse_sqrt", "constant"] = "wsd"
    """`wsd`: stable, then linear decay (Hu et al. 2024); `cosine`: down half a cosine; `inverse_sqrt`: 1 ÷ √step (Vaswani et al. 2017)."""
    warmup: float = Field(default=0.02, ge=0, le=0.5)
    """Share of the steps that go up."""
    decay: float = Field(default=0.5, ge=0, le=1)
    """wsd: share of the steps that come down."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Where the rate ends, as a share of its peak."""


class TrainSettings(Settings):
    """What every stage that trains says: how long, in which bites, how often to look."""

    steps: int | None = Field(default=None, ge=0)
    """How long: optimizer steps."""
    epochs: float | None = Field(default=None, gt=0)
    """How long: times through the examples."""
    minutes: float | None = Field(default=None, gt=0)
    """How long: wall time. The first seconds measure the speed and fix the number of steps; resuming counts what was used."""
    batch: int = Field(default=16, ge=1)
    """Rows per optimizer step, over all processes."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Rows computed at once; gradients accumulate over the batch; left out: as much of the batch as memory holds."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto`: bf16 through autocast where the machine computes with it, fp32 elsewhere."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile of the repeated block: `auto` where a compiler is found; the first steps take some seconds longer."""
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    evaluate: int = Field(default=8, ge=0)
    """Validations on the way, evenly spaced, besides the last one."""
    sample_at: tuple[float, ...] = (0.0, 0.02, 0.1, 0.3, 1.0)
    """When samples are written: shares of the training, from gibberish on (the book's BOX 6)."""
    sample_tokens: int = Field(default=60, ge=1)
    """Length of a sample in tokens."""
    checkpoint_minutes: float = Field(default=2.0, gt=0)
    """Time between checkpoints: the most that a kill can cost."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Checkpoints kept; the older one serves when the newest is damaged."""
    sinks: tuple[Literal["tensorboard", "trackio"], ...] = ()
    """Where metrics go besides metrics.jsonl."""

    @model_validator(mode="before")
    @classmethod
    def keep_own_optimizer(cls, given: typing.Any) -> typing.Any:
        """A stage's own defaults stay where only some keys of its optimizer are given."""
        if isinstance(given, dict) and isinstance(given.get("optimizer"), dict):
            own: OptimizerSettings = cls.model_fields["optimizer"].default
            return given | {"optimizer": own.model_dump(exclude_unset=True) | given["optimizer"]}
        return given

    @model_validator(mode="after")
    def one_length(self) -> typing.Self:
        lengths = [key for key in LENGTHS if getattr(self, key, None) is not None]
        if len(lengths) > 1:
            raise ValueError(f"{' and '.join(lengths)} contradict each other; keep one")
        if self.micro_batch is not None and self.batch % self.micro_batch:
            raise ValueError(f"batch ({self.batch}) must be a multiple of micro_batch ({self.micro_batch})")
        return self
