"""From what people gave to the rows that stages read: consent, repeats, personal data; and exactly the stages' own layout."""

from pathlib import Path

import pytest

from plutao.assistant.feedback import Given, gather, personal, without_personal, write
from plutao.data.conversations import read_conversations
from plutao.data.rankings import by_prompt, read_rankings
from plutao.text.chat import Message


class Source:
    name, language, license = "own", None, None


def order(number: int, labeller: str = "person-1", asked: str = "Which planet is red?", **more: object) -> Given:
    given = {"completions": ("Mars.", "Venus.", "No idea."), "ranks": (1, 3, 2)} | more
    return Given(f"rank-{number}", labeller, (Message("user", asked),), **given)  # type: ignore[arg-type]


def written(number: int, answer: str = "Mars is the red planet.", **more: object) -> Given:
    return Given(f"written-{number}", "person-1", (Message("user", "Which planet is red?"),), answer=answer, **more)  # type: ignore[arg-type]


def test_the_files_are_read_by_the_stages_readers_and_say_what_was_given(tmp_path: Path) -> None:
    found = gather([order(1, language="en", model="solar-1/rl"), order(2, "person-2", ranks=(1, 1, 2)), written(1)])
    files = write(found, tmp_path)
    assert set(files) == {"data/rankings/web.jsonl", "data/conversations/web.jsonl"}
    [both] = by_prompt(read_rankings(tmp_path / "data/rankings/web.jsonl", Source()))
    assert both.labels == ((1, 3, 2), (1, 1, 2)) and both.labellers == ("person-1", "person-2")
    assert both.ranking.language == "en"
    [conversation] = read_conversations(tmp_path / "data/conversations/web.jsonl", "own")
    assert [message.content for message in conversation.messages] == ["Which planet is red?", "Mars is the red planet."]


def test_what_nobody_agreed_to_what_came_twice_and_what_is_no_ranking_stays_out() -> None:
    shuffled = order(2, completions=("No idea.", "Mars.", "Venus."), ranks=(2, 1, 3))  # the same order, shown otherwise
    alike = order(3, completions=("Mars.", "Mars. "), ranks=(1, 2))
    found = gather([order(1), shuffled, alike, order(4, consent=False), order(5, "person-2"), written(1, " ")])
    assert [one.id for one in found.rankings] == ["rank-1", "rank-5"]
    assert (found.given, found.duplicates, found.misfits, found.without_consent) == (6, 1, 2, 1)
    assert found.pairs == 6 and found.people == 2


def test_what_is_taken_back_leaves_the_files(tmp_path: Path) -> None:
    write(gather([order(1), written(1)]), tmp_path)
    assert write(gather([order(1, consent=False)]), tmp_path) == {}
    assert not list(tmp_path.rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Write to ana.silva+x@mail.example.com.br.", ["e_mail"]),
        ("Meu CPF é 529.982.247-25, viu?", ["cpf"]),
        ("CPF 529.982.247-26 has wrong check digits", []),
        ("111.111.111-11 passes the sum and is none", []),
        ("card 4111 1111 1111 1111", ["card"]),
        ("order 4111 1111 1111 1112", []),
        ("Ligue (11) 98765-4321 ou +55 21 2345-6789", ["phone", "phone"]),
        ("Call +1 415 555-2671 today", ["phone"]),
        ("Jupiter is 139,820 km wide; 1609-1610, 4.500.000.000 years, 12345678", []),
        ("1.234.567.890 and 2026-11-21 10:40", []),
    ],
)
def test_personal_data_is_found_and_numbers_are_not_taken_for_it(text: str, kinds: list[str]) -> None:
    assert [kind for kind, _ in personal(text)] == kinds
    assert not list(personal(without_personal(text)))


def test_rows_with_personal_data_are_held_back_or_masked(tmp_path: Path) -> None:
    rows = [
        order(1),
        written(1, "Ask rui@example.org"),
        order(2, asked="My CPF is 529.982.247-25. Which planet is red?"),
    ]
    held = gather(rows)
    assert [one.id for one in held.rankings] == ["rank-1"] and not held.demonstrations and held.held_back == 2
    assert {finding.kind for finding in held.findings} == {"e_mail", "cpf"}
    assert all("rui@example" not in finding.shown and "529.982" not in finding.shown for finding in held.findings)
    write(gather(rows, "mask"), tmp_path)
    everything = "".join(path.read_text() for path in tmp_path.rglob("*.jsonl"))
    assert "[e-mail]" in everything and "[cpf]" in everything and "rui@" not in everything and "529" not in everything


def test_the_counts_hold_nobodys_words() -> None:
    told = str(gather([order(1), written(1, "secret rui@example.org")]).as_json())
    assert "Mars" not in told and "rui" not in told
