"""What all tables share: names of constraints that migrations can rely on, numbers, moments, and the duty to say what
becomes of a person's rows.
"""

import time
from typing import Annotated, Any, cast

from sqlalchemy import JSON, BigInteger, ForeignKey, Integer, MetaData, String, Table
from sqlalchemy.orm import DeclarativeBase, mapped_column

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The root of all tables.

    A table with a column that names an account carries `info={"personal": …}`: "delete" where a person's rows go when they
    ask to be forgotten, "keep" where only numbers stay, without a name. A test fails for a table that does not say.
    """

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON, list[int]: JSON}  # noqa: RUF012 – SQLAlchemy's own form


# SQLite only numbers rows by itself where the type is INTEGER; PostgreSQL's would end at two thousand million.
Number = BigInteger().with_variant(Integer, "sqlite")

Identity = Annotated[int, mapped_column(Number, primary_key=True, autoincrement=True)]
Moment = Annotated[int, mapped_column(BigInteger)]
"""Seconds since 1970, UTC."""
Micro = Annotated[int, mapped_column(BigInteger)]
"""Money in millionths of the currency's unit: integers, so that sums are exact."""
Digest = Annotated[str, mapped_column(String(64))]
"""SHA-256 in hex."""
Name = Annotated[str, mapped_column(String(200))]


def account_column(*, on_delete: str = "CASCADE", **options: Any) -> Any:
    """A column that names an account."""
    return mapped_column(Number, ForeignKey("accounts.id", ondelete=on_delete), **options)


def table_of(mapped: type[Base]) -> Table:
    """A class's table, for statements that go past the mapper."""
    return cast(Table, mapped.__table__)


def now() -> int:
    """The present, in seconds since 1970."""
    return int(time.time())
