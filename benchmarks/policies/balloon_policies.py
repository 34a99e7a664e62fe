"""The balloon policies that are measured: the autopilot's, and those of the peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TOP = Path(__file__).parents[2]
_WIDE = _TOP / "rules/peers/policy/wide.yml"
_OWN = _TOP / "actuator/rules/policy.yml"

AUTOPILOT = "autopilot"


@dataclass(frozen=True, slots=True)
class Source:
    """Files with rules, and the one with the policy that they run under."""

    files: tuple[Path, ...]
    policy: Path


RULES: Mapping[str, Source] = {
    AUTOPILOT: Source((_TOP / "rules/autopilot/balloon.yml",), _OWN),
    "MOM": Source((_TOP / "rules/peers/mom-balloon.yml",), _WIDE),
    "Proxmox": Source((_TOP / "rules/peers/proxmox-balloon.yml",), _WIDE),
    "qmemman": Source((_TOP / "rules/peers/qmemman.yml",), _WIDE),
    "squeezed": Source((_TOP / "rules/peers/squeezed.yml",), _WIDE),
}
PEERS = tuple(name for name in RULES if name != AUTOPILOT)
