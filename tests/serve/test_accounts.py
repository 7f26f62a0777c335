"""People: passwords that are slow to guess, sessions that can be ended, links that work once, roles, being forgotten."""

import json
import os
import sqlite3
import statistics
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from plutao.errors import UserError
from plutao.serve import accounts, audit, budgets, keys, sessions, throttle
from plutao.serve.audit import By
from plutao.serve.database import Database, open_database
from plutao.serve.errors import ApiError
from plutao.serve.passwords import Passwords, check_quality, passwords
from plutao.serve.secrets import load_sealer
from plutao.serve.sessions import Visitor
from plutao.serve.tables import metadata
from plutao.serve.tables.accounts import Account, BrowserSession, FailedSignIn
from plutao.serve.tables.answers import Answer
from plutao.serve.tables.base import now
from plutao.serve.tables.keys import ApiKey
from plutao.serve.tables.metering import Usage

GOOD = "four words nobody joins"
HOME = Visitor("browser", "198.51.100.7")


def person(database: Database, name: str = "ana", role: str = "member", password: str | None = GOOD) -> int:
    with database.writing() as db:
        return accounts.create(db, f"{name}@example.org", name, role, password).id


def enter(database: Database, name: str = "ana", password: str = GOOD, address: str = "198.51.100.7") -> str:
    return accounts.sign_in(database, f"{name}@example.org", password, Visitor("browser", address)).token


# ---------------------------------------------------------------------------------------------------------------------
# Passwords (rule 1)


def test_passwords_are_kept_as_argon2id_and_cost_something() -> None:
    earnest = Passwords()
    began = time.process_time()
    kept = earnest.make(GOOD)
    assert time.process_time() - began > 0.01
    assert kept.startswith("$argon2id$")
    assert "m=65536" in kept
    assert GOOD not in kept


def test_a_weaker_hash_is_made_anew_when_its_owner_signs_in(database: Database) -> None:
    number = person(database)
    weaker = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=16, parallelism=1),)).hash(GOOD)
    with database.writing() as db:
        db.get_one(Account, number).password = weaker
    enter(database)
    with database.reading() as db:
        kept = db.get_one(Account, number).password
    assert kept is not None
    assert kept != weaker
    assert passwords.check(GOOD, kept) == (True, None)


@pytest.mark.parametrize(
    "weak",
    [
        "short",
        "elevenchars",
        "aaaaaaaaaaaaaaaa",
        "abababababab",
        "abcdefghijklmn",
        "qwertyuiopasdf",
        "ana@example.org",
        "x" * 300,
    ],
)
def test_passwords_that_are_guessed_first_are_refused(weak: str) -> None:
    with pytest.raises(UserError, match="password"):
        check_quality(weak, "ana@example.org", "Ana")


def test_a_few_words_make_a_good_password() -> None:
    check_quality("chuva fina no telhado", "ana@example.org", "Ana")


def test_an_address_nobody_has_is_refused_in_the_same_words_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(root=tmp_path)
    hasher = PasswordHash((Argon2Hasher(time_cost=3, memory_cost=4096, parallelism=1),))
    monkeypatch.setattr(passwords, "_hash", hasher)
    monkeypatch.setattr(passwords, "_nobody", None)
    monkeypatch.setattr(throttle, "FREE", {"account": 1000, "address": 1000})
    person(database)
    told, seconds = {}, {}
    for email in ("nobody@example.org", "ana@example.org"):
        taken = []
        for _ in range(7):
            began = time.thread_time()
            with pytest.raises(ApiError) as refused:
                accounts.sign_in(database, email, "a wrong password", HOME)
            taken.append(time.thread_time() - began)
        told[email], seconds[email] = refused.value.body(), statistics.median(taken)
    assert len({json.dumps(body) for body in told.values()}) == 1
    assert 0.5 < seconds["nobody@example.org"] / seconds["ana@example.org"] < 2
    database.close()


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The throttle's clock stands still, so that a slow machine waits no second by itself."""
    present = now()
    monkeypatch.setattr(throttle, "now", lambda: present)


def test_failures_make_wait_longer_and_longer_whether_or_not_there_is_an_account(
    database: Database, stopped: None
) -> None:
    person(database)
    for name in ("ana", "nobody"):
        statuses = []
        for number in range(7):
            with pytest.raises(ApiError) as refused:
                enter(database, name, "a wrong password", address=f"192.0.2.{number}")
            statuses.append(refused.value.status)
        assert statuses == [401] * 5 + [429] * 2
        assert 1 <= int(refused.value.headers["Retry-After"]) <= 2
    with pytest.raises(ApiError, match="Too many attempts"):  # now even the right one waits
        enter(database)
    with database.writing() as db:
        db.execute(sa.update(FailedSignIn).values(blocked_until=0, failures=12))
    with pytest.raises(ApiError):
        enter(database, "ana", "a wrong password", address="203.0.113.9")
    with database.reading() as db:
        waits = [row.blocked_until - throttle.now() for row in db.scalars(sa.select(FailedSignIn))]
    assert 100 < max(waits) <= throttle.LONGEST


def test_a_place_that_tries_many_addresses_is_stopped_too(database: Database, stopped: None) -> None:
    statuses = []
    for number in range(23):
        with pytest.raises(ApiError) as refused:
            enter(database, f"guess{number}", "a wrong password", address=f"2001:db8:1:2::{number:x}")
        statuses.append(refused.value.status)
    assert statuses == [401] * 20 + [429] * 3


def test_signing_in_clears_the_accounts_failures_and_not_the_places(database: Database) -> None:
    person(database)
    for _ in range(4):
        with pytest.raises(ApiError):
            enter(database, "ana", "a wrong password")
    enter(database)
    with database.reading() as db:
        assert [row.failures for row in db.scalars(sa.select(FailedSignIn))] == [4]


def test_guesses_at_the_same_time_gain_nothing(database: Database, stopped: None) -> None:
    person(database)
    statuses: list[int] = []

    def guess() -> None:
        try:
            enter(database, "ana", "a wrong password")
        except ApiError as error:
            statuses.append(error.status)

    threads = [threading.Thread(target=guess) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(statuses) == [401] * 5 + [429] * 11


# ---------------------------------------------------------------------------------------------------------------------
# Sessions (rule 2)


def test_a_session_is_random_kept_as_a_digest_and_ends_by_signing_out(database: Database) -> None:
    number = person(database)
    tokens = {enter(database) for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) >= 43 for token in tokens)  # 256 bits in base64
    with database.writing() as db:
        kept = {row.token for row in db.scalars(sa.select(BrowserSession))}
        assert not kept & tokens
        token = tokens.pop()
        found = sessions.find(db, token)
        assert found is not None
        assert found[1].id == number
        sessions.end(db, token)
        assert sessions.find(db, token) is None
        assert sessions.find(db, tokens.pop()) is not None


def test_signing_in_replaces_the_session_that_the_browser_had(database: Database) -> None:
    person(database)
    planted = enter(database)
    token = accounts.sign_in(database, "ana@example.org", GOOD, HOME, replaces=planted).token
    with database.reading() as db:
        assert sessions.find(db, planted) is None
        assert sessions.find(db, token) is not None


def test_a_session_ends_when_unused_and_at_its_greatest_age(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    person(database)
    token, began = enter(database), now()
    monkeypatch.setattr(sessions, "now", lambda: began + sessions.IDLE - 10)
    with database.writing() as db:
        found = sessions.find(db, token)
        assert found is not None
        sessions.notice(db, found[0].id)
    monkeypatch.setattr(sessions, "now", lambda: began + sessions.IDLE + 10)
    with database.reading() as db:
        assert sessions.find(db, token) is not None  # it was used meanwhile
    for days in range(20, 61, 10):
        monkeypatch.setattr(sessions, "now", lambda days=days: began + days * 24 * 3600 - 10)
        with database.writing() as db:
            found = sessions.find(db, token)
            assert found is not None
            sessions.notice(db, found[0].id)
    monkeypatch.setattr(sessions, "now", lambda: began + sessions.LONGEST + 10)
    with database.reading() as db:
        assert sessions.find(db, token) is None


@pytest.mark.parametrize("what", ["password", "role", "disabled"])
def test_another_password_another_role_and_shutting_out_end_every_session(database: Database, what: str) -> None:
    number = person(database)
    tokens = [enter(database) for _ in range(2)]
    with database.writing() as db:
        account = db.get_one(Account, number)
        if what == "password":
            accounts.set_password(db, account, "another four words here", By())
        elif what == "role":
            accounts.set_role(db, account, "labeller", By())
        else:
            accounts.disable(db, account, By())
    with database.reading() as db:
        assert [sessions.find(db, token) for token in tokens] == [None, None]


def test_somebody_shut_out_can_not_come_in_and_is_not_told_apart(database: Database) -> None:
    person(database, "owner", "owner")
    number = person(database)
    with database.writing() as db:
        accounts.disable(db, db.get_one(Account, number), By())
    with pytest.raises(ApiError, match="address or the password is wrong"):
        enter(database)


# ---------------------------------------------------------------------------------------------------------------------
# Links, owners


def test_the_first_owner_makes_their_account_by_a_link_that_works_once(database: Database) -> None:
    with database.writing() as db:
        earlier = accounts.owner_link(db)
        link = accounts.owner_link(db)
        assert earlier is not None
        assert link is not None
        assert accounts.find_link(db, earlier) is None  # each start tells a new one
    with pytest.raises(UserError), database.writing() as db:
        accounts.use_link(db, link, "short", HOME, "ana@example.org")
    with database.writing() as db:  # what was refused did not use it up
        begun = accounts.use_link(db, link, GOOD, HOME, "ana@example.org", "Ana")
        assert begun.account.role == "owner"
        assert sessions.find(db, begun.token) is not None
        assert accounts.owner_link(db) is None
    with pytest.raises(ApiError, match="used already"), database.writing() as db:
        accounts.use_link(db, link, GOOD, HOME, "eve@example.org", "Eve")


def test_of_two_who_follow_a_link_at_once_one_gets_in(database: Database) -> None:
    with database.writing() as db:
        link = accounts.owner_link(db)
    assert link is not None
    outcomes: list[str] = []

    def follow(name: str) -> None:
        try:
            with database.writing() as db:
                accounts.use_link(db, link, GOOD, HOME, f"{name}@example.org", name)
            outcomes.append("in")
        except ApiError:
            outcomes.append("out")

    threads = [threading.Thread(target=follow, args=(name,)) for name in ("ana", "eve", "rui", "lia")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == ["in", "out", "out", "out"]


def test_a_link_ends_after_a_day(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    number = person(database, password=None)
    with database.writing() as db:
        link = accounts.password_link(db, db.get_one(Account, number), By())
    later = now() + accounts.LINK_LIVES + 1
    monkeypatch.setattr(accounts, "now", lambda: later)
    with pytest.raises(ApiError, match="too old"), database.writing() as db:
        accounts.use_link(db, link, GOOD, HOME)


def test_the_service_never_loses_its_last_owner(database: Database) -> None:
    number = person(database, "owner", "owner")
    for change in (
        lambda db, account: accounts.disable(db, account, By()),
        lambda db, account: accounts.set_role(db, account, "member", By()),
        lambda db, account: accounts.forget(db, account, By()),
    ):
        with pytest.raises(UserError, match="only owner"), database.writing() as db:
            change(db, db.get_one(Account, number))
    person(database, "second", "owner")
    with database.writing() as db:
        accounts.set_role(db, db.get_one(Account, number), "member", By())


# ---------------------------------------------------------------------------------------------------------------------
# A person's data; secrets at rest (rule 14)


def test_every_table_says_what_becomes_of_a_persons_rows() -> None:
    for table in metadata.sorted_tables:
        if any(key.column.table.name == "accounts" for key in table.foreign_keys):
            assert table.info.get("personal") in ("delete", "keep"), table.name


def full(database: Database, name: str) -> int:
    """A person with something in every table."""
    number = person(database, name)
    enter(database, name)
    with database.writing() as db:
        account = db.get_one(Account, number)
        key, _ = keys.create(db, account, "k")
        accounts.password_link(db, account, By())
        budgets.set_budget(db, 5, "month", By(), account=number)
        bits = {"prompt_tokens": b"\x01\0\0\0", "tokens": b"", "log_probabilities": b""}
        told = {"request": {"q": f"{name}'s question"}, "sampling": {}, "seed": 1, "index": 0, "text": "t", **bits}
        kept = {"endpoint": "c", "model": "m", "fingerprint": "f", "finish_reason": "stop"}
        db.add(Answer(id=f"a-{name}", created=now(), account=number, key=key.id, **kept, **told))
        sums = {"prompt_tokens": 7, "completion_tokens": 1, "cost": 3, "unbilled": 0, "seconds": 1.0, "waited": 1.0}
        db.add(Usage(moment=now(), account=number, key=key.id, model="m", endpoint="c", **sums))
    return number


def test_a_person_takes_all_their_data_along_and_nobody_elses(database: Database) -> None:
    number = full(database, "ana")
    full(database, "rui")
    with database.reading() as db:
        found = accounts.export(db, db.get_one(Account, number))
    text = json.dumps(found)
    assert found["accounts"][0]["email"] == "ana@example.org"
    assert "ana's question" in text
    assert "rui" not in text
    assert {"sessions", "api_keys", "answers", "budgets", "usage", "links", "audit"} <= {
        name for name, rows in found.items() if rows
    }
    with database.reading() as db:
        account = db.get_one(Account, number)
        assert account.password is not None
        assert account.password not in text
        for row in db.scalars(sa.select(BrowserSession)):
            assert row.token not in text


def test_a_person_who_is_forgotten_leaves_only_numbers(database: Database) -> None:
    number, other = full(database, "anabela"), full(database, "rui")
    with database.writing() as db:
        accounts.forget(db, db.get_one(Account, number), By(number))
    with database.reading() as db:
        everything = {
            table.name: [tuple(row) for row in db.execute(sa.select(table))] for table in metadata.sorted_tables
        }
        assert accounts.find(db, "anabela@example.org") is None
        assert db.scalar(sa.select(sa.func.sum(Usage.prompt_tokens)).where(Usage.account == number)) == 7
        assert accounts.export(db, db.get_one(Account, other))["answers"]
        assert audit.broken_at(db) is None
    text = repr(everything)
    assert "anabela" not in text
    assert "rui@example.org" in text
    with pytest.raises(ApiError):
        enter(database, "anabela")
    with pytest.raises(UserError, match="forgotten"), database.writing() as db:
        accounts.enable(db, db.get_one(Account, number), By())


def test_no_secret_rests_in_the_database_as_it_is(tmp_path: Path) -> None:
    database = open_database(root=tmp_path)
    number = person(database)
    token = enter(database)
    with database.writing() as db:
        account = db.get_one(Account, number)
        _, key = keys.create(db, account, "k")
        secrets = [GOOD, token, key, key.partition("_")[2]]
    with database.writing() as db:
        secrets.append(accounts.password_link(db, db.get_one(Account, number), By()))
    database.close()
    sqlite3.connect(tmp_path / "plutao.db").execute("PRAGMA wal_checkpoint(TRUNCATE)")
    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"ana@example.org" in held
    for secret in secrets:
        assert secret.encode() not in held


def test_the_services_key_is_its_owners_alone_and_seals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealer = load_sealer(tmp_path)
    path = tmp_path / "plutao.key"
    sealed = sealer.seal("client secret")
    assert "client secret" not in sealed
    assert load_sealer(tmp_path).unseal(sealed) == "client secret"  # the same key after a restart
    assert sealer.unseal(sealed[:-4] + "AAAA") is None
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o644)
        with pytest.raises(UserError, match="chmod 600"):
            load_sealer(tmp_path)
    path.unlink()
    assert load_sealer(tmp_path).unseal(sealed) is None  # another key
    monkeypatch.setenv("PLUTAO_SECRET_KEY", "no key")
    with pytest.raises(UserError, match="PLUTAO_SECRET_KEY holds no key"):
        load_sealer(tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# The audit log (rule 15)


def test_what_is_done_to_accounts_and_keys_is_in_the_log_and_the_log_is_whole(database: Database) -> None:
    number = full(database, "ana")
    with pytest.raises(ApiError):
        enter(database, "ana", "a wrong password")
    with database.writing() as db:
        account = db.get_one(Account, number)
        accounts.set_role(db, account, "labeller", By(1, "192.0.2.1"))
        keys.revoke(db, db.scalars(sa.select(ApiKey)).one(), By(1, "192.0.2.1"))
    with database.reading() as db:
        actions = [line.action for line in audit.lines(db)][::-1]
        assert audit.broken_at(db) is None
    assert actions == [
        "account.created",
        "session.begun",
        "key.created",
        "account.link",
        "budget.set",
        "session.refused",
        "account.role",
        "key.revoked",
    ]


def test_the_database_refuses_to_change_or_take_out_a_line(database: Database) -> None:
    person(database)
    for statement in ("UPDATE audit SET action = 'nothing'", "DELETE FROM audit"):
        with pytest.raises(sa.exc.DatabaseError, match="only added to"), database.writing() as db:
            db.execute(sa.text(statement))


def test_a_line_changed_behind_its_back_and_lines_cut_off_are_seen(tmp_path: Path) -> None:
    database = open_database(root=tmp_path)
    for name in ("ana", "rui", "lia"):
        person(database, name)
    database.close()
    raw = sqlite3.connect(tmp_path / "plutao.db")
    raw.execute("DROP TRIGGER audit_no_update")
    raw.execute("DROP TRIGGER audit_no_delete")
    raw.execute("UPDATE audit SET subject = 'account 99' WHERE id = 2")
    raw.commit()
    database = open_database(root=tmp_path)
    with database.reading() as db:
        assert audit.broken_at(db) == 2
    raw.execute("DELETE FROM audit WHERE id >= 2")
    raw.commit()
    with database.reading() as db:
        assert audit.broken_at(db) == 0
    database.close()


def test_lines_written_at_the_same_time_stand_in_one_chain(database: Database) -> None:
    threads = [threading.Thread(target=person, args=(database, f"p{number}")) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with database.reading() as db:
        assert len(list(audit.lines(db))) == 8
        assert audit.broken_at(db) is None
