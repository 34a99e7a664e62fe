"""Argument types that both programs use."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from kvmweb.address import parse

T = TypeVar("T")


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """`parse` for argparse, which of a ValueError would not show the text."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def address(text: str) -> str:
    """A listen address; ValueError if it is none."""
    parse(text)
    return text
