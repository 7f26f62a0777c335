"""Panels: rankings of one conversation that share answers are read together, every pair once."""

import random
from itertools import combinations

import pytest

from plutao.data.panels import MOST_ANSWERS, cover, gathered
from plutao.data.rankings import Ranking, by_prompt
from plutao.text.chat import Message


def ranking(answers: tuple[str, ...], ranks: tuple[int, ...], labeller: str = "ana", prompt: str = "q") -> Ranking:
    return Ranking((Message("user", prompt),), answers, ranks, "", "test", labeller=labeller)


def test_a_ranking_is_a_panel_as_it_is() -> None:
    (panel,) = gathered(by_prompt([ranking(("a", "b", "c"), (2, 1, 1))]))
    assert panel.shares == {(1, 0): 1.0, (2, 0): 1.0} and panel.weight is None


def test_judgements_of_every_two_of_five_answers_are_read_in_one_panel() -> None:
    answers = "vwxyz"
    judged = [
        ranking((one, other), (1, 2) if one < other else (2, 1), labeller)
        for one, other in combinations(answers, 2)
        for labeller in ("ana", "rui", "eva")
    ]
    (panel,) = gathered(by_prompt(judged))
    said = ["".join(message.content for message in turns) for turns in panel.answers]
    assert sorted(said) == list(answers)
    assert {(said[b], said[w]) for b, w in panel.shares} == set(combinations(answers, 2))
    assert panel.weight is not None and panel.weight * sum(panel.shares.values()) == pytest.approx(1)


def test_other_conversations_and_other_answers_stay_apart() -> None:
    panels = gathered(
        by_prompt(
            [ranking(("a", "b"), (1, 2)), ranking(("c", "d"), (1, 2)), ranking(("a", "c"), (1, 2), prompt="other")]
        )
    )
    assert len(panels) == 3 and all(panel.weight is None for panel in panels)


def test_labellers_who_disagree_share_their_pair_in_a_gathered_panel_too() -> None:
    judged = [ranking(("a", "b"), (1, 2)), ranking(("a", "b"), (2, 1), "rui"), ranking(("b", "c"), (1, 2))]
    (panel,) = gathered(by_prompt(judged))
    said = [turns[0].content for turns in panel.answers]
    assert {(said[b], said[w]): share for (b, w), share in panel.shares.items()} == {
        ("a", "b"): 0.5,
        ("b", "a"): 0.5,
        ("b", "c"): 1.0,
    }


def test_every_pair_is_in_one_group_and_far_fewer_answers_are_read() -> None:
    chance = random.Random(1)
    pairs = [pair for pair in combinations(range(30), 2) if chance.random() < 0.8]
    groups = list(cover(pairs, MOST_ANSWERS))
    left = set(pairs)
    for group in groups:
        assert 2 <= len(group) <= MOST_ANSWERS and len(set(group)) == len(group)
        left -= {tuple(sorted(pair)) for pair in combinations(group, 2)}
    assert not left
    assert sum(map(len, groups)) < len(pairs)  # taken pair by pair, twice as many answers as pairs are read
    judged = [ranking((f"answer {one}", f"answer {other}"), (1, 2)) for one, other in pairs]
    panels = gathered(by_prompt(judged))
    assert sum(len(panel.shares) for panel in panels) == len(pairs)
    assert sum(sum(panel.shares.values()) * (panel.weight or 0) for panel in panels) == pytest.approx(len(panels))
