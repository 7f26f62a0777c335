"""The law of scaling: what loss a model of N parameters reaches after D tokens, and how the law is found from trainings.

L(N, D) = E + A / N^α + B / (D₀ + D)^β: Hoffmann et al. 2022, approach 3, and D₀. Their shortest trainings were of billions of
tokens; in ours of minutes the loss falls slower at first than any power law of D says, as if D₀ tokens had gone before.
Two things make D count for less than was read:

- text read again: of a text of U tokens, D tokens are worth U + U·R*·(1 − exp(−(D/U − 1) / R*)), R* = 15.4
  (Muennighoff et al. 2023, equation 5), and parameters beyond what U can feed are discounted likewise;
- large batches: a step of b tokens learns as if D were D / (1 + b / b*) (McCandlish et al. 2018, equation 2.11), where the
  critical batch b* grows with the length of the training, b* = K·D^0.47 (Zhang et al. 2024).

Loss is in bits per byte of text, which compares between tokenizers.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from plutao.errors import UserError

REPEATED = 15.387756
"""R*_D of Muennighoff et al. 2023: repetitions beyond so many are worth next to nothing."""
EXCESS = 5.309743
"""R*_N of the same: excess parameters, in multiples of what the text can feed."""
BATCH_POWER = 0.47
"""How the critical batch grows with the tokens of a training (Zhang et al. 2024)."""
HUBER = 1e-3
"""Where Huber's loss turns from square to line, on log-loss (Hoffmann et al. 2022, appendix D.2)."""
FEWEST = 6
"""Trainings that a fit of E, A, α, B and β needs."""
ENOUGH = 10
"""Trainings from which on D₀ is fitted too; fewer take it from the law that ships."""
FLOOR = 0.6
"""E is not below it: minutes show nothing of where loss ends. Hoffmann's 1.69 nats a token are about that in bits per byte."""
ALPHA = 0.34
"""α of Hoffmann et al. 2022; it is fitted only where sizes span a factor of `WIDE`: a narrow ladder fits any."""
WIDE = 30.0
STEEPEST = 0.5
"""α and β are not above it: small ladders can feign what no large one has shown (published ones lie at 0.28 to 0.37)."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rung:
    """One training that the law is fitted to."""

    parameters: int
    tokens: int
    batch_tokens: int
    """Tokens of a step."""
    unique_tokens: int
    """Tokens of the text it was read from."""
    loss: float
    """Of validation text, in bits per byte."""


@dataclass(frozen=True)
class Law:
    """E + A / N^α + B / D^β, with what makes D count for less."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float
    K: float
    """The critical batch is K·D^0.47 tokens."""
    D0: float = 0.0
    """Tokens as if read before."""
    source: str = ""
    """Which trainings it comes from."""

    def loss(self, parameters: float, tokens: float, batch_tokens: float = 0.0, unique: float = math.inf) -> float:
        """Bits per byte that a model of `parameters` reaches after `tokens`, in steps of `batch_tokens`, read from `unique`."""
        useful = useful_tokens(tokens, batch_tokens, unique, self.K)
        size = self.useful_parameters(parameters, unique)
        return float(self.E + self.A / size**self.alpha + self.B / (self.D0 + useful) ** self.beta)

    def optimal_parameters(self, tokens: float) -> float:
        """The N for which N·D operations reach the lowest loss when D is `tokens`: where both terms gain alike."""
        gain = self.beta * self.B * tokens / (self.D0 + tokens) ** (self.beta + 1)
        return float((self.alpha * self.A / max(gain, 1e-9)) ** (1 / self.alpha))

    def useful_parameters(self, parameters: float, unique: float) -> float:
        """`parameters`, those beyond what a text of `unique` tokens can feed discounted."""
        fed = min(parameters, self.optimal_parameters(unique)) if math.isfinite(unique) else parameters
        return with_excess(fed, parameters, EXCESS)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def with_excess(base: float, total: float, scale: float) -> float:
    """`base`, and what lies beyond it up to `total` at a worth that decays: base·(1 + R*·(1 − e^(−R/R*)))."""
    repetitions = max(0.0, total / base - 1)
    return min(base, total) + base * scale * -math.expm1(-repetitions / scale)


def useful_tokens(tokens: float, batch_tokens: float, unique: float, K: float) -> float:
    """Fresh tokens, read one small step at a time, that teach as much as `tokens` from a text of `unique`."""
    fresh = tokens if tokens <= unique else with_excess(unique, tokens, REPEATED)
    return float(fresh / (1 + batch_tokens / (K * tokens**BATCH_POWER)))


# ---------------------------------------------------------------------------------------------------------------------
# Fitting


def fit(rungs: Sequence[Rung], source: str = "", K: float | None = None, D0: float | None = None) -> Law:
    """The law of these trainings: Huber's loss on log-loss (Hoffmann et al. 2022, appendix D.2).

    Where the exponents are fixed the law is linear in E, A and B, so the best of a grid of exponents is found by least
    squares, and L-BFGS goes on from the best few.

    Args:
        K, D0: None fits them too, where the trainings are of different batches and as many as that takes.

    Raises:
        UserError: too few trainings, or all of one size or one length.
    """
    check(rungs)
    if K is None and len({rung.batch_tokens for rung in rungs}) == 1:
        K = DEFAULT.K
    if D0 is None and len(rungs) < ENOUGH:
        D0 = min(DEFAULT.D0, float(max(rung.tokens for rung in rungs)))
    starts = starting_points(
        rungs,
        np.geomspace(1, 64, 7).tolist() if K is None else [K],
        [0.0, *np.geomspace(3e4, 3e6, 5).tolist()] if D0 is None else [D0],
    )
    laws = [*starts, *(polish(rungs, start, fixed_batch=K is not None, fixed_start=D0 is not None) for start in starts)]
    return replace(min(laws, key=lambda law: huber(rungs, law)), source=source)


def check(rungs: Sequence[Rung]) -> None:
    sizes, lengths = {rung.parameters for rung in rungs}, {rung.tokens for rung in rungs}
    if len(rungs) < FEWEST or len(sizes) < 2 or len(lengths) < 2:
        raise UserError(
            f"The law of scaling can't be fitted to {len(rungs)} trainings of {len(sizes)} sizes and {len(lengths)} lengths: "
            f"it takes {FEWEST} or more, of at least 2 sizes and 2 lengths (--sizes 1m,3m,7m --tokens 250k,500k,1M)."
        )


def is_wide(rungs: Sequence[Rung]) -> bool:
    """Whether the sizes span enough to show α."""
    sizes = [rung.parameters for rung in rungs]
    return max(sizes) >= WIDE * min(sizes)


def floor_of(rungs: Sequence[Rung]) -> float:
    """The least that E may be: lower where the text is so plain that losses come near `FLOOR`."""
    return min(FLOOR, 0.5 * min(rung.loss for rung in rungs))


def starting_points(
    rungs: Sequence[Rung], batch_constants: Sequence[float], starts: Sequence[float], count: int = 4
) -> list[Law]:
    """The best few laws of a grid of exponents, by least squares on relative errors."""
    losses, floor = np.array([rung.loss for rung in rungs]), floor_of(rungs)
    sizes = np.array([rung.parameters for rung in rungs], dtype=float)
    exponents = np.geomspace(0.06, STEEPEST, 16)
    of_size = exponents if is_wide(rungs) else [ALPHA]
    found: list[tuple[float, Law]] = []
    for K, D0 in product(batch_constants, starts):
        tokens = D0 + np.array([useful_tokens(r.tokens, r.batch_tokens, r.unique_tokens, K) for r in rungs])
        for alpha, beta in product(of_size, exponents):
            terms = np.stack([np.ones_like(losses), sizes**-alpha, tokens**-beta], axis=1) / losses[:, None]
            E, A, B = least_squares(terms, floor)
            errors = np.log(np.maximum(terms @ np.array([E, A, B]), 1e-9))
            distance = float(np.where(np.abs(errors) <= HUBER, 0.5 * errors**2, HUBER * np.abs(errors)).sum())
            found.append((distance, Law(E, A, float(alpha), B, float(beta), K, D0)))
    found.sort(key=lambda pair: pair[0])
    return [law for _, law in found[:count]]


def least_squares(terms: Array, floor: float) -> tuple[float, float, float]:
    """E ≥ `floor`, A and B ≥ 0 for which E, A and B times the columns of `terms` come nearest to 1."""
    E, A, B = np.linalg.lstsq(terms, np.ones(len(terms)), rcond=None)[0].tolist()
    if floor > E:
        E = floor
        A, B = np.linalg.lstsq(terms[:, 1:], 1 - E * terms[:, 0], rcond=None)[0].tolist()
    return E, max(A, 1e-3), max(B, 1e-3)  # more never harms


def huber(rungs: Sequence[Rung], law: Law) -> float:
    """Huber's loss of a law on log-loss, summed over the trainings."""
    errors = [math.log(predict(law, rung)) - math.log(rung.loss) for rung in rungs]
    return sum(0.5 * e * e if abs(e) <= HUBER else HUBER * (abs(e) - 0.5 * HUBER) for e in errors)


def predict(law: Law, rung: Rung) -> float:
    """As in the fit, where parameters are not discounted: the discount needs the law first."""
    useful = useful_tokens(rung.tokens, rung.batch_tokens, rung.unique_tokens, law.K)
    return float(law.E + law.A / rung.parameters**law.alpha + law.B / (law.D0 + useful) ** law.beta)


def polish(rungs: Sequence[Rung], start: Law, fixed_batch: bool, fixed_start: bool) -> Law:
    """The nearest minimum of Huber's loss, by L-BFGS on the logarithms of the constants (of what E has above its floor)."""
    column = {name: tensor([getattr(rung, name) for rung in rungs]) for name in Rung.__dataclass_fields__}
    fresh = tensor([useful_tokens(rung.tokens, 0.0, rung.unique_tokens, 1.0) for rung in rungs])
    floor, wide = floor_of(rungs), is_wide(rungs)
    logs = tensor(
        [math.log(max(v, 1e-6)) for v in (start.E - floor, start.A, start.B, start.K, start.D0)]
        + [logit(start.alpha / STEEPEST), logit(start.beta / STEEPEST)]
    ).requires_grad_(True)

    def constants() -> tuple[torch.Tensor, ...]:
        E, A, B, K, D0 = logs[:5].exp()
        alpha, beta = STEEPEST * logs[5:].sigmoid()
        alpha = alpha if wide else tensor([ALPHA])[0]
        return (
            floor + E,
            A,
            alpha,
            B,
            beta,
            tensor([start.K])[0] if fixed_batch else K,
            D0 if not fixed_start else start.D0 + 0 * D0,
        )

    def distance() -> torch.Tensor:
        E, A, alpha, B, beta, K, D0 = constants()
        useful = D0 + fresh / (1 + column["batch_tokens"] / (K * column["tokens"] ** BATCH_POWER))
        predicted = E + A * column["parameters"] ** -alpha + B * useful**-beta
        return torch.nn.functional.huber_loss(predicted.log(), column["loss"].log(), reduction="sum", delta=HUBER) * 1e6

    optimizer = torch.optim.LBFGS(
        [logs], max_iter=500, tolerance_grad=1e-10, tolerance_change=1e-13, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = distance()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    E, A, alpha, B, beta, K, D0 = (constant.item() for constant in constants())
    return Law(E, max(A, 1e-9), alpha, max(B, 1e-9), beta, K, D0)


def logit(share: float) -> float:
    share = min(max(share, 1e-4), 1 - 1e-4)
    return math.log(share / (1 - share))


def tensor(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


DEFAULT = Law(
    E=1.228,
    A=27.05,
    alpha=0.34,
    B=644.2,
    beta=0.485,
    K=10.0,
    D0=4.56e5,
    source="13 trainings of 0.9M to 7.2M parameters on 0.25M to 2.29M tokens of livros-pt",
)
"""What the dial uses where the project has no law of its own: the fit of docs/scaling.json, with K between what those
trainings show (about 30) and what the demo does, whose text is learned sooner (2 to 9).
"""
