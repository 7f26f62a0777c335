"""Usage and costs: what OpenAI's own client reads, what a spreadsheet reads, and nobody else's."""

import csv
import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from plutao.serve import accounts, keys, prices, refusals
from plutao.serve.api import money, usage
from plutao.serve.audit import By
from plutao.serve.database import Database
from plutao.serve.keys import KeyRights
from plutao.serve.tables.metering import Usage

DAY = 86_400
START = 1_793_491_200  # 2026-11-01


@pytest.fixture
def served(database: Database) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """Two people's usage on three days: Ana 2 × 100 + 50 tokens, Rui 1 × (10 + 5)."""
    app = FastAPI()
    app.state.database, app.state.settings = database, SimpleNamespace(public_url=None)
    refusals.install(app)
    app.include_router(usage.router)
    app.include_router(money.router)
    told: dict[str, str] = {}
    with database.writing() as db:
        prices.set_currency(db, "BRL", By())
        prices.set_price(db, "run-1/sft", prices.Tariff(10_000, 30_000), By())
        for name, role, days in (("ana", "owner", (0, 2)), ("rui", "member", (1,))):
            account = accounts.create(db, f"{name}@example.org", name, role)
            scopes = ["usage", "admin"] if role == "owner" else ["usage"]
            row, told[name] = keys.create(db, account, "=cmd()", KeyRights(scopes=scopes))
            for day in days:
                read, written = (100, 50) if name == "ana" else (10, 5)
                cost = {"cost": read * 10 + written * 30, "unbilled": 0, "seconds": 0.3, "waited": 1.0}
                tokens = {"prompt_tokens": read, "completion_tokens": written}
                when = START + day * DAY + 3_601
                db.add(
                    Usage(
                        moment=when,
                        account=account.id,
                        key=row.id,
                        model="run-1/sft",
                        endpoint="responses",
                        **cost,
                        **tokens,
                    )
                )
                embedded = {"prompt_tokens": 7, "completion_tokens": 0, "cost": 70, "unbilled": 0}
                times = {"seconds": 0.0, "waited": 0.0, "endpoint": "embeddings"}
                db.add(Usage(moment=when, account=account.id, key=row.id, model="run-1/sft", **embedded, **times))
    yield TestClient(app), told


def ask(served: tuple[TestClient, dict[str, str]], who: str, path: str, **params: Any) -> Any:
    client, told = served
    answer = client.get(path, params=params, headers={"authorization": f"Bearer {told[who]}"})
    assert answer.status_code == 200, answer.text
    return answer.json() if "json" in answer.headers["content-type"] else answer.text


def test_usage_by_day(served: tuple[TestClient, dict[str, str]]) -> None:
    page = ask(served, "ana", "/v1/organization/usage/completions", start_time=START, end_time=START + 3 * DAY)
    assert [bucket["start_time"] for bucket in page["data"]] == [START, START + DAY, START + 2 * DAY]
    sums = [(one["input_tokens"], one["output_tokens"]) for bucket in page["data"] for one in bucket["results"]]
    assert sums == [(100, 50), (10, 5), (100, 50)]
    assert page["data"][0]["results"][0]["seconds_per_1000_tokens"] == pytest.approx(2.0)
    assert page["has_more"] is False


def test_embeddings_are_told_apart(served: tuple[TestClient, dict[str, str]]) -> None:
    page = ask(served, "ana", "/v1/organization/usage/embeddings", start_time=START, end_time=START + DAY)
    assert page["data"][0]["results"][0]["input_tokens"] == 7


def test_grouping_filters_and_pages(served: tuple[TestClient, dict[str, str]]) -> None:
    wide = {"start_time": START, "end_time": START + 3 * DAY}
    page = ask(
        served, "ana", "/v1/organization/usage/completions", **wide, limit=2, **{"group_by[]": ["user_id", "model"]}
    )
    assert page["has_more"] is True
    assert [one["user_id"] for bucket in page["data"] for one in bucket["results"]] == ["user_1", "user_2"]
    assert page["data"][0]["results"][0]["model"] == "run-1/sft"
    rest = ask(served, "ana", "/v1/organization/usage/completions", **wide, limit=2, page=page["next_page"])
    assert [bucket["start_time"] for bucket in rest["data"]] == [START + 2 * DAY]
    assert rest["has_more"] is False
    only = ask(served, "ana", "/v1/organization/usage/completions", **wide, user_ids="user_2")
    assert sum(one["input_tokens"] for bucket in only["data"] for one in bucket["results"]) == 10
    hours = ask(served, "ana", "/v1/organization/usage/completions", start_time=START, bucket_width="1h", limit=3)
    assert [len(bucket["results"]) for bucket in hours["data"]] == [0, 1, 0]


def test_costs_are_money_of_the_services_currency(served: tuple[TestClient, dict[str, str]]) -> None:
    page = ask(served, "ana", "/v1/organization/costs", start_time=START, end_time=START + DAY, group_by="line_item")
    [result] = page["data"][0]["results"]
    assert result["amount"] == {"value": pytest.approx((100 * 10 + 50 * 30 + 70) / 1e6), "currency": "brl"}
    assert result["line_item"] == "run-1/sft"


def test_a_member_sees_their_own_and_no_more_by_asking_for_more(served: tuple[TestClient, dict[str, str]]) -> None:
    for extra in ({}, {"user_ids": ["user_1", "user_2"]}, {"user_ids": "user_1"}, {"api_key_ids": "key_1"}):
        page = ask(
            served, "rui", "/v1/organization/usage/completions", start_time=START, end_time=START + 3 * DAY, **extra
        )
        seen = sum(one["input_tokens"] for bucket in page["data"] for one in bucket["results"])
        assert seen in (0, 10)
    table = ask(served, "rui", "/v1/organization/usage.csv", start_time=START)
    assert "ana@example.org" not in table


def test_the_table_for_a_spreadsheet(served: tuple[TestClient, dict[str, str]]) -> None:
    table = ask(served, "ana", "/v1/organization/usage.csv", start_time=START, end_time=START + 3 * DAY)
    rows = list(csv.DictReader(io.StringIO(table)))
    assert len(rows) == 6
    first = rows[1]
    assert (first["day"], first["account"], first["prompt_tokens"]) == ("2026-11-01", "ana@example.org", "100")
    assert (first["cost"], first["currency"], first["seconds_per_1000_tokens"]) == ("0.0025", "BRL", "2.000")
    assert first["key"].startswith("'=cmd()")  # never a formula


def test_what_is_asked_wrongly_is_refused(served: tuple[TestClient, dict[str, str]]) -> None:
    client, told = served
    header = {"authorization": f"Bearer {told['ana']}"}
    for params in (
        {},
        {"start_time": -1},
        {"start_time": 0, "limit": 32},
        {"start_time": 0, "group_by": "colour"},
        {"start_time": 0, "user_ids": "1; DROP TABLE usage"},
        {"start_time": 0, "bucket_width": "1y"},
        {"start_time": 0, "page": "page_x"},
        {"start_time": 10**30},
    ):
        answer = client.get("/v1/organization/usage/completions", params=params, headers=header)
        assert answer.status_code == 400, params


def test_prices_stand_beside_the_measured_seconds(
    served: tuple[TestClient, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(money, "now", lambda: START + 3 * DAY)
    listed = ask(served, "ana", "/api/prices")
    assert listed["currency"] == "brl"
    [price] = listed["data"]
    assert (price["prompt"], price["completion"]) == (0.01, 0.03)
    tokens = 2 * 150 + 15 + 3 * 7
    assert price["seconds_per_1000_tokens"] == pytest.approx(1000 * 3 * 0.3 / tokens)


def test_openais_client_reads_it_strictly(served: tuple[TestClient, dict[str, str]]) -> None:
    openai = pytest.importorskip("openai")
    client, told = served
    reader = openai.OpenAI(
        admin_api_key=told["ana"],
        base_url="http://testserver/v1",
        http_client=client,
        _strict_response_validation=True,
    )
    usage = reader.admin.organization.usage
    tokens = usage.completions(start_time=START, end_time=START + DAY, group_by=["model", "api_key_id"])
    [result] = tokens.data[0].results
    assert (result.input_tokens, result.model, result.api_key_id) == (100, "run-1/sft", "key_1")
    costs = usage.costs(start_time=START, end_time=START + DAY)
    assert costs.data[0].results[0].amount.currency == "brl"
