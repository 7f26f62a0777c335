"""Kendall's tau against published and hand-made examples, and the agreement of labellers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plutao.data.rankings import Ranking
from plutao.evaluate.agreement import agreement, agreements, kendall_tau
from plutao.text.chat import Message


def test_tau_by_hand() -> None:
    """1 2 3 4 against 1 2 4 3: five pairs of six alike, one not: (5 − 1) / 6."""
    assert kendall_tau([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    assert kendall_tau([1, 2, 3], [1, 2, 3]) == 1
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1


def test_tau_with_ties_by_hand() -> None:
    """1 2 2 3 against 1 2 3 3: four pairs alike, one tie in each: 4 / √(5 · 5)."""
    assert kendall_tau([1, 2, 2, 3], [1, 2, 3, 3]) == pytest.approx(4 / 5)
    assert kendall_tau([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / (2 * 3) ** 0.5)


def test_tau_of_the_example_in_scipys_reference() -> None:
    """scipy.stats.kendalltau documents −0.47140452079103173 for these."""
    assert kendall_tau([12, 2, 1, 12, 2], [1, 4, 7, 1, 0]) == pytest.approx(-0.47140452079103173, abs=1e-12)


def test_who_prefers_nothing_has_no_tau() -> None:
    assert kendall_tau([1, 1, 1], [1, 2, 3]) is None


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=9))
def test_tau_is_symmetric_and_bounded(orders: list[tuple[int, int]]) -> None:
    first, second = [a for a, _ in orders], [b for _, b in orders]
    tau = kendall_tau(first, second)
    assert tau == kendall_tau(second, first)
    if tau is not None:
        assert -1 - 1e-9 <= tau <= 1 + 1e-9
        assert kendall_tau(first, [-b for b in second]) == pytest.approx(-tau)


def ranking(question: str, labeller: str, **ranks: int) -> Ranking:
    messages = (Message("user", question),)
    return Ranking(messages, tuple(ranks), tuple(ranks.values()), f"{question}-{labeller}", "test", labeller=labeller)


def test_labellers_are_compared_where_they_ranked_the_same_answers() -> None:
    found = agreements(
        [
            ranking("a", "ana", x=1, y=2, z=3),
            ranking("a", "bia", z=3, y=1, x=2),
            ranking("b", "ana", x=1, y=1),
            ranking("b", "bia", x=1, y=2),
            ranking("c", "ana", x=1, y=2),
            ranking("c", "caio", x=1, y=2, w=3),
        ]
    )
    assert [one.labellers for one in found] == [("ana", "bia")]
    [both] = found
    assert both.tau == pytest.approx(1 / 3) and both.prompts == 1
    assert both.pairs is not None and (both.pairs.value, both.pairs.n) == (pytest.approx(2 / 3), 3)


def test_no_pair_in_common_is_no_agreement() -> None:
    assert agreement(("ana", "bia"), [([1, 1], [1, 2])]).pairs is None
