"""Where a stage's examples are: files, corpora, worlds, and what people of the project wrote."""

import json
from pathlib import Path

import pytest

from plutao.data.settings import ExampleSource
from plutao.data.sources.rows import BadRows
from plutao.errors import UserError
from plutao.stages.examples import check_sources, conversations_of, identity, places
from plutao.worlds import world

ROW = json.dumps({"prompt": "a", "response": "b"}) + "\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project in a folder whose name would be a pattern."""
    made = tmp_path / "my [first] project"
    (made / "data" / "conversations").mkdir(parents=True)
    (made / "data" / "conversations" / "ana.jsonl").write_text(ROW)
    (made / "pairs.jsonl").write_text(ROW * 3)
    return made


def source(**settings: object) -> ExampleSource:
    return ExampleSource.model_validate({"name": "s", **settings})


@pytest.mark.parametrize("path", ["pairs.jsonl", "pair*.jsonl"])
def test_files_and_patterns_are_looked_for_in_the_project(root: Path, path: str) -> None:
    named, own = places([source(path=path, license="CC0-1.0")], root, "conversations")
    assert (named.name, named.origin, named.license) == ("s", f"path {path}", "CC0-1.0")
    assert len(conversations_of(named, 1, BadRows("refuse"))) == 3
    assert (own.name, own.origin) == ("own", "data/conversations")
    assert conversations_of(own, 1, BadRows("refuse"))[0].source == "own"
    assert [place.name for place in places([source(path=path)], root, "rankings")] == ["s"]


def test_a_worlds_conversations_are_its_dialogues_with_its_licence(root: Path) -> None:
    (place, _) = places([source(world="solar", count=20)], root, "conversations")
    found = conversations_of(place, 3, BadRows("refuse"))
    assert [each.messages for each in found] == [each.messages for each in world("solar").dialogues(20, 3)]
    assert {each.license for each in found} == {world("solar").license}
    assert {each.language for each in found} == {"pt", "en"}


def test_count_takes_the_first_rows_and_an_empty_file_is_named(root: Path) -> None:
    (place, _) = places([source(path="pairs.jsonl", count=2)], root, "conversations")
    assert [each.id for each in conversations_of(place, 1, BadRows("refuse"))] == ["pairs.jsonl:1", "pairs.jsonl:2"]
    (root / "pairs.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"pairs\.jsonl has no conversation \(1 × no conversation\)"):
        conversations_of(place, 1, BadRows("skip"))


def test_examples_are_named_by_their_content(root: Path) -> None:
    def now(**settings: object) -> object:
        return identity(places([source(**settings)], root, "conversations"))

    before = now(path="pairs.jsonl")
    assert now(path="pairs.jsonl") == before == now(path="pairs.jsonl", weight=2.0)
    assert now(path="pairs.jsonl", count=2) != before
    (root / "data" / "conversations" / "ana.jsonl").write_text(ROW * 2)
    assert now(path="pairs.jsonl") != before
    assert now(world="solar", count=5) != now(world="solar", count=6)


def test_what_is_wrong_with_sources_is_said_before_anything_long(root: Path) -> None:
    def check(*sources: ExampleSource, place: Path | None = root, own: str = "conversations") -> None:
        check_sources("sft", sources, place, own)

    check(source(path="pairs.jsonl"))
    check()  # people's own are enough
    with pytest.raises(UserError, match="nothing to learn from"):
        check(own="rankings")
    with pytest.raises(UserError, match="'s' is the name of two sources"):
        check(source(path="pairs.jsonl"), source(world="solar"))
    with pytest.raises(UserError, match="'t' has no weight and others do"):
        check(source(path="pairs.jsonl", weight=1), source(world="solar", name="t"))
    with pytest.raises(UserError, match=r"There is no corpus 'gone'"):
        check(source(corpus="gone"))
    with pytest.raises(UserError, match="There is no world called 'mars'"):
        check(source(world="mars"))
