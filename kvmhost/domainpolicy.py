"""The policy that a domain has in its own metadata (pure).

virsh metadata web-1 urn:kvmtune:policy:1 --key kvmtune --set '<policy min_guarantee="1GiB"/>' --live --config
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar, get_args
from xml.etree.ElementTree import Element

from kvmhost.domains import DeclaredPolicy, PinClass
from kvmhost.units import size_bytes
from kvmhost.yamltree import suggestion

NAMESPACE = "urn:kvmtune:policy:1"
ATTRIBUTES = ("min_guarantee", "shares", "pin", "opt_out")
PINS: tuple[PinClass, ...] = get_args(PinClass)

_SHARES = re.compile(r"[1-9][0-9]{0,8}")
_T = TypeVar("_T")


def parse(found: Iterable[Element]) -> DeclaredPolicy:
    """The policy of `<policy>` elements, of which there should be one at most. A malformed one says so in `faults`."""
    elements = list(found)
    if not elements:
        return DeclaredPolicy()
    faults = [f"there are {len(elements)}"] if len(elements) > 1 else []
    said = elements[0].attrib
    faults += [f"unknown attribute {name}" for name in said if name not in ATTRIBUTES]
    faults += [
        f"unknown element {child.tag.rpartition('}')[2]}: the policy is said in attributes" for child in elements[0]
    ]

    def value(name: str, read: Callable[[str], _T]) -> _T | None:
        try:
            return read(said[name]) if name in said else None
        except ValueError as error:
            faults.append(f"{name}: {error}")
            return None

    return DeclaredPolicy(
        min_guarantee_bytes=value("min_guarantee", size_bytes),
        shares=value("shares", shares),
        pin=value("pin", pin),
        opt_out=value("opt_out", truth) or False,
        faults=tuple(faults),
    )


def shares(text: str) -> int:
    """A weight; `ValueError` says what is wrong."""
    if not _SHARES.fullmatch(text):
        raise ValueError(f"{text!r} is not a whole number of shares, from 1 to 999999999")
    return int(text)


def pin(text: str) -> PinClass:
    """A pin class; `ValueError` says which there are."""
    for known in PINS:
        if text == known:
            return known
    raise ValueError(f"unknown {text!r}{suggestion(text, PINS)}")


def truth(text: str) -> bool:
    """`true` or `false`; `ValueError` for anything else."""
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"
