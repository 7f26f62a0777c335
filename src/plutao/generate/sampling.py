"""From logits to the next token: temperature, truncation, and a walk along the sorted probabilities.

The draw is the one of M. Galvão, *Conversa entre o Sol e Plutão*, v1.5 (2024), section 2.8: the probabilities are sorted
from the largest to the smallest (Figure 55), one number r between 0 and 1 is drawn, and the sum of the probabilities is
accumulated until it is larger than r (Figure 56); temperature shapes the probabilities before (Figure 57). `walk` shows
that draw as data; the sampler of the engine computes the same with the same functions, for all rows at once.

Letters: R rows (answers that are being written), V tokens of the vocabulary, W ≤ V the most probable ones.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plutao.errors import UserError
from plutao.generate import native
from plutao.generate.grammar import Grammar

WINDOW = 128
"""Tokens sorted at first: in a trained model nearly every draw ends among them; the others are sorted when it does not."""
MOST_ALTERNATIVES = 100


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn, where it ends, and what is told about it."""

    temperature: float = 1.0
    """Divides the logits: below 1 sharper, above 1 flatter; 0 always takes the most probable token (greedy)."""
    top_k: int = 0
    """Only the k most probable tokens (Fan et al. 2018); 0: all."""
    top_p: float = 1.0
    """Only the smallest set of most probable tokens whose sum reaches p (nucleus; Holtzman et al. 2020)."""
    min_p: float = 0.0
    """Only tokens at least this share as probable as the most probable one (Nguyen et al. 2024)."""
    repetition_penalty: float = 1.0
    """Divides the positive logits of tokens already in prompt or answer, multiplies negative ones (Keskar et al. 2019)."""
    frequency_penalty: float = 0.0
    """Taken from a token's logit for each time it stands in the answer already."""
    presence_penalty: float = 0.0
    """Taken once from the logit of every token that stands in the answer already."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(token, what is added to its logit): −100 forbids it, 100 leaves hardly any other."""
    grammar: Grammar | None = None
    """A form that the answer must have."""
    max_tokens: int = 100
    """Tokens of an answer at most."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer; they are not part of it."""
    stop_probability: float = 0.0
    """The answer ends when the most probable next token is less probable than this."""
    seed: int | None = None
    """Start of the request's own random numbers; None: a fresh one, told in the completion."""
    logprobs: int = 0
    """Alternatives told per token: the most probable tokens with their log-probabilities."""
    n: int = 1
    """Answers wanted."""
    best_of: int | None = None
    """Answers drawn, of which the n with the highest mean log-probability per token are given."""
    end_tokens: tuple[int, ...] | None = None
    """Tokens that end the answer; None: the engine's own (`<|endoftext|>`)."""

    def __post_init__(self) -> None:
        """Raises UserError naming the first field that is out of bounds."""
        if isinstance(self.stop, str):
            raise UserError(f"stop = {self.stop!r} is not right: give a list of texts.")
        checks = [
            ("temperature", 0.0 <= self.temperature <= 100.0, "a number from 0 (greedy) to 100"),
            ("top_k", self.top_k >= 0, "a whole number ≥ 0 (0: all tokens)"),
            ("top_p", 0.0 < self.top_p <= 1.0, "a number > 0 and ≤ 1"),
            ("min_p", 0.0 <= self.min_p <= 1.0, "a number from 0 to 1"),
            ("repetition_penalty", 0.0 < self.repetition_penalty <= 100.0, "a number > 0 and ≤ 100 (1: none)"),
            ("frequency_penalty", -2.0 <= self.frequency_penalty <= 2.0, "a number from -2 to 2"),
            ("presence_penalty", -2.0 <= self.presence_penalty <= 2.0, "a number from -2 to 2"),
            (
                "logit_bias",
                all(token >= 0 and -100.0 <= bias <= 100.0 for token, bias in self.logit_bias),
                "token ids with numbers from -100 to 100",
            ),
            ("max_tokens", self.max_tokens >= 1, "a whole number ≥ 1"),
            ("stop", all(self.stop), "a list of texts, none of them empty"),
            ("stop_probability", 0.0 <= self.stop_probability <= 1.0, "a number from 0 to 1"),
            ("logprobs", 0 <= self.logprobs <= MOST_ALTERNATIVES, f"a whole number from 0 to {MOST_ALTERNATIVES}"),
            ("n", self.n >= 1, "a whole number ≥ 1"),
            ("best_of", self.best_of is None or self.best_of >= self.n, f"a whole number ≥ n ({self.n})"),
        ]
        for name, right, allowed in checks:
            if not right:
                raise UserError(f"{name} = {getattr(self, name)!r} is not right: it must be {allowed}.")

    @property
    def drawn(self) -> int:
        """Answers that are drawn, given or not."""
        return self.best_of or self.n


def generator(seed: int, answer: int) -> random.Random:
    """The random numbers of one answer: the same for the same seed on every machine, whatever else is generated."""
    return random.Random(f"{seed}/{answer}")


@dataclass(frozen=True)
class RowSettings:
    """The settings of R rows as columns, made once per change of the batch and used at every step."""

    greedy: bool
    penalised: bool
    counted: bool
    """Whether any row has a frequency or presence penalty; `counts` tells which."""
    biased: bool
    formed: bool
    temperature: Float[Tensor, "R 1"]
    top_k: Int[Tensor, "R 1"]
    top_p: Float[Tensor, "R 1"]
    min_p: Float[Tensor, "R 1"]
    repetition_penalty: Float[Tensor, "R 1"]
    frequency_penalty: Float[Tensor, "R 1"]
    presence_penalty: Float[Tensor, "R 1"]
    counts: Bool[Tensor, "R 1"]
    biases: Bool[Tensor, "R 1"]
    takes_best: Bool[Tensor, " R"]

    @classmethod
    def of(cls, rows: Sequence[Sampling], vocabulary: int, device: torch.device | str = "cpu") -> "RowSettings":
        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device).unsqueeze(1)

        counts = [bool(row.frequency_penalty or row.presence_penalty) for row in rows]
        biases = [bool(row.logit_bias) for row in rows]
        return cls(
            greedy=all(row.temperature == 0 for row in rows),
            penalised=any(row.repetition_penalty != 1 for row in rows),
            counted=any(counts),
            biased=any(biases),
            formed=any(row.grammar is not None for row in rows),
            temperature=column([row.temperature or 1.0 for row in rows]),
            top_k=torch.tensor([[min(row.top_k or vocabulary, vocabulary)] for row in rows], device=device),
            top_p=column([row.top_p for row in rows]),
            min_p=column([row.min_p for row in rows]),
            repetition_penalty=column([row.repetition_penalty for row in rows]),
            frequency_penalty=column([row.frequency_penalty for row in rows]),
            presence_penalty=column([row.presence_penalty for row in rows]),
            counts=torch.tensor(counts, device=device).unsqueeze(1),
            biases=torch.tensor(biases, device=device).unsqueeze(1),
            takes_best=torch.tensor([row.temperature == 0 for row in rows], device=device),
        )

    def pick(self, rows: Tensor) -> "RowSettings":
        """The settings of some of the rows."""
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})

    @property
    def adjusted(self) -> bool:
        """Whether any row's logits are changed before the draw (`adjust.Adjustments`)."""
        return self.counted or self.biased or self.formed


COLUMNS = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty", "counts",
    "biases", "takes_best",
)  # fmt: skip


def choose(
    logits: Float[Tensor, "R V"], settings: RowSettings, r: Float[Tensor, " R"], seen: Bool[Tensor, "R V"] | None
) -> Int[Tensor, " R"]:
    """The next token of each row. `r` is each row's random number in [0, 1); `seen`, needed where a row is penalised,
    marks the tokens already in its prompt or answer.
    """
    if settings.penalised:
        assert seen is not None, "a repetition penalty needs the tokens seen"
        logits = penalise(logits, settings, seen)
    if settings.greedy:
        return logits.argmax(-1)
    scaled = logits / settings.temperature
    vocabulary = logits.shape[1]
    drawn = native.draw(scaled.softmax(-1), settings.top_k, settings.top_p, settings.min_p, r)
    if drawn is not None:
        return torch.where(settings.takes_best, logits.argmax(-1), drawn)
    window = WINDOW if vocabulary > 2 * WINDOW else vocabulary
    steps = walk_rows(scaled, settings, r, window)
    chosen = steps.chosen
    if not bool(steps.decided.all()):
        # Some rows went past the window: all their tokens are sorted. Which rows do depends on nothing but themselves.
        rest = (~steps.decided).nonzero().squeeze(1)
        chosen[rest] = walk_rows(scaled[rest], settings.pick(rest), r[rest], vocabulary).chosen
    return torch.where(settings.takes_best, logits.argmax(-1), chosen)


def penalise(logits: Float[Tensor, "R V"], settings: RowSettings, seen: Bool[Tensor, "R V"]) -> Float[Tensor, "R V"]:
    """Keskar et al. 2019, section 4.1: tokens already used become less probable (their logits smaller) by a factor."""
    penalty = settings.repetition_penalty
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


@dataclass(frozen=True)
class Steps:
    """The walk of R rows along their W most probable tokens."""

    order: Int[Tensor, "R W"]
    """Tokens, the most probable first."""
    probabilities: Float[Tensor, "R W"]
    cumulative: Float[Tensor, "R W"]
    kept: Int[Tensor, "R 1"]
    """How many of them truncation leaves; more than W where its end lies further on."""
    chosen: Int[Tensor, " R"]
    decided: Bool[Tensor, " R"]
    """Whether W tokens were enough to tell; always where W is the whole vocabulary."""


def walk_rows(scaled: Float[Tensor, "R V"], settings: RowSettings, r: Float[Tensor, " R"], window: int) -> Steps:
    """Sorts the `window` most probable tokens of each row, cuts them off, and walks until the sum passes r."""
    vocabulary = scaled.shape[1]
    probabilities = scaled.softmax(-1)
    if window == vocabulary:
        largest, order = probabilities.sort(dim=-1, descending=True, stable=True)
    else:
        largest, order = probabilities.topk(window, dim=-1)
    # Double precision: up to 100,000 small numbers are added.
    largest = largest.double()
    cumulative = largest.cumsum(-1)
    kept = kept_tokens(largest, cumulative, settings, vocabulary)
    last = kept.clamp(max=window) - 1
    # r is a share of what is kept; where everything is kept that is 1, known without sorting the rest.
    total = torch.where(kept == vocabulary, 1.0, cumulative.gather(1, last))
    place = (cumulative <= r.unsqueeze(1) * total).sum(1, keepdim=True)
    chosen = order.gather(1, torch.minimum(place, last)).squeeze(1)
    decided = (kept <= window) | ((kept == vocabulary) & (place < window))
    return Steps(order, largest, cumulative, kept, chosen, decided.squeeze(1))


def kept_tokens(
    probabilities: Float[Tensor, "R W"], cumulative: Float[Tensor, "R W"], settings: RowSettings, vocabulary: int
) -> Int[Tensor, "R 1"]:
    """How many of the most probable tokens stay: those of top-k, of these the nucleus of top-p, and of these those that
    pass min-p. W + 1 where the end lies somewhere beyond the W given; the most probable token always stays.
    """
    window, k = probabilities.shape[1], settings.top_k
    of_k = torch.where(k <= window, cumulative.gather(1, k.clamp(max=window) - 1), 1.0)
    nucleus = (cumulative < settings.top_p * of_k).sum(1, keepdim=True) + 1
    # The nucleus of k tokens is not known while the sum of k tokens is not.
    nucleus = nucleus.masked_fill((k > window) & (k < vocabulary), window + 1)
    nucleus = torch.where(settings.top_p < 1, nucleus, vocabulary)
    probable = (probabilities >= settings.min_p * probabilities[:, :1]).sum(1, keepdim=True)
    beyond = torch.where(settings.min_p > 0, window + 1, vocabulary)
    probable = torch.where(probable < window, probable, beyond)
    return torch.minimum(torch.minimum(k, nucleus), probable).clamp(min=1, max=vocabulary)


@dataclass(frozen=True)
class Walk:
    """One draw, step by step, for people to look at (Figures 55 to 57); all V tokens, the most probable first."""

    tokens: list[int]
    logits: list[float]
    """As the model gave them."""
    scaled: list[float]
    """After repetition penalty and temperature."""
    probabilities: list[float]
    """Softmax of `scaled`."""
    cumulative: list[float]
    kept: int
    """How many of the first tokens truncation leaves; r walks along the sum of these."""
    r: float
    place: int
    """Where the walk ended, counted from 0."""
    chosen: int
    """The token there."""


def walk(logits: Float[Tensor, " V"], sampling: Sampling, r: float, history: Sequence[int] = ()) -> Walk:
    """The draw of one token, laid open. `r` in [0, 1); `history` holds the tokens a repetition penalty counts."""
    row = logits.float().unsqueeze(0)
    settings = RowSettings.of([sampling], row.shape[1], row.device)
    seen = torch.zeros_like(row, dtype=torch.bool)
    seen[0, list(history)] = True
    scaled = penalise(row, settings, seen) / settings.temperature
    number = torch.tensor([r], dtype=torch.float64, device=row.device)
    steps = walk_rows(scaled, settings, number, row.shape[1])
    chosen = int(choose(row, settings, number, seen))
    order = steps.order[0]
    return Walk(
        tokens=order.tolist(),
        logits=row[0][order].tolist(),
        scaled=scaled[0][order].tolist(),
        probabilities=steps.probabilities[0].tolist(),
        cumulative=steps.cumulative[0].tolist(),
        kept=1 if settings.greedy else int(steps.kept[0]),
        r=r,
        place=order.tolist().index(chosen),
        chosen=chosen,
    )
