"""Passwords: who is let in, and what the slow checks may cost."""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import bcrypt
import pytest

from kvmweb.passwords import Busy, Passwords, checked_hash


def hashed(password: str, cost: int = 4) -> str:
    # Always the same salt: hashes are in the ids of tests, which processes that share the tests must agree on.
    return bcrypt.hashpw(password.encode(), b"$2b$%02d$" % cost + b"u" * 22).decode()


USERS = {"prometheus": hashed("secret"), "ümlaut": hashed("pässword"), "long": hashed("a" * 72)}


@pytest.mark.parametrize(
    ("user", "password", "is_right"),
    [
        ("prometheus", "secret", True),
        ("prometheus", "Secret", False),
        ("prometheus", "", False),
        ("prometheus", "secret\0", False),
        ("Prometheus", "secret", False),
        ("", "secret", False),
        ("ümlaut", "pässword", True),
        # As in all of bcrypt, a password's first 72 bytes are all of it.
        ("long", "a" * 100, True),
        ("long", "a" * 71, False),
    ],
)
def test_who_is_let_in(user: str, password: str, is_right: bool) -> None:
    passwords = Passwords()
    for _ in range(2):
        assert passwords.are_right(USERS, user, password, "client") is is_right


def test_hashes_of_htpasswd_are_understood() -> None:
    # From exporter-toolkit's documentation of its test users: `htpasswd -nBC 10`.
    users = {"u": USERS["prometheus"].replace("$2b$", "$2y$")}
    assert Passwords().are_right(users, "u", "secret", "client")


def test_what_was_right_once_is_remembered_until_the_hash_changes() -> None:
    passwords = Passwords()
    slow = {"u": hashed("secret", 10)}
    assert passwords.are_right(slow, "u", "secret", "client")
    started = time.thread_time()
    assert passwords.are_right(slow, "u", "secret", "client")
    assert time.thread_time() - started < 0.01
    assert not passwords.are_right({"u": hashed("other")}, "u", "secret", "client")


def test_an_unknown_user_takes_as_long_as_the_slowest_known_one() -> None:
    users = {"quick": hashed("x", 4), "slow": hashed("x", 9)}
    passwords = Passwords()

    def seconds(user: str) -> float:
        started = time.thread_time()
        passwords.are_right(users, user, f"wrong {started}", "client")
        return time.thread_time() - started

    pairs = [(seconds("slow"), seconds("nobody")) for _ in range(5)]  # in turn: the machine may be busy meanwhile
    known, unknown = map(statistics.median, zip(*pairs, strict=True))
    assert unknown == pytest.approx(known, rel=0.5)


def test_those_who_ask_the_same_at_once_share_one_check() -> None:
    passwords = Passwords()
    users = {"u": hashed("secret", 10)}
    together = threading.Barrier(50)

    def ask(number: int) -> bool:
        together.wait()
        return passwords.are_right(users, "u", "secret" if number % 2 else "guess", "client")

    started = time.process_time()
    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(ask, range(50))) == [False, True] * 25
    # Two checks of 60 ms, and not fifty; late threads may need another one of the guess.
    assert time.process_time() - started < 1.5


def test_guesses_of_one_client_are_refused_when_too_many_wait_and_leave_others_their_turn() -> None:
    passwords = Passwords()
    users = {"u": hashed("secret", 10)}
    together = threading.Barrier(30)

    def guess(number: int) -> bool | None:
        together.wait()
        try:
            return passwords.are_right(users, "u", f"guess {number}", "attacker")
        except Busy:
            return None

    with ThreadPoolExecutor(30) as pool:
        guesses = [pool.submit(guess, number) for number in range(29)]
        together.wait()
        assert passwords.are_right(users, "u", "secret", "prometheus")
        outcomes = [each.result() for each in guesses]
    assert True not in outcomes
    assert None in outcomes
    # None of this is held against the client later.
    assert passwords.are_right(users, "u", "secret", "attacker")


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        "$apr1$abc$def",
        USERS["prometheus"][:-1],
        USERS["prometheus"] + "x",
        USERS["prometheus"].replace("$2b$", "$2$"),
        USERS["prometheus"].replace("$04$", "$03$"),
        USERS["prometheus"].replace("$04$", "$32$"),
        "$2b$10$" + "z" * 53,
    ],
)
def test_what_is_no_hash_is_refused_and_never_shown(text: str) -> None:
    with pytest.raises(ValueError, match="not a bcrypt hash: make one with `htpasswd") as caught:
        checked_hash(text)
    assert text not in str(caught.value)
