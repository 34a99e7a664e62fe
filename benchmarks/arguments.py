"""What the options of several benchmarks have in common."""

from __future__ import annotations

import argparse


def counts(text: str) -> tuple[int, ...]:
    """Numbers with commas between, each once, in order."""
    return tuple(sorted({count(one) for one in text.split(",")}))


def count(text: str) -> int:
    """A number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)
