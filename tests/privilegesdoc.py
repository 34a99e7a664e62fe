"""The parts of docs/privileges.md that the knobs say of themselves, between its marks, and its example for tmpfiles.d.

`make golden` writes them anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from actuator.knobs import KNOBS
from actuator.knobs.files import FileKnob
from actuator.knobs.privilege import SYS_FILE, Privilege

PAGE = Path(__file__).parents[1] / "docs/privileges.md"
TMPFILES = Path(__file__).parents[1] / "packaging/examples/tmpfiles.d/kvmtune-knobs.conf"

_HEAD = """\
# Lets the user kvmtune write to knobs without any capability. As /etc/tmpfiles.d/kvmtune-knobs.conf, without those that
# your rules do not set; then: systemd-tmpfiles --create
"""


def written() -> str:
    """The whole page, as it is but for what lies between the marks."""
    text = PAGE.read_text()
    for name, part in (("knobs", _table()), ("tmpfiles", f"```\n{_tmpfiles()}```")):
        mark = rf"(<!-- {name}: written by `make golden` -->\n).*?(<!-- end of {name} -->)"
        text, found = re.subn(mark, lambda marks, part=part: f"{marks[1]}\n{part}\n\n{marks[2]}", text, flags=re.S)
        assert found == 1, f"{PAGE} has no marks of {name}"
    return text


def _table() -> str:
    of: dict[Privilege, list[str]] = {}
    for name, knob in KNOBS.items():
        of.setdefault(knob.privilege, []).append(name)
    rows = [f"| {_names(names)} | {privilege.needs} | {_grant(privilege)} |" for privilege, names in of.items()]
    return "\n".join(["| knobs | a write needs | how to grant it |", "|---|---|---|", *rows])


def _names(names: list[str]) -> str:
    """`ksm.*` where all knobs of an area are meant."""
    shown: list[str] = []
    for name in names:
        area = name.rpartition(".")[0]
        whole = {other for other in KNOBS if other.startswith(f"{area}.")}
        shown.append(f"`{area}.*`" if len(whole) > 1 and whole <= set(names) else f"`{name}`")
    return ", ".join(dict.fromkeys(shown))


def _grant(privilege: Privilege) -> str:
    if privilege.capability:
        return f"`AmbientCapabilities={privilege.capability}`, or [tmpfiles.d](#without-any-capability)"
    if not privilege.rules:
        return "`User=root`, `CapabilityBoundingSet=`"
    rules = " and ".join(f"`{name}`" for name in privilege.rules)
    actions = ", ".join(f"`{action}`" for action in privilege.actions)
    return f"{rules}: {actions}"


def tmpfiles() -> str:
    """The example as a file."""
    return _HEAD + _tmpfiles()


def _tmpfiles() -> str:
    files = [knob.file for knob in KNOBS.values() if issubclass(knob, FileKnob) and knob.privilege is SYS_FILE]
    pools = "sys/devices/system/node/node*/hugepages/hugepages-*/nr_hugepages"
    return "".join(f"z /{file} 0664 root kvmtune\n" for file in (*files, pools))
