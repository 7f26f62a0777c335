"""People: their accounts, the browsers they are signed in with, one-time links, and sign-ins that failed."""

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from plutao.serve.tables.base import Base, Digest, Identity, Moment, Name, account_column


class Account(Base):
    """A person. A forgotten one keeps the number, so that sums of usage stay right, and nothing else."""

    __tablename__ = "accounts"
    __table_args__ = (
        UniqueConstraint("issuer", "subject"),
        CheckConstraint("role IN ('owner', 'member', 'labeller')", name="role"),
    )

    id: Mapped[Identity]
    email: Mapped[Name | None] = mapped_column(unique=True)  # lower case; None once forgotten
    name: Mapped[Name]
    role: Mapped[Name]
    password: Mapped[Name | None]  # Argon2id; None: signs in elsewhere, or has not chosen one yet
    issuer: Mapped[Name | None]  # who vouches for them (OpenID Connect), and as whom
    subject: Mapped[Name | None]
    consent: Mapped[bool] = mapped_column(default=False)  # answers may be kept, replayed and learned from
    created: Mapped[Moment]
    disabled: Mapped[Moment | None]
    forgotten: Mapped[Moment | None]


class BrowserSession(Base):
    """A signed-in browser. Only a digest of what its cookie says is kept."""

    __tablename__ = "sessions"
    __table_args__ = {"info": {"personal": "delete"}}  # noqa: RUF012 – SQLAlchemy's own form

    id: Mapped[Identity]
    token: Mapped[Digest] = mapped_column(unique=True)
    account: Mapped[int] = account_column(index=True)
    created: Mapped[Moment]
    seen: Mapped[Moment]
    expires: Mapped[Moment]
    browser: Mapped[Name]  # what it says of itself, so that a person recognises their devices
    address: Mapped[Name]


class OneTimeLink(Base):
    """A link that makes the owner's account, or lets somebody choose a password; used once."""

    __tablename__ = "links"
    __table_args__ = (
        CheckConstraint("purpose IN ('owner', 'password')", name="purpose"),
        {"info": {"personal": "delete"}},
    )

    id: Mapped[Identity]
    token: Mapped[Digest] = mapped_column(unique=True)
    purpose: Mapped[Name]
    account: Mapped[int | None] = account_column(nullable=True, index=True)
    created: Mapped[Moment]
    expires: Mapped[Moment]


class FailedSignIn(Base):
    """How often signing in failed for an e-mail address (as a digest; there need not be such an account) or from a place."""

    __tablename__ = "failed_sign_ins"
    __table_args__ = (Index(None, "last"),)

    subject: Mapped[Digest] = mapped_column(primary_key=True)
    failures: Mapped[int]
    last: Mapped[Moment]
    blocked_until: Mapped[Moment]
