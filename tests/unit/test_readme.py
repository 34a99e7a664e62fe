"""The numbers of the README are those of the benchmarks' pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
TABLE = (TOP / "README.md").read_text().partition("\n## What it costs\n")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| .*\]\((docs/benchmarks/[\w-]+\.md)\).*? \| (.*) \|$", TABLE, re.M)


def test_there_are_numbers() -> None:
    assert len(ROWS) >= 5


@pytest.mark.parametrize(("page", "cells"), ROWS)
def test_a_number_is_one_that_was_measured(page: str, cells: str) -> None:
    measured = re.findall(r"\d+(?:\.\d+)?", (TOP / page).read_text())
    assert set(re.findall(r"\d+(?:\.\d+)?", cells)) <= set(measured)
