"""Usage and costs in the form of OpenAI's organization API, and as CSV. Owners see everybody's, others their own."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from plutao.serve import prices, usage
from plutao.serve.api.asking import REFUSALS
from plutao.serve.api.common import Kept, Short, UsageReader
from plutao.serve.api.schemas.usage import (
    Amount,
    CostsBucket,
    CostsPage,
    CostsResult,
    UsageBucket,
    UsagePage,
    UsageResult,
)
from plutao.serve.errors import bad_request
from plutao.serve.identity import Caller
from plutao.serve.prices import MICRO
from plutao.serve.tables.base import now
from plutao.serve.usage import DAY, Filter, Sum

router = APIRouter(tags=["usage"], responses={status: REFUSALS[status] for status in (400, 401, 403)})
WIDTHS = {"1m": 60, "1h": 3600, "1d": DAY}
BUCKETS = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)}
"""How many buckets a page has: by default, and at most."""
Kind = Literal["completions", "embeddings"]
EMBEDDINGS = ["embeddings"]
FAR = 2**40

Start = Annotated[int, Query(ge=0, le=FAR, description="Seconds since 1970; part of the range.")]
End = Annotated[int | None, Query(ge=0, le=FAR, description="Seconds since 1970; no longer part of it.")]
Many = Annotated[list[Short] | None, Query(max_length=100)]


class Wish:
    """What all these routes can be asked; lists may be named as OpenAI's client does, with brackets."""

    def __init__(
        self,
        start_time: Start,
        end_time: End = None,
        models: Many = None,
        models_: Annotated[Many, Query(alias="models[]")] = None,
        user_ids: Many = None,
        user_ids_: Annotated[Many, Query(alias="user_ids[]")] = None,
        api_key_ids: Many = None,
        api_key_ids_: Annotated[Many, Query(alias="api_key_ids[]")] = None,
        group_by: Many = None,
        group_by_: Annotated[Many, Query(alias="group_by[]")] = None,
        limit: Annotated[int | None, Query(ge=1, le=1440)] = None,
        page: Annotated[Short | None, Query()] = None,
    ) -> None:
        self.start, self.end = start_time, end_time if end_time is not None else now() + 1
        self.models = models or models_
        self.accounts = numbers(user_ids or user_ids_, "user", "user_ids")
        self.keys = numbers(api_key_ids or api_key_ids_, "key", "api_key_ids")
        self.groups = list(dict.fromkeys(group_by or group_by_ or []))
        self.limit, self.page = limit, page

    def filter(self, caller: Caller, start: int, end: int, kind: Kind | None) -> Filter:
        """The usage that is meant and that the caller may see."""
        accounts: Sequence[int] | None = self.accounts
        if not (caller.role == "owner" and "admin" in caller.scopes):
            accounts = [caller.account] if accounts is None or caller.account in accounts else []
        only = EMBEDDINGS if kind == "embeddings" else None
        others = EMBEDDINGS if kind == "completions" else []
        return Filter(start, end, accounts, self.keys, self.models, only, others)


def numbers(ids: list[str] | None, prefix: str, param: str) -> list[int] | None:
    """user_7 → 7; what was never told by us names nothing."""
    if ids is None:
        return None
    found = []
    for one in ids:
        number = one.removeprefix(f"{prefix}_")
        if not (number.isascii() and number.isdigit() and len(number) < 16):
            raise bad_request(f"{one!r} is no id: they look like {prefix}_7.", param)
        found.append(int(number))
    return found


Wishing = Annotated[Wish, Depends()]
Width = Annotated[Literal["1m", "1h", "1d"], Query(description="Of a bucket; days begin at 00:00 UTC.")]


@router.get("/v1/organization/usage/{kind}", response_model=UsagePage, summary="Tokens, by time")
@router.get("/api/usage/{kind}", response_model=UsagePage, summary="Tokens, by time, for pages")
def usage_by_time(
    kind: Kind, wish: Wishing, caller: UsageReader, database: Kept, bucket_width: Width = "1d"
) -> UsagePage:
    """Grouped by model, api_key_id or user_id."""
    page = Paged(wish, WIDTHS[bucket_width], BUCKETS[bucket_width])
    groups = known_groups(wish, {"model": "model", "api_key_id": "api_key_id", "user_id": "user_id"})
    with database.reading() as db:
        found = usage.sums(db, wish.filter(caller, page.start, page.end, kind), page.width, list(groups.values()))
    buckets = []
    for start, end in page.buckets():
        results = [usage_result(kind, one) for one in found if one.start == start]
        buckets.append(UsageBucket(start_time=start, end_time=end, results=results))
    return UsagePage(data=buckets, has_more=page.following is not None, next_page=page.following)


@router.get("/v1/organization/costs", response_model=CostsPage, summary="Money, by day")
@router.get("/api/costs", response_model=CostsPage, summary="Money, by day, for pages")
def costs_by_day(wish: Wishing, caller: UsageReader, database: Kept, bucket_width: Literal["1d"] = "1d") -> CostsPage:
    """Grouped by line_item (the model), api_key_id or user_id."""
    page = Paged(wish, WIDTHS[bucket_width], (7, 180))
    groups = known_groups(wish, {"line_item": "model", "api_key_id": "api_key_id", "user_id": "user_id"})
    with database.reading() as db:
        found = usage.sums(db, wish.filter(caller, page.start, page.end, None), page.width, list(groups.values()))
        currency = prices.currency(db)
    buckets = []
    for start, end in page.buckets():
        results = [costs_result(currency, one) for one in found if one.start == start]
        buckets.append(CostsBucket(start_time=start, end_time=end, results=results))
    return CostsPage(data=buckets, has_more=page.following is not None, next_page=page.following)


@router.get(
    "/v1/organization/usage.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}}},
    summary="Usage as a table",
)
@router.get(
    "/api/usage.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}}},
    summary="Usage as a table, for pages",
)
def usage_as_csv(wish: Wishing, caller: UsageReader, database: Kept) -> Response:
    """A line for each day, model, endpoint and key."""
    with database.reading() as db:
        lines = "".join(usage.as_csv(db, wish.filter(caller, wish.start, wish.end, None), prices.currency(db)))
    return Response(
        lines, media_type="text/csv", headers={"content-disposition": 'attachment; filename="plutao-usage.csv"'}
    )


# ---------------------------------------------------------------------------------------------------------------------
# Pages of buckets


class Paged:
    """The buckets of one page: `limit` of them from the start of the range or from where the last page ended."""

    def __init__(self, wish: Wish, width: int, counts: tuple[int, int]) -> None:
        default, most = counts
        limit = wish.limit or default
        if limit > most:
            raise bad_request(f"limit is {limit}; a page has at most {most} such buckets.", "limit")
        begin = wish.start
        if wish.page is not None:
            [begin] = numbers([wish.page], "page", "page") or [begin]
        self.width = width
        self.first = begin - begin % width
        self.start, self.end = max(begin, wish.start), min(wish.end, self.first + limit * width)
        after = self.first + limit * width
        self.following = f"page_{after}" if after < wish.end else None

    def buckets(self) -> list[tuple[int, int]]:
        return [(start, start + self.width) for start in range(self.first, self.end, self.width)]


def known_groups(wish: Wish, columns: dict[str, str]) -> dict[str, str]:
    """What to tell apart, as the columns are called here."""
    if unknown := next((group for group in wish.groups if group not in columns), None):
        raise bad_request(f"group_by {unknown!r} is not known here; known are {', '.join(columns)}.", "group_by")
    return {group: columns[group] for group in wish.groups}


def named(one: Sum, group: str, prefix: str = "") -> str | None:
    """The group's name as the API tells it; None where it was not told apart."""
    value = one.group.get(group)
    return None if value is None else f"{prefix}{value}"


def usage_result(kind: Kind, one: Sum) -> UsageResult:
    return UsageResult(
        object=f"organization.usage.{kind}.result",  # type: ignore[arg-type]
        input_tokens=one.prompt_tokens,
        output_tokens=one.completion_tokens,
        num_model_requests=one.requests,
        model=named(one, "model"),
        seconds_per_1000_tokens=one.seconds_per_1000_tokens,
        user_id=named(one, "user_id", "user_"),
        api_key_id=named(one, "api_key_id", "key_"),
    )


def costs_result(currency: str, one: Sum) -> CostsResult:
    return CostsResult(
        amount=Amount(value=one.cost / MICRO, currency=currency),
        line_item=named(one, "model"),
        unbilled=one.unbilled / MICRO,
        user_id=named(one, "user_id", "user_"),
        api_key_id=named(one, "api_key_id", "key_"),
    )
