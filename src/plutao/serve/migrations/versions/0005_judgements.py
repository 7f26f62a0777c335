"""What people judge: sheets of answers and their orders, ideal answers, the arena's votes, trainings made from them."""

import sqlalchemy as sa
from alembic import op

revision = "0005_judgements"
down_revision = "0004_chats"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def own(table: str, *, optional: bool = False) -> list[sa.schema.SchemaItem]:
    """The columns that all of these tables have."""
    return [
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("account", Number, nullable=optional),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f(f"fk_{table}_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    ]


def upgrade() -> None:
    op.create_table(
        "sheets",
        *own("sheets", optional=True),
        sa.Column("prompt", sa.String(length=64), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("language", sa.String(length=20), nullable=True),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("fingerprint", sa.String(length=200), nullable=False),
        sa.Column("temperature", sa.Double(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("answers", sa.JSON(), nullable=False),
        sa.Column("rewards", sa.JSON(), nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_sheets_account"), "sheets", ["account"], unique=False)
    op.create_index(op.f("ix_sheets_fingerprint_prompt"), "sheets", ["fingerprint", "prompt"], unique=False)
    op.create_table(
        "judgements",
        *own("judgements"),
        sa.Column("sheet", Number, nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("ranks", sa.JSON(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("kind IN ('rank', 'repeat', 'skip', 'flag')", name=op.f("ck_judgements_kind")),
        sa.ForeignKeyConstraint(["sheet"], ["sheets.id"], name=op.f("fk_judgements_sheet"), ondelete="CASCADE"),
        sa.UniqueConstraint("sheet", "account", "kind", name=op.f("uq_judgements_sheet_account_kind")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_judgements_account"), "judgements", ["account"], unique=False)
    op.create_table(
        "demonstrations",
        *own("demonstrations"),
        sa.Column("sheet", Number, nullable=True),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("language", sa.String(length=20), nullable=True),
        sa.ForeignKeyConstraint(["sheet"], ["sheets.id"], name=op.f("fk_demonstrations_sheet"), ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_demonstrations_account"), "demonstrations", ["account"], unique=False)
    op.create_table(
        "battles",
        *own("battles"),
        sa.Column("prompt", sa.String(length=64), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("language", sa.String(length=20), nullable=True),
        *(sa.Column(f"{side}_model", sa.String(length=200), nullable=False) for side in ("left", "right")),
        *(sa.Column(f"{side}_answer", sa.Text(), nullable=False) for side in ("left", "right")),
        sa.Column("vote", sa.String(length=200), nullable=True),
        sa.Column("voted", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("vote IN ('left', 'right', 'tie', 'bad')", name=op.f("ck_battles_vote")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_battles_account"), "battles", ["account"], unique=False)
    op.create_table(
        "trainings",
        *own("trainings"),
        sa.Column("run", sa.String(length=200), nullable=False),
        sa.Column("before", sa.String(length=200), nullable=False),
        sa.Column("job", Number, nullable=True),
        sa.Column("feedback", sa.JSON(), nullable=False),
        sqlite_autoincrement=True,
    )
