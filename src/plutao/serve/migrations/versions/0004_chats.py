"""Conversations on the pages."""

import sqlalchemy as sa
from alembic import op

revision = "0004_chats"
down_revision = "0003_answers"
branch_labels = None
depends_on = None

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("account", Number, nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("consent", sa.Boolean(), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("leaf", Number, nullable=True),
        sa.ForeignKeyConstraint(
            ["account"], ["accounts.id"], name=op.f("fk_conversations_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversations")),
    )
    op.create_index(
        op.f("ix_conversations_account_pinned_changed"), "conversations", ["account", "pinned", "changed"], unique=False
    )
    op.create_table(
        "messages",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("conversation", Number, nullable=False),
        sa.Column("account", Number, nullable=False),
        sa.Column("parent", Number, nullable=True),
        sa.Column("role", sa.String(length=200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("beside", sa.Boolean(), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=True),
        sa.Column("fingerprint", sa.String(length=200), nullable=True),
        sa.Column("system", sa.Text(), nullable=True),
        sa.Column("sampling", sa.JSON(), nullable=True),
        sa.Column("forced", sa.Integer(), nullable=False),
        sa.Column("cut", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("calls", sa.JSON(), nullable=True),
        sa.Column("lens", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("role IN ('user', 'assistant')", name=op.f("ck_messages_role")),
        sa.CheckConstraint(
            "state IN ('whole', 'writing', 'stopped', 'length', 'failed')", name=op.f("ck_messages_state")
        ),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_messages_account"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversations.id"], name=op.f("fk_messages_conversation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
    )
    op.create_index(op.f("ix_messages_account"), "messages", ["account"], unique=False)
    op.create_index(op.f("ix_messages_conversation_parent"), "messages", ["conversation", "parent"], unique=False)
    op.create_table(
        "shares",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("conversation", Number, nullable=False),
        sa.Column("account", Number, nullable=False),
        sa.Column("leaf", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_shares_account"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversations.id"], name=op.f("fk_shares_conversation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shares")),
        sa.UniqueConstraint("token", name=op.f("uq_shares_token")),
    )
    op.create_index(op.f("ix_shares_account"), "shares", ["account"], unique=False)
    op.create_index(op.f("ix_shares_conversation"), "shares", ["conversation"], unique=False)
    op.create_table(
        "corrections",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("message", Number, nullable=False),
        sa.Column("account", Number, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_corrections_account"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_corrections_message"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_corrections")),
        sa.UniqueConstraint("message", "account", name=op.f("uq_corrections_message_account")),
    )
    op.create_index(op.f("ix_corrections_account"), "corrections", ["account"], unique=False)
    op.create_table(
        "thumbs",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("message", Number, nullable=False),
        sa.Column("account", Number, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("good", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_thumbs_account"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_thumbs_message"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_thumbs")),
        sa.UniqueConstraint("message", "account", name=op.f("uq_thumbs_message_account")),
    )
    op.create_index(op.f("ix_thumbs_account"), "thumbs", ["account"], unique=False)
    op.create_table(
        "verdicts",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("message", Number, nullable=False),
        sa.Column("other", Number, nullable=False),
        sa.Column("account", Number, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(length=200), nullable=False),
        sa.CheckConstraint("verdict IN ('better', 'worse', 'same')", name=op.f("ck_verdicts_verdict")),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_verdicts_account"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name=op.f("fk_verdicts_message"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["other"], ["messages.id"], name=op.f("fk_verdicts_other"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint("message", "account", name=op.f("uq_verdicts_message_account")),
    )
    op.create_index(op.f("ix_verdicts_account"), "verdicts", ["account"], unique=False)
