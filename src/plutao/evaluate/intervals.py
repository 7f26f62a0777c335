"""How sure a measurement is: intervals for shares, for ratios, and for the difference of two models on one text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Numbers = Sequence[float] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """A measured share of `n` trials with its interval: the true share lies in [low, high] 95 times in 100."""

    value: float
    low: float
    high: float
    n: int

    def as_json(self) -> dict[str, float | int]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


@dataclass(frozen=True)
class Difference:
    """How much more one measure is than another, with its interval."""

    value: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """True where the interval leaves zero out: the sign is known."""
        return self.low > 0 or self.high < 0

    def as_json(self) -> dict[str, float | bool]:
        return {"value": self.value, "low": self.low, "high": self.high, "decided": self.decided}


def wilson(successes: int, n: int, confidence: float = 0.95) -> Share:
    """Wilson's score interval for a share (Wilson 1927): honest for small n and for shares near 0 and 1."""
    assert 0 <= successes <= n and n > 0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Share(share, low, high, n)


def bootstrap(measure: Callable[[npt.NDArray[np.int64]], float], n: int) -> tuple[float, float] | None:
    """The percentile interval of any measure of n units when they are drawn again with replacement (Efron 1979).

    Args:
        measure: of the units at these places.

    None for a single unit: what would vary is unknown.
    """
    if n < 2:
        return None
    random = np.random.default_rng(0)
    low, high = np.quantile([measure(random.integers(0, n, n)) for _ in range(1000)], [0.025, 0.975])
    return float(low), float(high)


def bootstrap_ratio(
    numerators: Numbers, denominators: Numbers, confidence: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """Interval of Σ numerators ÷ Σ denominators when the units (documents, passages) are drawn again with replacement.

    The percentile bootstrap (Efron 1979). None for a single unit: what would vary is unknown.
    """
    if len(numerators) < 2:
        return None
    tops, bottoms = resampled_sums([numerators, denominators], samples, seed)
    low, high = np.quantile(tops / bottoms, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def paired_difference(
    first: Numbers, second: Numbers, denominators: Numbers, confidence: float = 0.95, samples: int = 2000, seed: int = 0
) -> Difference | None:
    """(Σ second − Σ first) ÷ Σ denominators with its interval; None for a single unit.

    Each unit is drawn for both models at once, so that what makes a text hard for both cancels out.
    """
    assert len(first) == len(second) == len(denominators)
    if len(first) < 2:
        return None
    gaps = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    tops, bottoms = resampled_sums([gaps, denominators], samples, seed)
    low, high = np.quantile(tops / bottoms, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(float(gaps.sum() / np.sum(denominators)), float(low), float(high))


def resampled_sums(columns: Sequence[Numbers], samples: int, seed: int) -> list[npt.NDArray[np.float64]]:
    """For each column, its sums over `samples` draws of the rows with replacement (the same draws for every column)."""
    rows = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    random = np.random.default_rng(seed)
    drawn = np.stack([rows[random.integers(0, len(rows), len(rows))].sum(axis=0) for _ in range(samples)])
    return list(drawn.T)
