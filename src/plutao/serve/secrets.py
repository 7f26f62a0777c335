"""Secrets: random tokens of which only a digest is kept, and the one key that seals what must be read again."""

import hashlib
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from plutao.errors import UserError

FILE = "plutao.key"
VARIABLE = "PLUTAO_SECRET_KEY"


def new_token() -> str:
    """256 random bits, as text that fits a cookie or an address."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is kept of a token. It is random, so that nothing slower than SHA-256 is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def same(a: str, b: str) -> bool:
    """Compares in a time that tells nothing."""
    return secrets.compare_digest(a.encode(), b.encode())


class Sealer:
    """Seals text with the service's key: nobody without it can read or change what was sealed."""

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(key)

    def seal(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def unseal(self, sealed: str, seconds: int | None = None) -> str | None:
        """The text; None where it was changed, sealed with another key, or is older than `seconds`."""
        try:
            return self._fernet.decrypt(sealed.encode(), ttl=seconds).decode()
        except (InvalidToken, UnicodeDecodeError, ValueError):
            return None


def load_sealer(root: Path) -> Sealer:
    """The service's key: that of the environment, else of the file `plutao.key` that only its owner can read, made if new.

    Raises:
        UserError: the key is not one, or others can read its file.
    """
    given = os.environ.get(VARIABLE)
    key = given.encode() if given else read_key(root / FILE)
    try:
        return Sealer(key)
    except ValueError as error:
        where = VARIABLE if given else str(root / FILE)
        raise UserError(
            f"{where} holds no key (32 bytes in base64): take it away, and the next start makes one."
        ) from error


def read_key(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise UserError(f"Others can read {path}: `chmod 600 {path}` keeps it to you.") from None
        return path.read_bytes().strip()
    key = Fernet.generate_key()
    with os.fdopen(descriptor, "wb") as file:
        file.write(key + b"\n")
    return key
