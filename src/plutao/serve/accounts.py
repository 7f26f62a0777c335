"""People: making accounts, signing in, passwords, roles, and being forgotten."""

import re
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from plutao.errors import UserError
from plutao.serve import audit, sessions, throttle
from plutao.serve.audit import By
from plutao.serve.database import Database
from plutao.serve.errors import Refusal, unauthenticated
from plutao.serve.passwords import check_quality, passwords
from plutao.serve.roles import ROLES
from plutao.serve.secrets import digest, new_token
from plutao.serve.sessions import Visitor
from plutao.serve.tables import Base
from plutao.serve.tables.accounts import Account, OneTimeLink
from plutao.serve.tables.base import now

LINK_LIVES = 24 * 3600
WRONG = "The e-mail address or the password is wrong."


# ---------------------------------------------------------------------------------------------------------------------
# Accounts


def create(
    db: Session,
    email: str,
    name: str,
    role: str,
    password: str | None = None,
    *,
    identity: tuple[str, str] | None = None,
    by: By | None = None,
) -> Account:
    """A new account.

    Args:
        password: None: they sign in elsewhere, or choose one by a link.
        identity: (issuer, subject) where an OpenID Connect provider vouches for them.

    Raises:
        UserError: the address is none or is taken, there is no such role, the password is easily guessed.
    """
    by = by or By()
    address = clean_email(email)
    if role not in ROLES:
        raise UserError(f"There is no role {role!r}: a person is owner, member or labeller.")
    if find(db, address) is not None:
        raise Refusal(f"{address} has an account already.", "account_exists")
    if password is not None:
        check_quality(password, address, name)
    account = Account(
        email=address,
        name=name.strip()[:200] or address.partition("@")[0],
        role=role,
        password=None if password is None else passwords.make(password),
        issuer=identity[0] if identity else None,
        subject=identity[1] if identity else None,
        created=now(),
    )
    db.add(account)
    db.flush()
    record(db, by, "account.created", account, role=role)
    return account


def clean_email(email: str) -> str:
    """The address as it is kept: lower case, without blanks around.

    Raises:
        UserError: it is none.
    """
    address = email.strip().lower()
    if not re.fullmatch(r"[^\s@,;<>\"]{1,64}@[^\s@,;<>\"]{1,130}", address):
        raise Refusal(
            f"{email.strip()[:100]!r} is not an e-mail address: it reads like ana@example.org.", "email_wrong"
        )
    return address


def find(db: Session, email: str) -> Account | None:
    return db.scalars(select(Account).where(Account.email == email.strip().lower())).one_or_none()


def need(db: Session, email: str) -> Account:
    """The account of an address.

    Raises:
        UserError: there is none.
    """
    account = find(db, email)
    if account is None:
        raise UserError(f"There is no account {email!r}: `plutao user list` shows all.")
    return account


def has_owner(db: Session) -> bool:
    return db.scalar(select(func.count()).where(Account.role == "owner", Account.disabled.is_(None))) != 0


def set_role(db: Session, account: Account, role: str, by: By) -> None:
    """Gives another role and signs out everywhere.

    Raises:
        UserError: no such role, or nobody would own the service any more.
    """
    if role not in ROLES:
        raise UserError(f"There is no role {role!r}: a person is owner, member or labeller.")
    if role != "owner":
        keep_an_owner(db, account)
    before, account.role = account.role, role
    sessions.end_all(db, account.id)
    record(db, by, "account.role", account, before=before, after=role)


def disable(db: Session, account: Account, by: By) -> None:
    """Nobody signs in with it any more, and its keys are refused; what it holds stays.

    Raises:
        UserError: nobody would own the service any more.
    """
    keep_an_owner(db, account)
    account.disabled = account.disabled or now()
    sessions.end_all(db, account.id)
    record(db, by, "account.disabled", account)


def enable(db: Session, account: Account, by: By) -> None:
    """Takes `disable` back."""
    if account.forgotten is not None:
        raise Refusal("This account was forgotten: make a new one.", "account_forgotten")
    account.disabled = None
    record(db, by, "account.enabled", account)


def keep_an_owner(db: Session, leaving: Account) -> None:
    owners = db.scalars(
        select(Account).where(Account.role == "owner", Account.disabled.is_(None)).with_for_update()
    ).all()
    if leaving.role == "owner" and all(owner.id == leaving.id for owner in owners):
        raise Refusal("This is the only owner: make somebody else one first.", "only_owner")


def record(db: Session, by: By, action: str, account: Account, **detail: object) -> None:
    audit.record(db, action, f"account {account.id}", actor=by.account, address=by.address, **detail)


# ---------------------------------------------------------------------------------------------------------------------
# Signing in


@dataclass(frozen=True)
class SignedIn:
    """A session that has just begun, and the token for its cookie."""

    account: Account
    token: str


def sign_in(database: Database, email: str, password: str, visitor: Visitor, replaces: str | None = None) -> SignedIn:
    """Begins a session.

    Whether the address has an account shows neither in the words nor in the time of a refusal.

    Raises:
        ApiError: 401, address and password don't belong together; 429, it failed too often.
    """
    address = email.strip().lower()[:200]
    with database.writing() as db:
        throttle.attempt(db, address, visitor.address)
    with database.reading() as db:
        account = find(db, address)
    kept = account.password if account is not None and account.disabled is None else None
    right, stronger = passwords.check(password, kept)
    with database.writing() as db:
        account = find(db, address)
        # what was checked must still be what is kept: a password changed meanwhile does not let anybody in
        if not right or account is None or account.disabled is not None or account.password != kept:
            audit.record(db, "session.refused", subject_of(account), address=visitor.address)
        else:
            account.password = stronger or account.password
            throttle.succeeded(db, address, visitor.address)
            return SignedIn(account, begin_session(db, account, visitor, replaces))
    raise unauthenticated(WRONG, "wrong_password")


def subject_of(account: Account | None) -> str:
    return "nobody" if account is None else f"account {account.id}"


def begin_session(db: Session, account: Account, visitor: Visitor, replaces: str | None = None) -> str:
    """A session for somebody whose identity is sure; returns the token for the cookie. What is long over is swept out."""
    sessions.forget_old(db)
    throttle.forget_old(db)
    db.execute(delete(OneTimeLink).where(OneTimeLink.expires <= now()))
    token = sessions.begin(db, account.id, visitor, replaces)
    record(db, By(account.id, visitor.address), "session.begun", account)
    return token


def set_password(db: Session, account: Account, password: str, by: By) -> None:
    """A new password; every session of the account ends.

    Raises:
        UserError: it is easily guessed.
    """
    check_quality(password, account.email or "", account.name)
    account.password = passwords.make(password)
    sessions.end_all(db, account.id)
    db.execute(delete(OneTimeLink).where(OneTimeLink.account == account.id))
    record(db, by, "account.password", account)


# ---------------------------------------------------------------------------------------------------------------------
# One-time links


def owner_link(db: Session) -> str | None:
    """A link token with which the first owner makes their account; earlier ones end. None where there is an owner."""
    if has_owner(db):
        return None
    db.execute(delete(OneTimeLink).where(OneTimeLink.purpose == "owner"))
    return new_link(db, "owner", None)


def link_address(service: str, token: str) -> str:
    """The link itself.

    Args:
        service: where browsers reach the service, as http://127.0.0.1:8000.
    """
    return f"{service.rstrip('/')}/setup?token={token}"


def password_link(db: Session, account: Account, by: By) -> str:
    """A link token with which a person chooses a (new) password."""
    db.execute(delete(OneTimeLink).where(OneTimeLink.account == account.id))
    record(db, by, "account.link", account)
    return new_link(db, "password", account.id)


def new_link(db: Session, purpose: str, account: int | None) -> str:
    token = new_token()
    db.add(
        OneTimeLink(token=digest(token), purpose=purpose, account=account, created=now(), expires=now() + LINK_LIVES)
    )
    return token


def find_link(db: Session, token: str) -> OneTimeLink | None:
    """The link of a token, while it can be used."""
    query = select(OneTimeLink).where(OneTimeLink.token == digest(token), OneTimeLink.expires > now())
    return db.scalars(query).one_or_none()


def use_link(db: Session, token: str, password: str, visitor: Visitor, email: str = "", name: str = "") -> SignedIn:
    """Follows a link: makes the owner's account, or sets the password; then signs in.

    Raises:
        ApiError: 401, the link was used, ran out, or never was.
        UserError: the address or the password is refused; the link stays good.
    """
    # taking the row away is what uses the link: of two at once, one finds nothing
    query = delete(OneTimeLink).where(OneTimeLink.token == digest(token), OneTimeLink.expires > now())
    link = db.execute(query.returning(OneTimeLink.purpose, OneTimeLink.account)).one_or_none()
    if link is None or (link.purpose == "owner" and has_owner(db)):
        raise unauthenticated("This link was used already or is too old: ask for a new one.", "link")
    if link.purpose == "owner":
        account = create(db, email, name, "owner", password, by=By(None, visitor.address))
    else:
        account = db.get_one(Account, link.account)
        if account.disabled is not None:
            raise unauthenticated("This account is disabled.", "link")
        set_password(db, account, password, By(account.id, visitor.address))
    return SignedIn(account, begin_session(db, account, visitor))


# ---------------------------------------------------------------------------------------------------------------------
# A person's data


def export(db: Session, account: Account) -> dict[str, list[dict[str, object]]]:
    """All that is kept of a person, table by table, without what could be used to pass for them."""
    hidden = {"password", "secret", "token"}
    found: dict[str, list[dict[str, object]]] = {}
    for table in Base.metadata.sorted_tables:
        column = {"accounts": "id", "audit": "actor"}.get(table.name, "account")
        if column not in table.c:
            continue
        rows = db.execute(select(table).where(table.c[column] == account.id)).mappings()
        found[table.name] = [
            {key: value.hex() if isinstance(value, bytes) else value for key, value in row.items() if key not in hidden}
            for row in rows
        ]
    return found


def forget(db: Session, account: Account, by: By) -> None:
    """Takes away all that is personal. Sums of usage keep the account's number; the audit log keeps that and addresses.

    Raises:
        UserError: nobody would own the service any more.
    """
    keep_an_owner(db, account)
    for table in reversed(Base.metadata.sorted_tables):
        if table.info.get("personal") == "delete":
            db.execute(delete(table).where(table.c.account == account.id))
    db.execute(
        update(Account)
        .where(Account.id == account.id)
        .values(email=None, name="", password=None, issuer=None, subject=None, consent=False)
        .values(disabled=now(), forgotten=now())
    )
    record(db, by, "account.forgotten", account)
