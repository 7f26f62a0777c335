"""Rankings: K answers to one conversation, put in order by somebody (the book, section 3.1, Figures 83 and 84).

On disk, ours, a row of JSONL each:

    {"messages": [{"role": "user", "content": "…"}], "completions": ["…", "…", "…"], "ranks": [1, 3, 2], "labeller": "ana"}

Rank 1 is the best; equal ranks are ties. Other people's layouts (`data.ranking_layouts`) are found out by their fields.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations, groupby
from pathlib import Path
from typing import Any, Protocol

from plutao.data.layouts import read_turns
from plutao.data.ranking_layouts import LAYOUTS, NotARanking, Raw
from plutao.data.sources.examples import Row, read_rows
from plutao.data.sources.rows import BadRows
from plutao.files import atomic_path
from plutao.text.chat import Message, Messages

RIGHT_FORM = '{"messages": [{"role": "user", "content": "…"}], "completions": ["…", "…"], "ranks": [1, 2]}'


@dataclass(frozen=True)
class Ranking:
    """The answers to one conversation and the order one labeller put them in."""

    messages: Messages
    """They end with the user."""
    completions: tuple[str, ...]
    """Two or more, all different."""
    ranks: tuple[int, ...]
    """1 for the best; equal ranks are ties. No rank is left out."""
    id: str
    source: str
    language: str | None = None
    license: str | None = None
    labeller: str | None = None
    group: str | None = None
    """What a split must keep together, a debate for example."""
    demonstration: str | None = None
    """An ideal answer that somebody wrote."""
    turns: tuple[Messages, ...] = ()
    """Where answers called tools: all that each added to the conversation, its last turn being the completion."""

    def turns_of(self, place: int) -> Messages:
        """What one of the answers adds to the conversation."""
        return self.turns[place] if self.turns else (Message("assistant", self.completions[place]),)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(better, worse) for every two answers that are no tie."""
        return preferences(self.ranks)

    def as_json(self) -> dict[str, Any]:
        """A row of our layout; what is not known is left out."""
        row: dict[str, Any] = {
            "messages": [message.as_json() for message in self.messages],
            "completions": [self._completion_as_json(place) for place in range(len(self.completions))],
            "ranks": list(self.ranks),
        }
        others = ("id", "source", "language", "license", "labeller", "group", "demonstration")
        return row | {name: value for name in others if (value := getattr(self, name)) is not None}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Ranking":
        """The ranking of a row that `as_json` made."""
        turns = [read_turns(one) if isinstance(one, list) else None for one in row["completions"]]
        texts = [one if isinstance(one, str) else one[-1]["content"] for one in row["completions"]]
        several = any(turns)
        spoken = [own or (Message("assistant", text),) for own, text in zip(turns, texts, strict=True)]
        others = ("language", "license", "labeller", "group", "demonstration")
        return cls(
            read_turns(row["messages"]),
            tuple(texts),
            tuple(row["ranks"]),
            row["id"],
            row["source"],
            turns=tuple(spoken) if several else (),
            **{name: row.get(name) for name in others},
        )

    def _completion_as_json(self, place: int) -> Any:
        """The text; a list of messages where tools were called."""
        if not self.turns or len(self.turns[place]) == 1:
            return self.completions[place]
        return [message.as_json() for message in self.turns[place]]


class RankingSource(Protocol):
    """What a reader needs to know of the recipe's source."""

    @property
    def name(self) -> str: ...
    @property
    def language(self) -> str | None: ...
    @property
    def license(self) -> str | None: ...


def preferences(ranks: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(better, worse) places of every pair of answers with different ranks."""
    ordered = ((i, j) if ranks[i] < ranks[j] else (j, i) for i, j in combinations(range(len(ranks)), 2))
    return tuple((better, worse) for better, worse in ordered if ranks[better] != ranks[worse])


def read_rankings(path: Path, source: RankingSource, bad: BadRows | None = None) -> Iterator[Ranking]:
    """The rankings of a file (.jsonl, .json or .parquet, also .gz or .zst) or of a folder of such files.

    Each file's layout is found out by its first row. Known are ours; pairs of `chosen` and `rejected` (texts with a
    prompt, lists of messages, hh-rlhf's transcripts, UKPConvArg's debates); PandaLM's judgements; Open Assistant's
    trees; answers with a score.

    Args:
        bad: what happens to a row that is no ranking; left out, the first one is refused.

    Raises:
        UserError: a row does not fit, with its number, its field and the right form.
    """
    bad = bad or BadRows("refuse")
    for _, rows in groupby(read_rows(path, bad), key=lambda row: row.where.rpartition(", row ")[0]):
        yield from read_alike(rows, source, bad)


def read_alike(rows: Iterator[Row], source: RankingSource, bad: BadRows) -> Iterator[Ranking]:
    """The rankings of one file."""
    first = next(rows)
    layout = next((layout for layout in LAYOUTS if layout.fits(first.fields)), None)
    if layout is None:
        known = ", ".join(map(repr, first.fields))
        forms = "; ".join(layout.fields for layout in LAYOUTS)
        sentence = f"{first.where} holds no ranking: it has {known}. Known are {forms}. Our form: {RIGHT_FORM}."
        bad.found("no ranking", sentence)
        return
    for where, found in layout.read(chain([first], rows), bad):
        try:
            if isinstance(found, NotARanking):
                raise found
            yield checked(found, where, source)
        except NotARanking as error:
            if error.mistake:
                bad.found(error.kind, f"{where}: {error.sentence}")
            else:
                bad.counts[error.kind] += 1


def checked(raw: Raw, where: str, source: RankingSource) -> Ranking:
    """A ranking that holds what it promises.

    Raises:
        NotARanking: one answer, an empty one, one that is there twice, ranks that do not fit, or nobody who asks.
    """
    if not raw.messages or raw.messages[-1].role != "user":
        raise NotARanking("no question", f"field {raw.asked!r} must end with what the user says.")
    count = len(raw.completions)
    if count < 2:
        raise NotARanking(
            "one answer", f"field {raw.answered!r} has {count or 'no'} answer; a ranking needs two or more."
        )
    texts = [completion.strip() for completion in raw.completions]
    if "" in texts:
        raise NotARanking("empty answer", f"answer {texts.index('') + 1} of field {raw.answered!r} is empty.")
    twice = next((place for place, text in enumerate(texts) if text in texts[:place]), None)
    if twice is not None:
        place = texts.index(texts[twice]) + 1
        raise NotARanking(
            "an answer twice", f"answers {place} and {twice + 1} of field {raw.answered!r} are the same text."
        )
    if len(raw.ranks) != count:
        raise NotARanking("ranks", f"field {raw.ranked!r} has {len(raw.ranks)} ranks for {count} answers.")
    return Ranking(
        messages=raw.messages,
        completions=tuple(raw.completions),
        ranks=dense(raw.ranks),
        id=raw.id or where,
        source=source.name,
        language=raw.language or source.language,
        license=raw.license or source.license,
        labeller=raw.labeller,
        group=raw.group,
        demonstration=raw.demonstration,
        turns=tuple(raw.turns),
    )


def dense(ranks: Sequence[float]) -> tuple[int, ...]:
    """Ranks without gaps, from 1: (1, 4, 4) → (1, 2, 2)."""
    order = {rank: place for place, rank in enumerate(sorted(set(ranks)), start=1)}
    return tuple(order[rank] for rank in ranks)


def write_rankings(rankings: Iterable[Ranking], path: Path, **more: Sequence[Any]) -> None:
    """Writes rows of our layout, the whole file or nothing; `more` adds a field to each row.

    Raises:
        UserError: the disk is full, or the folder can't be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for place, ranking in enumerate(rankings):
            row = ranking.as_json() | {name: values[place] for name, values in more.items()}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Labelled:
    """One conversation, its answers, and everybody's rankings of them."""

    rankings: tuple[Ranking, ...]
    """All hold the same answers, the others in their own order."""

    @property
    def ranking(self) -> Ranking:
        """The first: `labels` are in the order of its answers."""
        return self.rankings[0]

    @cached_property
    def labels(self) -> tuple[tuple[int, ...], ...]:
        """Each labeller's ranks."""
        order = self.ranking.completions
        return tuple(tuple(reordered(ranking, order)) for ranking in self.rankings)

    @property
    def labellers(self) -> tuple[str | None, ...]:
        return tuple(ranking.labeller for ranking in self.rankings)

    @property
    def pairs(self) -> dict[tuple[int, int], float]:
        """(better, worse) → share of the labellers who say so; two that disagree give a pair in both directions."""
        shares: dict[tuple[int, int], float] = {}
        for ranks in self.labels:
            for pair in preferences(ranks):
                shares[pair] = shares.get(pair, 0.0) + 1 / len(self.labels)
        return shares


def by_prompt(rankings: Iterable[Ranking]) -> list[Labelled]:
    """Rankings of the same answers to the same conversation, by several labellers, put together; in order of appearance.

    Apart, their texts would be read once for each labeller, and one prompt would count for several.
    """
    found: dict[Any, list[Ranking]] = {}
    for ranking in rankings:
        key = (ranking.source, json.dumps([message.as_json() for message in ranking.messages]))
        found.setdefault((*key, frozenset(ranking.completions)), []).append(ranking)
    return [Labelled(tuple(several)) for several in found.values()]


def reordered(ranking: Ranking, completions: Sequence[str]) -> list[int]:
    """The ranks in the order of `completions`, which are the ranking's own in another order."""
    ranks = dict(zip(ranking.completions, ranking.ranks, strict=True))
    return [ranks[completion] for completion in completions]
