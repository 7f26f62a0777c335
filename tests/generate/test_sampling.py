"""The draw follows softmax, truncation keeps the sets its papers define, and the book's example comes out as printed."""

import math
from collections import Counter

import pytest
import torch

from plutao.errors import UserError
from plutao.generate import native
from plutao.generate.sampling import RowSettings, Sampling, choose, generator, walk, walk_rows

BOOK = torch.tensor([0.1, 0.3, 0.4, 0.2]).log()  # restaurante, banco, caixa, supermercado


def draw(logits: torch.Tensor, sampling: Sampling, draws: int, seed: int = 0) -> Counter[int]:
    numbers = generator(seed, 0)
    r = torch.tensor([numbers.random() for _ in range(draws)], dtype=torch.float64)
    settings = RowSettings.of([sampling] * draws, logits.shape[-1])
    return Counter(choose(logits.expand(draws, -1), settings, r, None).tolist())


def test_the_walk_of_the_book_stops_at_banco() -> None:
    """Section 2.8, Figures 55 and 56: caixa 0.4, banco 0.3, r = 0.65 → 0.4 + 0.3 = 0.7 > 0.65 → banco."""
    steps = walk(BOOK, Sampling(), r=0.65)
    assert steps.tokens == [2, 1, 3, 0]
    assert steps.cumulative == pytest.approx([0.4, 0.7, 0.9, 1.0])
    assert (steps.place, steps.chosen) == (1, 1)
    assert walk(BOOK, Sampling(), r=0.39).chosen == 2
    assert walk(BOOK, Sampling(), r=0.88).chosen == 3


@pytest.mark.parametrize("vocabulary", [40, 3000])
@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.8])
def test_draws_follow_softmax(vocabulary: int, temperature: float) -> None:
    """Pearson's χ² over bins of at least 25 expected draws, at its 99.9% point (Wilson & Hilferty 1931)."""
    logits = torch.randn(vocabulary, generator=torch.Generator().manual_seed(1)) * 2
    draws = 4000
    found = draw(logits, Sampling(temperature=temperature), draws)
    probabilities = (logits.double() / temperature).softmax(0)
    big = [token for token in range(vocabulary) if probabilities[token] * draws >= 25]
    expected = [float(probabilities[token]) * draws for token in big]
    seen = [float(found[token]) for token in big]
    expected, seen = [*expected, draws - sum(expected)], [*seen, draws - sum(seen)]
    statistic = sum((s - e) ** 2 / e for s, e in zip(seen, expected, strict=True) if e > 5)
    freedom = len(big)
    limit = freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3
    assert statistic < limit


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(), {0, 1, 2, 3}),
        (Sampling(top_k=2), {2, 1}),
        (Sampling(top_p=0.5), {2, 1}),  # 0.4 alone does not reach 0.5
        (Sampling(top_p=0.39), {2}),
        (Sampling(min_p=0.6), {2, 1}),  # 0.3 ≥ 0.6 · 0.4 > 0.2
        (Sampling(top_k=3, top_p=0.75), {2, 1}),  # of the three: 0.44, 0.78
        (Sampling(top_k=1), {2}),
        (Sampling(temperature=0), {2}),
    ],
)
def test_truncation_keeps_the_defined_set(sampling: Sampling, kept: set[int]) -> None:
    assert set(draw(BOOK.unsqueeze(0), sampling, 2000)) == kept


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.5),
        Sampling(top_k=20),
        Sampling(top_k=1000, top_p=0.9),
        Sampling(top_p=0.95),
        Sampling(min_p=0.02, temperature=2.0),
        Sampling(top_k=2000),
        Sampling(top_k=1),
        Sampling(temperature=80.0),  # nearly flat: the walk goes far
        Sampling(top_k=700, top_p=0.8, min_p=0.001),
        Sampling(temperature=0),
    ],
)
@pytest.mark.parametrize("compiled", [True, False])
def test_sorting_only_the_most_probable_draws_what_sorting_all_draws(
    sampling: Sampling, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(native, "draw", lambda *columns: None)
    logits = torch.randn(5000, generator=torch.Generator().manual_seed(2)) * 2
    settings = RowSettings.of([sampling], 5000)
    for r in torch.rand(60, dtype=torch.float64, generator=torch.Generator().manual_seed(3)):
        assert int(choose(logits.unsqueeze(0), settings, r.view(1), None)) == naive(logits, sampling, float(r))


def naive(logits: torch.Tensor, sampling: Sampling, r: float) -> int:
    """The definitions one after the other, on Python lists."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    probabilities = (logits / sampling.temperature).softmax(0).double()
    row = sorted(((float(p), token) for token, p in enumerate(probabilities)), key=lambda pair: -pair[0])
    row = row[: sampling.top_k or len(row)]
    total, nucleus, reached = sum(p for p, _ in row), [], 0.0
    for pair in row:
        nucleus.append(pair)
        reached += pair[0]
        if sampling.top_p < 1 and reached >= sampling.top_p * total:
            break
    row = [pair for pair in nucleus if pair[0] >= sampling.min_p * nucleus[0][0]]
    goal, walked = r * sum(p for p, _ in row), 0.0
    for p, token in row:
        walked += p
        if walked > goal:
            return token
    return row[-1][1]


def test_equals_are_drawn_in_the_order_of_their_numbers() -> None:
    """Logits in few steps, as bf16 gives them: r picks the token that a stable sort of them all puts there."""
    if native.load() is None:
        pytest.skip("no C++ compiler on this machine")
    logits = (torch.randn(40, 5000, generator=torch.Generator().manual_seed(5)) * 2).round() / 2
    settings = RowSettings.of([Sampling()] * 40, 5000)
    r = torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    sorted_whole = walk_rows(logits, settings, r, 5000).chosen
    assert torch.equal(choose(logits, settings, r, None), sorted_whole)


def test_repetition_penalty_shrinks_logits_of_tokens_seen() -> None:
    logits = torch.tensor([2.0, -1.0, 1.5])
    steps = walk(logits, Sampling(repetition_penalty=2.0), r=0.0, history=[0, 1])
    assert dict(zip(steps.tokens, steps.scaled, strict=True)) == {0: 1.0, 1: -2.0, 2: 1.5}
    assert steps.chosen == 2


def test_random_numbers_are_the_requests_own() -> None:
    first = [generator(7, 0).random() for _ in range(3)]
    assert first == [generator(7, 0).random() for _ in range(3)]
    assert generator(7, 1).random() != generator(7, 0).random() != generator(8, 0).random()


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": 2.0},
        {"repetition_penalty": 0.0},
        {"max_tokens": 0},
        {"stop": ("",)},
        {"stop_probability": -0.1},
        {"logprobs": -1},
        {"n": 0},
        {"n": 3, "best_of": 2},
    ],
)
def test_a_wrong_setting_is_named_with_its_bounds(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match=list(wrong)[-1]):
        Sampling(**wrong)  # type: ignore[arg-type]
