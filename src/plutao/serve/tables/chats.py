"""Conversations on the pages: a tree of messages, what people think of the answers, and links by which others read them."""

from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from plutao.serve.tables.base import Base, Digest, Identity, Moment, Name, Number, account_column

DELETE: dict[str, Any] = {"info": {"personal": "delete"}}


class Conversation(Base):
    """A conversation. Nothing of it is learned from unless `consent`."""

    __tablename__ = "conversations"
    __table_args__ = (Index(None, "account", "pinned", "changed"), DELETE)

    id: Mapped[Identity]
    account: Mapped[int] = account_column()
    title: Mapped[Name]
    created: Mapped[Moment]
    changed: Mapped[Moment]
    pinned: Mapped[bool] = mapped_column(default=False)
    consent: Mapped[bool] = mapped_column(default=False)
    model: Mapped[Name]  # RUN/STAGE or `current`, for the next answer
    system: Mapped[str] = mapped_column(Text, default="")
    sampling: Mapped[dict[str, Any]]  # temperature, top_p, … of the next answer
    leaf: Mapped[int | None] = mapped_column(Number)  # the last message of the branch that is shown


class ChatMessage(Base):
    """A turn. Versions of one turn are messages with the same parent; the tree's root has none."""

    __tablename__ = "messages"
    __table_args__ = (
        Index(None, "conversation", "parent"),
        CheckConstraint("role IN ('user', 'assistant')", name="role"),
        CheckConstraint("state IN ('whole', 'writing', 'stopped', 'length', 'failed')", name="state"),
        DELETE,
    )

    id: Mapped[Identity]
    conversation: Mapped[int] = mapped_column(Number, ForeignKey("conversations.id", ondelete="CASCADE"))
    account: Mapped[int] = account_column(index=True)
    parent: Mapped[int | None] = mapped_column(Number)  # no foreign key: a chain of a thousand would cascade too deep
    role: Mapped[Name]
    text: Mapped[str] = mapped_column(Text)
    created: Mapped[Moment]
    state: Mapped[Name] = mapped_column(default="whole")
    error: Mapped[str | None] = mapped_column(Text)
    beside: Mapped[bool] = mapped_column(default=False)  # asked together with its neighbours, to be compared
    # What follows is of answers alone
    model: Mapped[Name | None]
    fingerprint: Mapped[Name | None]  # of the weights
    system: Mapped[str | None] = mapped_column(Text)  # the system prompt that was in force
    sampling: Mapped[dict[str, Any] | None] = mapped_column(JSON)  # with the seed that was used
    forced: Mapped[int] = mapped_column(default=0)  # tokens at its beginning that the reader chose
    cut: Mapped[int] = mapped_column(default=0)  # tokens of the conversation that did not fit the context
    prompt_tokens: Mapped[int] = mapped_column(default=0)
    completion_tokens: Mapped[int] = mapped_column(default=0)
    seconds: Mapped[float] = mapped_column(default=0.0)
    calls: Mapped[list[Any] | None] = mapped_column(JSON)  # tool calls: name, arguments, result, place in the text
    lens: Mapped[bytes | None] = mapped_column(LargeBinary)  # tokens, log-probabilities, alternatives; zlib-packed JSON


class Thumb(Base):
    """Up or down for an answer, with a reason."""

    __tablename__ = "thumbs"
    __table_args__ = (UniqueConstraint("message", "account"), DELETE)

    id: Mapped[Identity]
    message: Mapped[int] = mapped_column(Number, ForeignKey("messages.id", ondelete="CASCADE"))
    account: Mapped[int] = account_column(index=True)
    created: Mapped[Moment]
    good: Mapped[bool]
    reason: Mapped[Name | None]  # wrong, off, unclear, unsafe, language, other
    comment: Mapped[str] = mapped_column(Text, default="")


class Verdict(Base):
    """A new version of an answer is better than, worse than, or the same as the one before."""

    __tablename__ = "verdicts"
    __table_args__ = (
        UniqueConstraint("message", "account"),
        CheckConstraint("verdict IN ('better', 'worse', 'same')", name="verdict"),
        DELETE,
    )

    id: Mapped[Identity]
    message: Mapped[int] = mapped_column(Number, ForeignKey("messages.id", ondelete="CASCADE"))
    other: Mapped[int] = mapped_column(Number, ForeignKey("messages.id", ondelete="CASCADE"))  # the version before
    account: Mapped[int] = account_column(index=True)
    created: Mapped[Moment]
    verdict: Mapped[Name]


class Correction(Base):
    """What an answer should have been: an SFT row, and a pair in which it is preferred to the answer."""

    __tablename__ = "corrections"
    __table_args__ = (UniqueConstraint("message", "account"), DELETE)

    id: Mapped[Identity]
    message: Mapped[int] = mapped_column(Number, ForeignKey("messages.id", ondelete="CASCADE"))
    account: Mapped[int] = account_column(index=True)
    created: Mapped[Moment]
    text: Mapped[str] = mapped_column(Text)


class Share(Base):
    """A link by which anybody reads one branch of a conversation, as it was when the link was made."""

    __tablename__ = "shares"
    __table_args__ = (DELETE,)

    id: Mapped[Identity]
    token: Mapped[Digest] = mapped_column(unique=True)
    conversation: Mapped[int] = mapped_column(Number, ForeignKey("conversations.id", ondelete="CASCADE"), index=True)
    account: Mapped[int] = account_column(index=True)
    leaf: Mapped[int] = mapped_column(BigInteger)
    created: Mapped[Moment]
