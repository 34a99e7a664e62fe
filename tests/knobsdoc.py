"""docs/knobs.md, made of what the knobs say of themselves: no knob without its place in the docs.

`make golden` writes it anew.
"""

from __future__ import annotations

import errno
import inspect
from collections.abc import Mapping
from pathlib import Path

from actuator.knobs import KNOBS, Knob, Unit
from actuator.knobs.write import ADVICE

PAGE = Path(__file__).parents[1] / "docs/knobs.md"

AREAS = {
    "ksm": "KSM",
    "hugepages": "Hugepage pools",
    "thp": "Transparent huge pages",
    "khugepaged": "khugepaged",
    "sysctl": "Kernel parameters of memory",
    "balloon": "Balloons",
    "domain": "Domains, from their next start on",
    "vcpu": "vCPU threads",
    "emulator": "QEMU's own threads",
    "iothread": "I/O threads",
    "tuned": "tuned",
}

_HEAD = """\
# Knobs of kvmtune-actuator

<!-- Written by `make golden` from the code in actuator/knobs: change that. -->

Every knob that a rule can set ([rules.md](rules.md) says how). A setpoint is a number in the knob's unit, a CPU list or
a word. The limits here are hard: no policy and no rule goes beyond them; the host may allow less, and then the log says
why. `host` is the one target of a knob of the host; else these labels of a result select the targets. `shown by` is the
metric that shows the present value, in Prometheus' base units: where a factor is named, as `* 1000` of seconds for
milliseconds, a setpoint made of the metric needs it, too. Of a word or a CPU list it is the label that holds it.

A write is read back. What the kernel refuses is told with its cause and the next step; these hold for all files:

"""


def written() -> str:
    """The whole page."""
    sections = [_section(title, _of(area)) for area, title in AREAS.items()]
    return _HEAD + _errors(ADVICE) + "\n" + "\n".join(sections)


def _of(area: str) -> list[type[Knob]]:
    return [knob for name, knob in KNOBS.items() if name.split(".")[0] == area]


def _section(title: str, knobs: list[type[Knob]]) -> str:
    rows = [
        f"| `{knob.name}` | {_unit(knob)} | {_limits(knob)} | {_target(knob)} | {_metric(knob)} | {knob.summary} |"
        for knob in knobs
    ]
    table = "\n".join(["| knob | unit | limits | target | shown by | what |", "|---|---|---|---|---|---|", *rows])
    notes: dict[str, list[str]] = {}
    for knob in knobs:
        if note := _note(knob):
            notes.setdefault(note, []).append(f"`{knob.name}`")
    told = "".join(f"\n{'All' if len(of) == len(knobs) > 1 else ', '.join(of)}: {note}" for note, of in notes.items())
    return f"## {title}\n\n{_needs(knobs)}\n\n{table}\n{told}"


def _needs(knobs: list[type[Knob]]) -> str:
    of: dict[str, list[str]] = {}
    for knob in knobs:
        of.setdefault(knob.privilege.needs, []).append(f"`{knob.name}`")
    if len(of) == 1:
        return f"A write needs {knobs[0].privilege.needs}."
    return "\n\n".join(f"A write of {', '.join(names)} needs {needs}." for needs, names in of.items())


def _unit(knob: type[Knob]) -> str:
    if knob.unit is Unit.SWITCH:
        return "number"
    return f"{knob.unit.value}, in whole {knob.unit.format(knob.quantum)}" if knob.quantum > 1 else knob.unit.value


def _limits(knob: type[Knob]) -> str:
    if knob.words:
        return ", ".join(f"`{word}`" for word in knob.words)
    if knob.lowest is None:
        return "as the host has them"
    high = "what the host has" if knob.highest is None else knob.unit.format(knob.highest)
    return f"{knob.unit.format(knob.lowest)} to {high}"


def _target(knob: type[Knob]) -> str:
    return ", ".join(f"`{key}`" for key in knob.keys) or "host"


def _metric(knob: type[Knob]) -> str:
    metric = knob.metric
    if metric is None:
        return ""
    labels = [*(f'{name}="{value}"' for name, value in metric.labels), *filter(None, [metric.word])]
    factor = f" * {1 / metric.scale:g}" if metric.scale != 1 else ""
    return f"`{metric.name}{{{', '.join(labels)}}}{factor}`" if labels else f"`{metric.name}{factor}`"


def _note(knob: type[Knob]) -> str:
    about = " ".join((inspect.getdoc(knob) or "").split())
    about = "" if about == " ".join(knob.summary.split()) else about
    errors = f"\n\n{_errors(knob.advice)}" if knob.advice else ""
    return f"{about}{errors}" if errors or not about else f"{about}\n"


def _errors(advice: Mapping[int, str]) -> str:
    return "".join(f"- {errno.errorcode[number]}: {what}.\n" for number, what in advice.items())
