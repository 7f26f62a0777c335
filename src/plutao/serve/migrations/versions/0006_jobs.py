"""Trainings started from the pages."""

import sqlalchemy as sa
from alembic import op

revision = "0006_jobs"
down_revision = "0005_judgements"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("account", Number, nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("stop_asked", sa.BigInteger(), nullable=True),
        sa.Column("stage", sa.String(length=200), nullable=True),
        sa.Column("run", sa.String(length=200), nullable=True),
        sa.Column("overrides", sa.JSON(), nullable=False),
        sa.Column("minutes", sa.Double(), nullable=True),
        sa.Column("keep_current", sa.Boolean(), nullable=False),
        sa.Column("process", sa.Integer(), nullable=False),
        sa.Column("process_began", sa.String(length=200), nullable=False),
        sa.CheckConstraint("state IN ('running', 'done', 'stopped', 'failed', 'lost')", name=op.f("ck_jobs_state")),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_jobs_account"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
