"""What a write takes: told by the knobs, granted by the polkit rules that ship."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actuator.knobs import KNOBS
from actuator.knobs.privilege import CONNECTION, GUEST, SYSCTL
from kvmhost.virt import ERR_ACCESS_DENIED, VirtError

RULES = Path(__file__).parents[2] / "packaging/polkit"


def granted(file: str) -> set[str]:
    """The actions that a file of rules allows."""
    (allowed,) = re.findall(r"var allowed = \[(.*?)\];", (RULES / file).read_text(), re.S)
    return set(re.findall(r'"([^"]+)"', allowed))


@pytest.mark.parametrize("name", KNOBS)
def test_the_rules_allow_what_a_knob_takes(name: str) -> None:
    privilege = KNOBS[name].privilege
    assert set(privilege.actions) <= {action for file in privilege.rules for action in granted(file)}


def test_they_allow_nothing_else() -> None:
    """But to look, which kvmtune-exporter does."""
    taken = {action for knob in KNOBS.values() for action in knob.privilege.actions}
    allowed = {action for file in RULES.iterdir() for action in granted(file.name)}
    assert allowed == taken | {*CONNECTION, "org.libvirt.unix.monitor"}


def test_what_is_refused_is_told_with_the_fix() -> None:
    refused = GUEST.refused(VirtError("access denied", ERR_ACCESS_DENIED, "a hint for everyone"))
    assert refused == (
        "access denied; polkit asks for org.libvirt.api.domain.write: "
        "install 60-kvmtune-libvirt.rules (docs/privileges.md)"
    )
    assert GUEST.refused(VirtError("no domain", 42, "it was shut down")) == "no domain; it was shut down"


def test_who_could_not_put_back_what_the_kernel_changes_with_it_does_not_switch_huge_pages() -> None:
    assert KNOBS["thp.enabled"].privilege is SYSCTL
