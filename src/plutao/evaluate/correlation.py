"""How far two rows of numbers go together: Pearson's correlation and its interval, and that of the ranks."""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def pearson(first: Values, second: Values) -> float:
    """The linear correlation; 0 where one of them does not vary."""
    if first.std() < 1e-12 or second.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def spearman(first: Values, second: Values) -> float:
    """The correlation of the ranks, ties at their mean rank."""
    return pearson(ranks(first), ranks(second))


def ranks(values: Values) -> Values:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[places], np.float64)


def fisher(correlation: float, n: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """The interval of a correlation, by its hyperbolic arc tangent (Fisher 1915)."""
    if n < 4:
        return None
    half = NormalDist().inv_cdf(0.5 + confidence / 2) / math.sqrt(n - 3)
    middle = math.atanh(min(max(correlation, -0.999999), 0.999999))
    return math.tanh(middle - half), math.tanh(middle + half)
