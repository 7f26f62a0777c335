"""API keys: what a program shows in place of a person. A key itself is shown once; a digest of it is kept."""

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from plutao.serve.tables.base import Base, Digest, Identity, Moment, Name, account_column


class ApiKey(Base):
    """A key, what it may do, and how much of it in a minute. None means no limit of its own."""

    __tablename__ = "api_keys"
    __table_args__ = {"info": {"personal": "delete"}, "sqlite_autoincrement": True}  # noqa: RUF012 – SQLAlchemy's own form

    id: Mapped[Identity]
    account: Mapped[int] = account_column(index=True)
    name: Mapped[Name]
    prefix: Mapped[Name] = mapped_column(unique=True)  # the part of the key that may be shown
    secret: Mapped[Digest]
    old_secret: Mapped[Digest | None]  # of the key that this one replaced, good for a while yet
    old_until: Mapped[Moment | None]
    scopes: Mapped[list[str]]
    models: Mapped[list[str] | None]
    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    parallel: Mapped[int | None]
    consent: Mapped[bool] = mapped_column(default=False)  # answers to this key may be kept, replayed and learned from
    created: Mapped[Moment]
    expires: Mapped[Moment | None]
    revoked: Mapped[Moment | None]
    last_used: Mapped[Moment | None]
