"""The balloon policies that are measured: the autopilot's, and those of the peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.policies import quick

_TOP = Path(__file__).parents[2]
_WIDE = _TOP / "rules/peers/policy/wide.yml"
_OWN = _TOP / "actuator/rules/policy.yml"

AUTOPILOT = "autopilot"


@dataclass(frozen=True, slots=True)
class Source:
    """Rules as text, and the file with the policy that they run under."""

    rules: str
    policy: Path


def _peer(name: str) -> Source:
    return Source((_TOP / f"rules/peers/{name}.yml").read_text(), _WIDE)


RULES: Mapping[str, Source] = {
    AUTOPILOT: Source(quick.rules(quick.RULES.read_text(), 1, "balloon"), _OWN),
    "MOM": _peer("mom-balloon"),
    "Proxmox": _peer("proxmox-balloon"),
    "qmemman": _peer("qmemman"),
    "squeezed": _peer("squeezed"),
}
PEERS = tuple(name for name in RULES if name != AUTOPILOT)
