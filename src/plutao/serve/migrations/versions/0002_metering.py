"""Prices, budgets, reservations and usage."""

import sqlalchemy as sa
from alembic import op

revision = "0002_metering"
down_revision = "0001_accounts"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "house",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("value", sa.String(length=2000), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_house")),
    )
    op.create_table(
        "prices",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("prompt", sa.BigInteger(), nullable=False),
        sa.Column("completion", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("prompt >= 0 AND completion >= 0", name=op.f("ck_prices_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prices")),
        sa.UniqueConstraint("model", name=op.f("uq_prices_model")),
    )
    op.create_table(
        "usage",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("moment", sa.BigInteger(), nullable=False),
        sa.Column("account", Number, nullable=False),
        sa.Column("key", Number, nullable=True),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("endpoint", sa.String(length=200), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("unbilled", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("waited", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_usage_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage")),
    )
    op.create_index(op.f("ix_usage_account_moment"), "usage", ["account", "moment"], unique=False)
    op.create_index(op.f("ix_usage_moment"), "usage", ["moment"], unique=False)
    op.create_table(
        "budgets",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("account", Number, nullable=True),
        sa.Column("key", Number, nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("period", sa.String(length=200), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("period IN ('month', 'day', 'once')", name=op.f("ck_budgets_period")),
        sa.CheckConstraint("(account IS NULL) <> (key IS NULL)", name=op.f("ck_budgets_one_holder")),
        sa.CheckConstraint("spent >= 0 AND reserved >= 0 AND amount >= 0", name=op.f("ck_budgets_not_negative")),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_budgets_account"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["key"], ["api_keys.id"], name=op.f("fk_budgets_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budgets")),
        sa.UniqueConstraint("account", name=op.f("uq_budgets_account")),
        sa.UniqueConstraint("key", name=op.f("uq_budgets_key")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "rate_windows",
        sa.Column("key", Number, nullable=False),
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key"], ["api_keys.id"], name=op.f("fk_rate_windows_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rate_windows")),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("account", Number, nullable=False),
        sa.Column("key", Number, nullable=True),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("account_budget", Number, nullable=True),
        sa.Column("key_budget", Number, nullable=True),
        sa.Column("prompt_price", sa.BigInteger(), nullable=False),
        sa.Column("completion_price", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("window", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("lease", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_reservations_account"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["key"], ["api_keys.id"], name=op.f("fk_reservations_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
    )
    op.create_index(op.f("ix_reservations_holder"), "reservations", ["holder"], unique=False)
    op.create_index(op.f("ix_reservations_key"), "reservations", ["key"], unique=False)
