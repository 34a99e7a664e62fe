"""The kernel's list format for CPUs and nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmhost import cpulist


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("", set()),
        ("\n", set()),
        ("0", {0}),
        ("0-3\n", {0, 1, 2, 3}),
        ("0-1,8", {0, 1, 8}),
        ("5,1-2,2-3", {1, 2, 3, 5}),
        ("7-7", {7}),
    ],
)
def test_parse(text: str, members: set[int]) -> None:
    assert cpulist.parse(text) == members


@pytest.mark.parametrize(
    "text", ["-", "1-", "-1", "a", "0-3,", ",", "1;2", "1 2", "0-3:2", "^1", "0x1", "²", "1_0", "0-999999"]
)
def test_parse_refuses_and_shows_the_text(text: str) -> None:
    with pytest.raises(ValueError, match="is not a CPU list: write it like 0-3,8") as refusal:
        cpulist.parse(text)
    assert repr(text) in str(refusal.value)


def test_parse_refuses_a_range_that_runs_backwards() -> None:
    with pytest.raises(ValueError, match="the range 7-5 runs backwards"):
        cpulist.parse("0-3,7-5")


@pytest.mark.parametrize(
    ("members", "text"),
    [((), ""), ((4,), "4"), ((0, 1), "0-1"), ((8, 0, 3, 1, 2), "0-3,8"), ((5, 5), "5"), ((1, 3, 5), "1,3,5")],
)
def test_format(members: tuple[int, ...], text: str) -> None:
    assert cpulist.format(members) == text


@given(st.frozensets(st.integers(min_value=0, max_value=99_999)))
def test_format_and_parse_are_inverse(members: frozenset[int]) -> None:
    assert cpulist.parse(cpulist.format(members)) == members
