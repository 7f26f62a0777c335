"""Passwords: kept as Argon2id, checked in a time that tells nothing, and refused where they are easily guessed."""

import threading

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from plutao.serve.errors import Refusal

SHORTEST, LONGEST = 12, 256


class Passwords:
    """Makes and checks hashes. A check takes 64 MiB for a moment: two at a time, or a flood of sign-ins fills the memory."""

    def __init__(self, hasher: Argon2Hasher | None = None) -> None:
        self._hash = PasswordHash((hasher or Argon2Hasher(),))
        self._turn = threading.BoundedSemaphore(2)
        self._nobody: str | None = None

    def make(self, password: str) -> str:
        with self._turn:
            return self._hash.hash(password)

    def check(self, password: str, kept: str | None) -> tuple[bool, str | None]:
        """Whether it is right, and a new hash where the kept one is weaker than today's.

        Args:
            kept: None where there is no such account, or none with a password: it takes as long, and is wrong.
        """
        right = False
        update = None
        with self._turn:
            if self._nobody is None:
                self._nobody = self._hash.hash("nobody's password")
            try:
                right, update = self._hash.verify_and_update(password[: LONGEST + 1], kept or self._nobody)
            except UnknownHashError:
                return False, None
        return (right, update) if kept is not None else (False, None)


passwords = Passwords()


def check_quality(password: str, email: str, name: str = "") -> None:
    """Refuses a password that is guessed first.

    Raises:
        UserError: too short, too long, hardly any different characters, or made of the person's name or address.
    """
    if len(password) < SHORTEST:
        raise Refusal(
            f"The password is too short: take at least {SHORTEST} characters; a few words make a good one.",
            "password_short",
        )
    if len(password) > LONGEST:
        raise Refusal(f"The password is too long: take at most {LONGEST} characters.", "password_long")
    if len(set(password.lower())) < 6:
        raise Refusal("The password repeats a few characters: take one with more different ones.", "password_repeats")
    plain = password.lower()
    for part in {email.lower(), email.lower().partition("@")[0], name.lower(), "plutao", "plutão", "password", "senha"}:
        if len(part) > 3 and len(plain.replace(part, "")) < 8:
            raise Refusal(
                "The password is little more than a name or address: take one nobody can guess from them.",
                "password_guessed",
            )
    straight = "abcdefghijklmnopqrstuvwxyz 01234567890123456789 qwertyuiopasdfghjklzxcvbnm"
    if plain in straight or plain[::-1] in straight:
        raise Refusal(
            "The password is a row of the alphabet or the keyboard: take a few words that don't belong together.",
            "password_row",
        )
