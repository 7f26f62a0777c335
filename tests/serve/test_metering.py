"""Money: no budget is passed by a micro-unit, whatever happens at once, in between, or never."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from plutao.serve import accounts, budgets, keys, metering, prices
from plutao.serve.audit import By
from plutao.serve.database import Database, open_database
from plutao.serve.errors import ApiError
from plutao.serve.identity import Caller
from plutao.serve.keys import KeyRights
from plutao.serve.metering import Meter, hold, pay, release, release_dead
from plutao.serve.prices import Tariff, to_micro
from plutao.serve.roles import scopes_of
from plutao.serve.tables.base import now
from plutao.serve.tables.metering import Budget, RateWindow, Reservation, Usage

MODEL = "run-1/sft"


def customer(database: Database, budget: int | None = None, key_budget: int | None = None, **rights: int) -> Caller:
    """Somebody with a key, and a price of 1,000 and 3,000 micro-units for 1,000 tokens."""
    with database.writing() as db:
        account = accounts.create(db, f"a{time.monotonic_ns()}@example.org", "A", "member")
        row, _ = keys.create(db, account, "k", KeyRights(**rights))
        prices.set_price(db, MODEL, Tariff(1000, 3000), By())
        if budget is not None:
            budgets.set_budget(db, budget, "month", By(), account=account.id)
        if key_budget is not None:
            budgets.set_budget(db, key_budget, "month", By(), key=row.id)
        return Caller(account.id, "member", row.id, scopes_of("member"))


def books(database: Database, caller: Caller) -> tuple[int, int, int]:
    """(spent, reserved, what usage says was paid) of the caller's account."""
    with database.reading() as db:
        row = budgets.find(db, account=caller.account)
        assert row is not None
        assert row.spent + row.reserved <= row.amount
        held = select(func.coalesce(func.sum(Reservation.amount), 0)).where(Reservation.account_budget == row.id)
        assert row.reserved == db.scalar(held)
        paid = select(func.coalesce(func.sum(Usage.cost), 0)).where(Usage.account == caller.account)
        return row.spent, row.reserved, int(db.scalar(paid) or 0)


def usage_of(caller: Caller, prompt: int, completion: int) -> dict[str, Any]:
    numbers = {"prompt_tokens": prompt, "completion_tokens": completion, "seconds": 0.5, "waited": 0.5}
    return {
        "moment": now(),
        "account": caller.account,
        "key": caller.key,
        "model": MODEL,
        "endpoint": "completions",
    } | numbers


# ---------------------------------------------------------------------------------------------------------------------
# Prices


def test_a_price_of_a_thousand_tokens_counts_each_token_and_rounds_once() -> None:
    tariff = Tariff(prompt=to_micro("0.03"), completion=to_micro("0.06"))
    assert tariff.cost(1000, 1000) == 90_000
    assert tariff.cost(1, 0) == 30
    assert Tariff(1, 1).cost(1, 0) == 1  # what costs anything costs at least a micro-unit
    assert Tariff(1, 1).cost(999, 1) == 1
    assert Tariff(0, 0).cost(10**6, 10**6) == 0


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_tokens_never_cost_less(prompt: int, completion: int, read: int, written: int) -> None:
    tariff = Tariff(prompt, completion)
    assert 0 <= tariff.cost(read, written) <= tariff.cost(read + 1, written) <= tariff.cost(read + 1, written + 1)


def test_amounts_of_money_are_exact() -> None:
    assert to_micro("0.1") + to_micro("0.2") == to_micro("0.3")
    assert to_micro(0.29) == 290_000
    for wrong in ("0.0000001", "-1", "NaN", "Infinity", "ten", "1e40"):
        with pytest.raises(ValueError, match="amount"):
            to_micro(wrong)


# ---------------------------------------------------------------------------------------------------------------------
# Budgets


async def crowd(meter: Meter, caller: Caller, count: int) -> tuple[int, int]:
    """Requests at the same time, each of 4,000 micro-units at worst; (answered, refused)."""

    async def one(number: int) -> bool:
        try:
            async with meter(caller, MODEL, 1000, 1000) as bill:
                await asyncio.sleep(0.001 * (number % 7))
                if number % 5 == 4:
                    return True  # left without an answer
                bill.settle(1000, 1000 if number % 2 else 400)
        except ApiError as error:
            assert (error.status, error.code) == (429, "insufficient_quota")
            assert error.headers["x-should-retry"] == "false"
            return False
        return True

    answered = await asyncio.gather(*(one(number) for number in range(count)))
    return sum(answered), count - sum(answered)


@pytest.mark.parametrize("left", [0, 3_999, 4_000, 30_001])
def test_fifty_at_once_on_an_almost_spent_budget_never_pass_it(database: Database, left: int) -> None:
    caller = customer(database, budget=1_000_000)
    with database.writing() as db:
        db.execute(update(Budget).where(Budget.account == caller.account).values(spent=1_000_000 - left))
    answered, refused = asyncio.run(crowd(Meter(database), caller, 50))
    spent, reserved, paid = books(database, caller)
    assert reserved == 0
    assert spent <= 1_000_000
    assert spent == 1_000_000 - left + paid
    assert refused > 0
    assert (answered > 0) == (left >= 4_000)


def test_several_server_processes_on_one_budget_never_pass_it(database: Database) -> None:
    """Each thread with an engine of its own stands for a process: nothing in memory is shared."""
    caller = customer(database, budget=20_000)
    url = database.url.render_as_string(hide_password=False)
    answered: list[int] = []

    def process() -> None:
        own = open_database(url)
        try:
            answered.append(asyncio.run(crowd(Meter(own), caller, 10))[0])
        finally:
            own.close()

    threads = [threading.Thread(target=process) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    spent, reserved, paid = books(database, caller)
    assert len(answered) == 4
    assert reserved == 0
    assert spent == paid <= 20_000


def test_the_smaller_of_two_budgets_counts_and_the_other_gets_its_part_back(database: Database) -> None:
    caller = customer(database, budget=100_000, key_budget=5_000)
    held = hold(database, caller, MODEL, (1000, 1000), "me")
    with pytest.raises(ApiError, match="This key's budget"):
        hold(database, caller, MODEL, (1000, 1000), "me")
    assert books(database, caller)[1] == 4_000  # the refused one left nothing behind in the account's budget
    pay(database, held, usage_of(caller, 1000, 100))
    with database.reading() as db:
        rows = [budgets.find(db, account=caller.account), budgets.find(db, key=caller.key)]
    assert [(row.spent, row.reserved) for row in rows if row] == [(1_300, 0), (1_300, 0)]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(["hold", "pay", "leave", "die"]), st.integers(0, 3000)), max_size=25))
def test_whatever_happens_in_whatever_order_the_books_agree(database: Database, steps: list[tuple[str, int]]) -> None:
    caller = customer(database, budget=9_000)
    open_now = []
    for step, tokens in steps:
        if step == "hold":
            try:
                open_now.append(hold(database, caller, MODEL, (tokens, tokens), "me", lease=1000))
            except ApiError:
                continue
        elif open_now and step == "pay":  # sometimes more than was foreseen
            pay(database, open_now.pop(0), usage_of(caller, tokens, tokens))
        elif open_now and step == "leave":
            release(database, open_now.pop(0).id)
        elif step == "die":
            release_dead(database, everything=True)
        spent, _, paid = books(database, caller)
        assert spent == paid


def test_more_than_foreseen_is_noted_and_not_paid(database: Database) -> None:
    caller = customer(database, budget=4_000)
    pay(database, hold(database, caller, MODEL, (1000, 1000), "me"), usage_of(caller, 1000, 5000))
    with database.reading() as db:
        row = db.scalars(select(Usage).where(Usage.account == caller.account)).one()
    assert (row.completion_tokens, row.cost, row.unbilled) == (5000, 4_000, 12_000)
    assert books(database, caller)[:2] == (4_000, 0)


def test_a_price_that_changes_does_not_change_an_answer_that_has_begun(database: Database) -> None:
    caller = customer(database, budget=100_000)
    held = hold(database, caller, MODEL, (1000, 1000), "me")
    with database.writing() as db:
        prices.set_price(db, MODEL, Tariff(10**6, 10**6), By())
    pay(database, held, usage_of(caller, 1000, 1000))
    assert books(database, caller)[0] == 4_000


def test_a_month_that_ends_gives_a_fresh_budget_and_keeps_what_is_set_aside(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = customer(database, budget=8_000)
    pay(database, hold(database, caller, MODEL, (1000, 1000), "me"), usage_of(caller, 1000, 1000))
    across = hold(database, caller, MODEL, (1000, 1000), "me", lease=10**8)
    with pytest.raises(ApiError):
        hold(database, caller, MODEL, (1, 0), "me")
    later = now() + 32 * 24 * 3600
    monkeypatch.setattr(budgets, "now", lambda: later)
    fresh = hold(database, caller, MODEL, (1000, 1000), "me")
    assert books(database, caller)[:2] == (0, 8_000)
    pay(database, across, usage_of(caller, 1000, 1000))
    pay(database, fresh, usage_of(caller, 0, 0))
    assert books(database, caller)[:2] == (4_000, 0)


def test_months_begin_on_the_first_at_midnight_utc() -> None:
    assert budgets.period_start("month", 1_795_000_000) == 1_793_491_200  # 2026-11-01
    assert budgets.period_start("day", 1_795_000_000) == 1_794_960_000
    assert budgets.period_start("once", 1_795_000_000) == 0


# ---------------------------------------------------------------------------------------------------------------------
# Leaving, dying


def test_a_caller_that_leaves_at_any_moment_leaves_no_money_behind(database: Database) -> None:
    caller = customer(database, budget=100_000)

    async def scenario() -> None:
        meter = Meter(database)

        async def one() -> None:
            async with meter(caller, MODEL, 1000, 1000) as bill:
                await asyncio.sleep(0.05)
                bill.settle(1000, 10)

        for delay in (0.0, 0.001, 0.003, 0.01, 0.03, 0.06, 0.08):
            task = asyncio.create_task(one())
            await asyncio.sleep(delay)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    spent, reserved, paid = books(database, caller)
    assert reserved == 0
    assert spent == paid


def test_what_a_dead_server_set_aside_is_free_when_its_lease_ends(database: Database) -> None:
    caller = customer(database, budget=4_000)
    dead = hold(database, caller, MODEL, (1000, 1000), "dead", lease=-1)
    meter = Meter(database)
    held = meter.hold(caller, MODEL, (1000, 1000))  # nobody had to restart anything
    assert held.id != dead.id
    pay(database, dead, usage_of(caller, 1000, 1000))  # it was only asleep: nothing is left for it
    assert books(database, caller)[:2] == (0, 4_000)
    pay(database, held, usage_of(caller, 1000, 500))
    assert books(database, caller)[:2] == (2_500, 0)


WORKER = """
import asyncio, sys
from plutao.serve.database import open_database
from plutao.serve.identity import Caller
from plutao.serve.metering import Meter

async def main():
    meter = Meter(open_database(sys.argv[1]), lease=1)
    await meter.start()
    caller = Caller(int(sys.argv[2]), "member", int(sys.argv[3]), frozenset({"inference"}))
    async def work():
        while True:
            async with meter(caller, "run-1/sft", 10, 10) as bill:
                print("held", flush=True)
                await asyncio.sleep(0.002)
                bill.settle(10, 5)
    await asyncio.gather(*(work() for _ in range(8)))

asyncio.run(main())
"""


def test_kill_9_midway_leaves_the_books_right_after_a_restart(database: Database) -> None:
    caller = customer(database, budget=10**9)
    url = database.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", WORKER, url, str(caller.account), str(caller.key)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(30):
        assert process.stdout.readline() == "held\n"
    os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait(timeout=30)
    books(database, caller)  # consistent even before anybody mends anything

    restarted = Meter(database)
    if not database.on_sqlite:  # on a file the only server knows at once that the other is dead; else its lease tells
        time.sleep(2)
    restarted.recover()
    spent, reserved, paid = books(database, caller)
    assert reserved == 0
    assert spent == paid > 0
    with database.reading() as db:
        assert db.scalar(select(func.count()).select_from(Reservation)) == 0
        counted = db.scalar(select(func.count()).where(Usage.account == caller.account))
    assert paid == counted * Tariff(1000, 3000).cost(10, 5)
    asyncio.run(restarted.stop())


def test_a_second_server_on_a_file_does_not_take_the_firsts_money(tmp_path: Path) -> None:
    database = open_database(root=tmp_path)
    caller = customer(database, budget=10_000)
    first, second = Meter(database), Meter(database)
    first.recover()
    first.hold(caller, MODEL, (1000, 1000))
    assert second.recover() == 0
    assert books(database, caller)[1] == 4_000
    asyncio.run(first.stop())
    assert second.recover() == 1
    asyncio.run(second.stop())
    database.close()


# ---------------------------------------------------------------------------------------------------------------------
# A key's minute


def test_a_keys_requests_tokens_and_parallel_answers_are_limited(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metering, "now", lambda: 1_795_000_020)  # not at the end of a minute
    for rights, message in (
        ({"requests_per_minute": 2}, "2 requests a minute"),
        ({"tokens_per_minute": 40}, "40 tokens a minute"),
        ({"parallel": 2}, "2 requests answered at the same time"),
    ):
        caller = customer(database, **rights)
        first, _ = (hold(database, caller, MODEL, (10, 10), "me") for _ in range(2))
        with pytest.raises(ApiError, match=message) as refused:
            hold(database, caller, MODEL, (10, 10), "me")
        assert refused.value.code == "rate_limit_exceeded"
        assert int(refused.value.headers["Retry-After"]) >= 1
        pay(database, first, usage_of(caller, 1, 1))
        if "requests_per_minute" not in rights:  # room again: an answer ended, and took fewer tokens than it might have
            hold(database, caller, MODEL, (9, 9), "me")


def test_the_headers_tell_what_is_left_of_the_minute(database: Database) -> None:
    caller = customer(database, requests_per_minute=10, tokens_per_minute=1000)
    headers = hold(database, caller, MODEL, (10, 90), "me").headers
    assert headers["x-ratelimit-limit-requests"] == "10"
    assert headers["x-ratelimit-remaining-requests"] == "9"
    assert headers["x-ratelimit-remaining-tokens"] == "900"
    assert headers["x-ratelimit-reset-tokens"].endswith("s")


def test_a_new_minute_begins_with_nothing_used(database: Database) -> None:
    caller = customer(database, requests_per_minute=1)
    hold(database, caller, MODEL, (1, 1), "me")
    with database.writing() as db:
        db.execute(update(RateWindow).values(minute=RateWindow.minute - 60))
    hold(database, caller, MODEL, (1, 1), "me")


def test_many_at_once_do_not_pass_a_keys_limit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "now", lambda: 1_795_000_020)
    caller = customer(database, requests_per_minute=7)
    results: list[bool] = []

    def one() -> None:
        try:
            hold(database, caller, MODEL, (1, 1), "me")
            results.append(True)
        except ApiError:
            results.append(False)

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 20
    assert sum(results) == 7


def test_the_machines_time_is_shared_by_the_answers_being_written(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [100.0]
    monkeypatch.setattr(metering.time, "monotonic", lambda: moment[0])
    clock = metering.MachineClock()
    first = clock.enter()
    moment[0] += 10
    second = clock.enter()  # from now on each gets half
    moment[0] += 10
    assert clock.leave(first) == pytest.approx(15)
    moment[0] += 5
    assert clock.leave(second) == pytest.approx(10)
