"""Rankings in everybody's layouts: what is read from each, and what is refused, with the row and the field."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plutao.data.ranking_layouts import MOST_ANSWERS
from plutao.data.rankings import Ranking, by_prompt, read_rankings, write_rankings
from plutao.data.sources.rows import BadRows
from plutao.errors import UserError


@dataclass(frozen=True)
class Source:
    name: str = "people"
    language: str | None = "en"
    license: str | None = "CC0-1.0"


def file(folder: Path, *rows: Any) -> Path:
    path = folder / "rankings.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(folder: Path, *rows: Any) -> list[Ranking]:
    return list(read_rankings(file(folder, *rows), Source()))


def refused(folder: Path, *rows: Any) -> str:
    with pytest.raises(UserError) as error:
        read(folder, *rows)
    return str(error.value)


def ours(completions: Any = ("a", "b"), ranks: Any = (1, 2), **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "why?"}], "completions": completions, "ranks": ranks, **more}


def test_our_own_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    (first,) = read(tmp_path, ours(["x", "y", "z"], [4, 1, 4], labeller="ana", group="g", demonstration="d", id="7"))
    assert first.ranks == (2, 1, 2)  # no rank is left out
    assert first.pairs == ((1, 0), (1, 2))  # the tie is no pair
    assert (first.labeller, first.group, first.demonstration, first.id) == ("ana", "g", "d", "7")
    assert (first.source, first.language, first.license) == ("people", "en", "CC0-1.0")
    write_rankings([first], tmp_path / "again.jsonl")
    assert list(read_rankings(tmp_path / "again.jsonl", Source())) == [first] == [Ranking.from_json(first.as_json())]


def test_pairs_come_as_text_or_as_messages(tmp_path: Path) -> None:
    user, good, bad = ({"role": role, "content": text} for role, text in (("user", "q"), *[("assistant", "g")] * 2))
    bad = {"role": "assistant", "content": "b"}
    rows = [
        {"prompt": "q", "chosen": "g", "rejected": "b"},
        {"instruction": "q", "input": "", "chosen": "g", "rejected": "b"},
        {"prompt": [user], "chosen": [good], "rejected": [bad]},
        {"chosen": [user, good], "rejected": [user, bad]},
    ]
    found = read(tmp_path, *rows)
    assert [[(m.role, m.content) for m in one.messages] for one in found] == [[("user", "q")]] * 4
    assert [(one.completions, one.ranks) for one in found] == [(("g", "b"), (1, 2))] * 4


def test_transcripts_are_taken_apart_at_their_turns(tmp_path: Path) -> None:
    start = "\n\nHuman: hello\n\nAssistant: hi.\n\nHow are you?\n\nHuman: fine"
    (one,) = read(tmp_path, {"chosen": f"{start}\n\nAssistant: good", "rejected": f"{start}\n\nAssistant: bad"})
    assert [message.content for message in one.messages] == ["hello", "hi.\n\nHow are you?", "fine"]
    assert [message.role for message in one.messages] == ["user", "assistant", "user"]
    assert one.completions == ("good", "bad")
    other = {"chosen": f"{start}\n\nAssistant: good", "rejected": "\n\nHuman: hey\n\nAssistant: bad"}
    assert "row 1: fields 'chosen' and 'rejected' differ before the last answer" in refused(tmp_path, other)


def test_every_annotator_is_a_labeller(tmp_path: Path) -> None:
    row = {"instruction": "q", "input": "of this", "response1": "a", "response2": "b"}
    found = read(tmp_path, row | {"annotator1": 1, "annotator2": 2, "annotator3": 0})
    assert [(one.ranks, one.labeller) for one in found] == [
        ((1, 2), "annotator1"),
        ((2, 1), "annotator2"),
        ((1, 1), "annotator3"),
    ]
    assert found[0].messages[0].content == "q\n\nof this"
    (together,) = by_prompt(found)
    assert together.pairs == {(0, 1): pytest.approx(1 / 3), (1, 0): pytest.approx(1 / 3)}
    assert "field 'annotator1' is 3" in refused(tmp_path, row | {"annotator1": 3})


def test_graded_answers_are_ranked_within_their_prompt(tmp_path: Path) -> None:
    rows = [{"prompt_id": 1, "prompt": "p", "essay": f"e{score}", "score": score} for score in (600, 900, 600)]
    alone = {"prompt_id": 2, "prompt": "other", "essay": "e", "score": 1}
    (one,) = read(tmp_path, *rows[:2], alone, {**rows[2], "essay": "f600", "title": "T"})
    assert dict(zip(one.completions, one.ranks, strict=True)) == {"e900": 1, "e600": 2, "T\n\nf600": 2}
    assert one.group == "1"
    many = read(tmp_path, *[{"prompt": "p", "answer": f"a{n}", "score": n} for n in range(20)])
    assert sorted(len(one.completions) for one in many) == [6, 7, 7] and MOST_ANSWERS >= 7
    assert {one.group for one in many} == {"p"} and len({c for one in many for c in one.completions}) == 20


def test_trees_give_the_path_to_ranked_replies(tmp_path: Path) -> None:
    def said(name: str, parent: str | None, text: str, rank: int | None = None) -> dict[str, Any]:
        role = "assistant" if name.startswith("a") else "prompter"
        return {"message_id": name, "parent_id": parent, "text": text, "role": role, "rank": rank, "lang": "pt-BR"}

    rows = [
        said("p1", None, "q"),
        said("a1", "p1", "good", 0),
        said("a2", "p1", "bad", 1),
        said("a3", "p1", "unranked"),
        said("p2", "a2", "more?"),
        said("a4", "p2", "second", 1),
        said("a5", "p2", "first", 0),
        said("p3", "a4", "end", 0),
    ]
    first, second = read(tmp_path, *rows)
    assert (first.completions, first.ranks) == (("good", "bad"), (1, 2))
    assert [message.content for message in second.messages] == ["q", "bad", "more?"]
    assert (second.completions, second.ranks, second.group) == (("second", "first"), (2, 1), "p1")
    nested = {
        "message_tree_id": "p1",
        "prompt": {
            "message_id": "p1",
            "text": "q",
            "role": "prompter",
            "replies": [rows[1] | {"replies": []}, rows[2] | {"replies": []}],
        },
    }
    (again,) = read(tmp_path, nested)
    assert (again.completions, again.ranks) == (first.completions, first.ranks)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (ours(["a"], [1]), "field 'completions' has 1 answer; a ranking needs two or more"),
        (ours([], []), "field 'completions' has no answer"),
        (ours(["a", "b", " a"], [1, 2, 3]), "answers 1 and 3 of field 'completions' are the same text"),
        (ours(["a", " "]), "answer 2 of field 'completions' is empty"),
        (ours(["a", "b"], [1]), "field 'ranks' has 1 ranks for 2 answers"),
        (ours(["a", "b"], [0, 1]), "field 'ranks[0]' is 0: ranks are whole numbers from 1"),
        (ours(["a", "b"], [1, 2.5]), "field 'ranks[1]' is 2.5"),
        (ours(["a", 3]), "field 'completions[1]' holds a number, not text"),
        (ours("ab"), "field 'completions' holds text, not a list"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "field 'prompt' holds a number, not text"),
        ({"chosen": "a", "rejected": "b"}, "there is no prompt"),
        ({"prompt": "q", "chosen": "a"}, "field 'rejected'"),
        (ours() | {"messages": [{"role": "assistant", "content": "hi"}]}, "must end with what the user says"),
        (ours() | {"messages": [{"role": "wizard", "content": "hi"}]}, "messages[0]"),
        ({"text": "nothing"}, "holds no ranking: it has 'text'"),
    ],
)
def test_what_is_no_ranking_is_refused_by_row_and_field(tmp_path: Path, row: Any, sentence: str) -> None:
    said = refused(tmp_path, row)
    assert sentence in said and ", row 1" in said and "Traceback" not in said


def test_answers_that_called_a_tool_keep_their_turns(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "calculator", "arguments": {"expression": "1+1"}}}
    turns = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "It is 2."},
    ]
    (one,) = read(tmp_path, ours([turns, "It is 3."]))
    assert one.completions == ("It is 2.", "It is 3.")
    assert [message.role for message in one.turns_of(0)] == ["assistant", "tool", "assistant"]
    assert [message.content for message in one.turns_of(1)] == ["It is 3."]
    write_rankings([one], tmp_path / "again.jsonl")
    assert list(read_rankings(tmp_path / "again.jsonl", Source())) == [one]
    assert Ranking.from_json(one.as_json()) == one


def test_bad_rows_are_counted_where_the_recipe_says_so(tmp_path: Path) -> None:
    bad = BadRows("skip")
    path = file(tmp_path, ours(), ours(["a"], [1]), ours(["a", ""]), ours(["c", "d"], [1, 1]))
    found = list(read_rankings(path, Source(), bad))
    assert [one.ranks for one in found] == [(1, 2), (1, 1)]  # nobody is forced to prefer one
    assert bad.counts == {"one answer": 1, "empty answer": 1}
    assert "row 2" in bad.examples[0]


def test_labellers_of_the_same_answers_are_put_together(tmp_path: Path) -> None:
    found = read(
        tmp_path, ours(["a", "b"], [1, 2], labeller="ana"), ours(["b", "a"], [1, 2], labeller="rui"), ours(["a", "c"])
    )
    first, second = by_prompt(found)
    assert first.labels == ((1, 2), (2, 1)) and first.labellers == ("ana", "rui")
    assert second.labels == ((1, 2),)


@pytest.mark.real_data
def test_the_published_files_are_read(real_data: Path) -> None:
    def published(name: str) -> tuple[list[Ranking], BadRows]:
        bad = BadRows("skip")
        return list(read_rankings(real_data / name, Source(), bad)), bad

    debates, _ = published("preferences/ukpconvarg_en.jsonl.gz")
    assert len(debates) == 8650 and len({one.group for one in debates}) == 12
    harmless, bad = published("preferences/hh_rlhf_harmless_test_a_en.jsonl.gz")
    assert len(harmless) == 1794 and bad.counts == {"empty answer": 4, "two conversations": 2}
    assert all(one.messages[0].role == one.messages[-1].role == "user" for one in harmless)
    pandas, _ = published("preferences/pandalm_human_en.jsonl.gz")
    assert Counter(len(one.labels) for one in by_prompt(pandas))[3] == 768
    essays, _ = published("preferences/essay_br_scored_pt.jsonl.gz")
    assert len({one.group for one in essays}) == 77 and all(len(one.completions) <= 9 for one in essays)
    trees, _ = published("sft/oasst1_en_validation_trees.jsonl.gz")
    assert len(trees) == 314 and max(len(one.messages) for one in trees) > 3
