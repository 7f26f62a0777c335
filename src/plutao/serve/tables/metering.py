"""Money and use: prices, budgets, what is set aside for answers being written, and what was used."""

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from plutao.serve.tables.base import Base, Identity, Micro, Moment, Name, Number, account_column


class House(Base):
    """What is true of the whole service: `currency`, for one."""

    __tablename__ = "house"

    name: Mapped[Name] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(String(2000))


class Price(Base):
    """What 1,000 tokens of a model cost; model `*` is for all models without a price of their own."""

    __tablename__ = "prices"
    __table_args__ = (
        UniqueConstraint("model"),
        CheckConstraint("prompt >= 0 AND completion >= 0", name="not_negative"),
    )

    id: Mapped[Identity]
    model: Mapped[Name]
    prompt: Mapped[Micro]
    completion: Mapped[Micro]
    since: Mapped[Moment]


class Budget(Base):
    """What an account or a key may spend in a period. What is added to `spent + reserved` never takes it past `amount`."""

    __tablename__ = "budgets"
    __table_args__ = (
        UniqueConstraint("account"),
        UniqueConstraint("key"),
        CheckConstraint("(account IS NULL) <> (key IS NULL)", name="one_holder"),
        CheckConstraint("spent >= 0 AND reserved >= 0 AND amount >= 0", name="not_negative"),
        CheckConstraint("period IN ('month', 'day', 'once')", name="period"),
        {"info": {"personal": "delete"}, "sqlite_autoincrement": True},
    )

    id: Mapped[Identity]
    account: Mapped[int | None] = account_column(nullable=True)
    key: Mapped[int | None] = mapped_column(Number, ForeignKey("api_keys.id", ondelete="CASCADE"))
    amount: Mapped[Micro]
    period: Mapped[Name]
    started: Mapped[Moment]  # of the period that `spent` is about
    spent: Mapped[Micro] = mapped_column(default=0)
    reserved: Mapped[Micro] = mapped_column(default=0)


class Reservation(Base):
    """The worst case of an answer that is being written. Its server says again and again that it still lives; one whose
    lease ran out is let go.
    """

    __tablename__ = "reservations"
    __table_args__ = {"info": {"personal": "delete"}}  # noqa: RUF012 – SQLAlchemy's own form

    id: Mapped[Name] = mapped_column(primary_key=True)
    holder: Mapped[Name] = mapped_column(index=True)  # which server process
    account: Mapped[int] = account_column()
    key: Mapped[int | None] = mapped_column(Number, ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    model: Mapped[Name]
    account_budget: Mapped[int | None] = mapped_column(Number)  # the budgets that hold `amount` for it
    key_budget: Mapped[int | None] = mapped_column(Number)
    prompt_price: Mapped[Micro]  # as they were when the answer began
    completion_price: Mapped[Micro]
    amount: Mapped[Micro]
    tokens: Mapped[int] = mapped_column(BigInteger)
    window: Mapped[Moment]  # the minute whose tokens it counts in
    created: Mapped[Moment]
    lease: Mapped[Moment]


class RateWindow(Base):
    """Requests and tokens of a key in the present minute."""

    __tablename__ = "rate_windows"

    key: Mapped[int] = mapped_column(Number, ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
    minute: Mapped[Moment]
    requests: Mapped[int]
    tokens: Mapped[int] = mapped_column(BigInteger)


class Usage(Base):
    """One answered request: tokens, money and the machine's time."""

    __tablename__ = "usage"
    __table_args__ = (
        Index(None, "account", "moment"),
        {"info": {"personal": "keep"}},  # numbers without a name; a key's number outlives the key
    )

    id: Mapped[Identity]
    moment: Mapped[Moment] = mapped_column(index=True)
    account: Mapped[int] = account_column()
    key: Mapped[int | None] = mapped_column(Number)
    model: Mapped[Name]
    endpoint: Mapped[Name]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    cost: Mapped[Micro]
    unbilled: Mapped[Micro]  # what it cost beyond the budget, and nobody paid
    seconds: Mapped[float]  # of the machine: at each moment shared evenly by the answers being written
    waited: Mapped[float]  # seconds from the request to its end
