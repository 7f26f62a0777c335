"""From the database to the rows that stages learn from, what was said in conversations among it, and how far it is measured."""

from pathlib import Path

from plutao.assistant.feedback import Given, gather, write
from plutao.evaluate.intervals import Difference
from plutao.evaluate.progress import rankings_missing
from plutao.serve import accounts, chats, wayback
from plutao.serve.audit import By
from plutao.serve.database import Database
from plutao.serve.identity import Caller
from plutao.serve.tables.accounts import Account
from plutao.serve.tables.chats import ChatMessage, Conversation
from plutao.text.chat import Message


def conversation(database: Database, consent: bool) -> int:
    """Two turns; the second answer was written twice, the new version found better, and then corrected."""
    with database.writing() as db:
        account = accounts.create(db, f"{consent}@example.org", "Ana", "member", "four words nobody joins")
        talk = chats.create(db, Caller(account.id, "member", None, frozenset()), "current")
        talk.consent, talk.system = consent, "Be brief."
        hello = chats.ask(db, talk, "Hello", None)
        first = answer(db, talk, hello.id, "Hi.")
        question = chats.ask(db, talk, "Which planet is red?", first.id)
        answer(db, talk, question.id, "Venus.")
        second = answer(db, talk, question.id, "Mars")
        chats.compare(db, second, "better")
        chats.correct(db, second, "Mars is the red planet.")
        return account.id


def answer(db: object, talk: Conversation, parent: int, text: str) -> ChatMessage:
    written = chats.begin_answer(db, talk, parent, "solar-1/rl", text=text)  # type: ignore[arg-type]
    written.state = "whole"
    db.flush()  # type: ignore[attr-defined]
    return written


def test_verdicts_and_corrections_become_rows_where_the_conversation_says_so(database: Database) -> None:
    ana, _ = conversation(database, True), conversation(database, False)
    with database.reading() as db:
        found = wayback.everything(db)
    assert (found.given, found.without_consent, found.people) == (6, 3, 1)
    assert {one.completions: one.ranks for one in found.rankings} == {
        ("Mars", "Venus."): (1, 2),
        ("Mars is the red planet.", "Mars"): (1, 2),
    }
    [written] = found.demonstrations
    assert written.answer == "Mars is the red planet." and written.labeller == f"person-{ana}"
    assert [(m.role, m.content) for m in written.messages][-3:] == [
        ("user", "Hello"),
        ("assistant", "Hi."),
        ("user", "Which planet is red?"),
    ]


def test_consent_that_is_withdrawn_counts_from_then_on(database: Database) -> None:
    conversation(database, True)
    with database.writing() as db:
        db.query(Conversation).one().consent = False
    with database.reading() as db:
        assert gather(wayback.given_in_chats(db)).without_consent == 3
        assert not wayback.everything(db).rankings


def test_whoever_is_forgotten_leaves_the_rows_of_the_next_training_too(database: Database, tmp_path: Path) -> None:
    ana = conversation(database, True)
    with database.writing() as db:
        rui = accounts.create(db, "rui@example.org", "Rui", "owner", "four words nobody joins")
    order = Given("rank-1", f"person-{rui.id}", (Message("user", "Oi"),), ("Olá.", "Não."), (1, 2))
    with database.reading() as db:
        found = wayback.everything(db)
        row = db.get_one(Account, ana)
    found.rankings.append(order)
    write(found, tmp_path)
    wayback.forget(database, tmp_path, row, By())
    assert f"person-{rui.id}" in (tmp_path / "data/rankings/web.jsonl").read_text(encoding="utf-8")
    assert not any(f"person-{ana}" in path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.jsonl"))
    assert not (tmp_path / "data/conversations/web.jsonl").exists()
    with database.reading() as db:
        assert db.get_one(Account, ana).forgotten is not None


def test_about_how_many_rankings_are_missing() -> None:
    assert rankings_missing(Difference(0.1, 0.02, 0.18), 50) == 0
    assert rankings_missing(Difference(0.1, -0.1, 0.3), 50) == 150  # half the interval needs four times the rankings
    assert rankings_missing(Difference(0.0, -0.1, 0.1), 50) is None
    assert rankings_missing(None, 50) is None
