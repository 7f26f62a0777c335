"""Panels: the answers to one conversation that are compared with each other in one element of a batch.

A ranking of K answers is a panel as it is. Where many rankings share a conversation and its answers, as when every two of
five models' answers were judged, taking each by itself would read each answer once for every judgement: here their
answers are gathered, so that one reading serves many pairs. Every pair is in one panel.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from plutao.data.rankings import Labelled
from plutao.text.chat import Messages

MOST_ANSWERS = 9
"""Answers of a gathered panel at most: as many as people were given to rank in InstructGPT."""
Pair = tuple[int, int]


@dataclass(frozen=True)
class Panel:
    """Answers to one conversation and what was said of them, two by two."""

    source: str
    messages: Messages
    answers: tuple[Messages, ...]
    """What each adds to the conversation."""
    shares: Mapping[Pair, float]
    """(better, worse) → share of the labellers who say so."""
    weight: float | None = None
    """What a share of 1 counts; None for a whole ranking, whose K answers have C(K, 2) pairs: 1 ÷ C(K, 2)."""


def panel_of(one: Labelled) -> Panel:
    """The panel of one ranking, by all who labelled it."""
    ranking = one.ranking
    answers = tuple(ranking.turns_of(place) for place in range(len(ranking.completions)))
    return Panel(ranking.source, ranking.messages, answers, one.pairs)


def gathered(labelled: Iterable[Labelled]) -> list[Panel]:
    """The panels of all rankings, those of one conversation that share answers put together."""
    conversations: dict[tuple[str, Messages], list[Labelled]] = {}
    for one in labelled:
        conversations.setdefault((one.ranking.source, one.ranking.messages), []).append(one)
    return [panel for several in conversations.values() for panel in of_one_conversation(several)]


def of_one_conversation(several: Sequence[Labelled]) -> list[Panel]:
    texts = [text for one in several for text in one.ranking.completions]
    if len(set(texts)) == len(texts):
        return [panel_of(one) for one in several]
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    answers: dict[int, Messages] = {}
    shares: dict[Pair, float] = {}
    for one in several:
        mine = [places[text] for text in one.ranking.completions]
        answers |= {place: one.ranking.turns_of(number) for number, place in enumerate(mine)}
        for (better, worse), share in one.pairs.items():
            pair = (mine[better], mine[worse])
            shares[pair] = shares.get(pair, 0.0) + share
    groups = list(cover(shares, MOST_ANSWERS))
    weight = len(groups) / sum(shares.values()) if groups else None
    first = several[0].ranking
    panels = []
    for group in groups:
        inside = {place: number for number, place in enumerate(group)}
        kept = {(inside[b], inside[w]): shares.pop((b, w)) for b, w in list(shares) if b in inside and w in inside}
        panels.append(Panel(first.source, first.messages, tuple(answers[place] for place in group), kept, weight))
    return panels


def cover(pairs: Iterable[Pair], most: int) -> Iterator[list[int]]:
    """Groups of at most `most` answers that have every pair in one of them: each begins with the answer that has most
    pairs left and takes the one with most pairs into the group, as long as there is one.
    """
    left: dict[int, set[int]] = {}
    for one, other in pairs:
        left.setdefault(one, set()).add(other)
        left.setdefault(other, set()).add(one)
    while left:
        first = max(left, key=lambda place: (len(left[place]), -place))
        group, links = [first], dict.fromkeys(left[first], 1)
        while links and len(group) < most:
            nearest = max(links, key=lambda place: (links[place], len(left[place]), -place))
            del links[nearest]
            for other in left[nearest] - set(group):
                links[other] = links.get(other, 0) + 1
            group.append(nearest)
        for place in group:
            left[place] -= set(group)
        left = {place: others for place, others in left.items() if others}
        yield group
