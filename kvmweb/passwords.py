"""Passwords against bcrypt hashes, which are slow on purpose: what that may cost the scrapes is bounded here.

A check takes 60 ms at cost 10 and twice as long with each one more. Hence what was right once is remembered, one check
runs at a time, and few of each client address wait for it: a flood of guesses from one address delays the first scrape
of another by a few checks, and later ones not at all.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future

import bcrypt

_HASH = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_COSTS = range(4, 32)

_USED_BYTES = 72
"""bcrypt knows no more of a password."""

_MOST_REMEMBERED = 256
_MOST_WAITING = 4  # of a client, each with another user or password


class Busy(Exception):  # noqa: N818 - it names the state
    """Too many other passwords of this client wait to be checked."""


def checked_hash(text: str) -> str:
    """A bcrypt hash, as `htpasswd -nB` makes it; `ValueError` if it is none. The text is a secret: it is not shown."""
    match = _HASH.fullmatch(text)
    if match is None or int(match[1]) not in _COSTS:
        raise ValueError("not a bcrypt hash: make one with `htpasswd -nBC 10 USER`, and give what follows USER:")
    return text


def cost(bcrypt_hash: str) -> int:
    """The logarithm of how many rounds a check takes."""
    return int(bcrypt_hash[4:6])


class Passwords:
    """Checks passwords; safe to use from several threads."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        # Digests, so that no password stays in memory, of user, hash and password: a new hash is checked anew.
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._checks: dict[bytes, Future[bool]] = {}
        self._waiting: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._one_check = threading.Lock()

    def are_right(self, users: Mapping[str, str], user: str, password: str, client: str) -> bool:
        """Whether `users` has this user with the hash of this password; as slow for a user that is not there.

        Those who ask the same at once share one check. `Busy` if too many others of the client wait.
        """
        known = users.get(user)
        wanted = known or _dummy(users)
        digest = self._digest(user, wanted, password)
        with self._lock:
            if digest in self._right:
                self._right.move_to_end(digest)
                return True
            check = self._checks.get(digest)
            is_mine = check is None
            if check is None:
                if self._waiting[client] >= _MOST_WAITING:
                    raise Busy
                self._waiting[client] += 1
                check = self._checks[digest] = Future()
        if is_mine:
            is_right = False
            try:
                with self._one_check:
                    is_right = _is_of(wanted, password) and known is not None
            finally:
                self._finish(digest, client, is_right=is_right)
        return check.result()

    def _finish(self, digest: bytes, client: str, *, is_right: bool) -> None:
        with self._lock:
            self._waiting[client] -= 1
            self._waiting += Counter()  # drops the zeros
            check = self._checks.pop(digest)
            if is_right:
                self._remember(digest)
        check.set_result(is_right)

    def _remember(self, digest: bytes) -> None:
        self._right[digest] = None
        if len(self._right) > _MOST_REMEMBERED:
            self._right.popitem(last=False)

    def _digest(self, user: str, bcrypt_hash: str, password: str) -> bytes:
        parts = (user, bcrypt_hash, password)
        text = b"".join(len(part.encode()).to_bytes(8, "big") + part.encode() for part in parts)
        return hmac.digest(self._key, text, hashlib.sha256)


def _is_of(bcrypt_hash: str, password: str) -> bool:
    return bcrypt.checkpw(password.encode()[:_USED_BYTES], bcrypt_hash.encode())


def _dummy(users: Mapping[str, str]) -> str:
    """What an unknown user's password is checked against: as slow as the slowest, and nobody's."""
    return f"$2b${max(map(cost, users.values())):02}${'.' * 53}"
