"""The messages that docs/operations.md explains are ones that the programs print."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs/operations.md").read_text()
MESSAGES = re.findall(r"^\| `([^`]+)`(?: and its like)? \|", PAGE.partition("\n### Messages")[2], re.M)
PRINTED = [
    constant.value
    for folder in ("actuator", "exporter", "kvmhost", "kvmweb")
    for path in (TOP / folder).rglob("*.py")
    for constant in ast.walk(ast.parse(path.read_text()))
    if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
]


def test_there_are_messages() -> None:
    assert len(MESSAGES) >= 30


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_printed_somewhere(message: str) -> None:
    """Its `...` are what a message is about, such as the name of a guest, and end a part of it."""
    for part in filter(str.strip, message.split("...")):
        assert any(part in text for text in PRINTED), part


def test_what_a_restore_may_say_is_explained() -> None:
    results = re.findall(r"^\| `([a-z ]+)` \|", PAGE.partition("\n| result |")[2].partition("\n\n")[0], re.M)
    text = (TOP / "actuator/restore.py").read_text()
    (named,) = re.findall(r"^Result = Literal\[(.*)\]$", text, re.M)
    assert results == re.findall(r'"([^"]+)"', named)
