"""What each answer came from, kept where its asker agreed: enough to write the same answer again, and to learn from it."""

from typing import Any

from sqlalchemy import BigInteger, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from plutao.serve.tables.base import Base, Digest, Moment, Name, Number, account_column


class Template(Base):
    """A chat template, kept once: what made tokens of the messages."""

    __tablename__ = "templates"

    digest: Mapped[Digest] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(Text)


class Answer(Base):
    """One answer and all that decides it: the model's weights, the template, the tokens it read, settings and seed."""

    __tablename__ = "answers"
    __table_args__ = (Index(None, "account", "created"), {"info": {"personal": "delete"}})

    id: Mapped[Name] = mapped_column(primary_key=True)  # as the API told it: chatcmpl-…, with the index among n answers
    created: Mapped[Moment]
    account: Mapped[int] = account_column()
    key: Mapped[int | None] = mapped_column(Number)
    endpoint: Mapped[Name]
    model: Mapped[Name]
    fingerprint: Mapped[Name]  # of the weights
    template: Mapped[str | None] = mapped_column(String(64))
    request: Mapped[dict[str, Any]]  # messages or prompt, as they were sent
    sampling: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    index: Mapped[int]  # which of n answers: its draws follow from the seed and this
    prompt_tokens: Mapped[bytes] = mapped_column(LargeBinary)  # int32, little-endian
    tokens: Mapped[bytes] = mapped_column(LargeBinary)  # int32, little-endian
    log_probabilities: Mapped[bytes] = mapped_column(LargeBinary)  # float32, little-endian; one a token
    text: Mapped[str] = mapped_column(Text)
    finish_reason: Mapped[Name]
