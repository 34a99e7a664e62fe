"""The kernel's list format for sets of CPUs and NUMA nodes, `0-3,8` (pure).

Written by `bitmap_print_to_pagebuf` (lib/bitmap-str.c) in sysfs and in /proc/PID/status, and by libvirt in
domain XML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


def parse(text: str) -> frozenset[int]:
    """The members of a list such as `0-3,8`; empty text is the empty set.

    `ValueError` if it is anything else, a range that runs backwards included.
    """
    members: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"{text.strip()!r} is not a CPU list: write it like 0-3,8")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"{text.strip()!r} is not a CPU list: the range {part} runs backwards")
        members.update(range(first, last + 1))
    return frozenset(members)


def format(members: Iterable[int]) -> str:  # noqa: A001 - read as cpulist.format
    """The shortest list of the members, ascending: `{8, 0, 1, 2, 3}` is `0-3,8`, no members are ``."""
    ranges: list[list[int]] = []
    for member in sorted(set(members)):
        if ranges and member == ranges[-1][1] + 1:
            ranges[-1][1] = member
        else:
            ranges.append([member, member])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
