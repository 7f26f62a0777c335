"""The guard beside the loop: a step that would do harm is skipped, counted and explained, and a run that keeps failing ends in order."""

import math
from collections import deque
from typing import Any

HISTORY = 64  # steps that say what a usual loss is
DEVIATIONS = 8.0  # how far above the usual a loss is a spike …
RISE = 1.0  # … if it is also this many nats above
PATIENCE = 25  # skipped steps in a row that end the run


class Guard:
    """Judges each step by its loss and its gradient's norm before the weights move."""

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=HISTORY)
        self.skipped = 0
        self.in_a_row = 0

    def trouble(self, loss: float, gradient_norm: float) -> str | None:
        """Why this step must be skipped, in words; None where it may be taken."""
        reason = None
        if not math.isfinite(loss):
            reason = f"the loss is {loss}"
        elif not math.isfinite(gradient_norm):
            reason = f"the gradient's norm is {gradient_norm}"
        elif self.is_spike(loss):
            reason = f"the loss jumped to {loss:.2f} from about {sum(self.losses) / len(self.losses):.2f}"
        if reason is None:
            self.losses.append(loss)
            self.in_a_row = 0
            return None
        self.skipped += 1
        self.in_a_row += 1
        return reason

    def is_spike(self, loss: float) -> bool:
        if len(self.losses) < HISTORY:
            return False
        mean = sum(self.losses) / HISTORY
        deviation = math.sqrt(sum((value - mean) ** 2 for value in self.losses) / HISTORY)
        return loss > mean + max(RISE, DEVIATIONS * deviation)

    @property
    def hopeless(self) -> bool:
        return self.in_a_row >= PATIENCE

    def state_dict(self) -> dict[str, Any]:
        return {"losses": list(self.losses), "skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses.extend(state["losses"])
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]
