"""Durations and sizes as operators write them (pure).

Durations are Prometheus' (`1m30s`, `500ms`), sizes are IEC (`64MiB`); nothing is guessed from a bare number.
"""

from __future__ import annotations

import re

_DURATION_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
DURATION = re.compile("".join(rf"(?:([0-9]{{1,9}}){unit})?" for unit in _DURATION_SECONDS))
_TOO_LONG = re.compile("".join(rf"(?:[0-9]+{unit})?" for unit in _DURATION_SECONDS))
_LONGEST_DAYS = 36500  # far beyond any use, and still within what a timed wait of the system accepts
_SIZE_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?(B|KiB|MiB|GiB|TiB)")


def duration_seconds(text: str) -> float:
    """Seconds of a Prometheus duration such as `5s`, `1m30s` or `500ms`; `ValueError` says what is wrong."""
    match = DURATION.fullmatch(text)
    if match is None and _TOO_LONG.fullmatch(text):
        raise ValueError(f"{text!r} is too long: write at most {_LONGEST_DAYS}d")
    if not text or match is None:
        raise ValueError(f"{text!r} is not a duration: write it like 15s, 1m30s, 2h or 500ms")
    amounts = zip(match.groups(), _DURATION_SECONDS.values(), strict=True)
    total = sum(int(amount) * seconds for amount, seconds in amounts if amount)
    if total > _LONGEST_DAYS * _DURATION_SECONDS["d"]:
        raise ValueError(f"{text!r} is too long: write at most {_LONGEST_DAYS}d")
    return total


def size_bytes(text: str) -> int:
    """Bytes of a size such as `64MiB` or `1.5GiB`; `ValueError` says what is wrong."""
    match = SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size: write it like 512MiB or 2GiB (B, KiB, MiB, GiB, TiB)")
    return round(float(match[1]) * _SIZE_BYTES[match[2]])


def format_bytes(count: int) -> str:
    """`268435456` as `256 MiB`: the largest unit that leaves a number of at least 1."""
    for unit in reversed(_SIZE_BYTES):
        if abs(count) >= _SIZE_BYTES[unit]:
            return f"{round(count / _SIZE_BYTES[unit], 1):g} {unit}"
    return f"{count} B"


def format_seconds(seconds: float) -> str:
    """`90.0` as `1m30s`, `0.5` as `500ms`: the inverse of `duration_seconds`, to the millisecond."""
    milliseconds = round(seconds * 1000)
    parts = []
    for unit, unit_seconds in _DURATION_SECONDS.items():
        count, milliseconds = divmod(milliseconds, round(unit_seconds * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
