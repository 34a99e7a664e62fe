"""As a program: what becomes of a write to each knob, by whatever user runs it, with nothing left changed.

`python -m tests.lab.writes LIBVIRT_URI KNOB...` prints a JSON object: knob -> what was wrong, or "".
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from actuator import knobs
from actuator.knobs import Knob, KnobError, Libvirt, Live, Value
from actuator.knobs.files import FileKnob
from kvmhost.fs import HostFS
from tests.programs import wait_until


def problem(knob: Knob) -> str | None:
    """What was wrong with a write to any of its targets; None if there is none that could be written now."""
    for target, live in knob.live().items():
        if live.refusal:
            continue
        # A file gets another value and its own again; for the rest, its own is as good for a test of rights.
        values = (other(live), live.value) if isinstance(knob, FileKnob) else (live.value,)
        try:
            for value in values:
                knob.write(target, value)
        except KnobError as error:
            return str(error)
        return ""
    return None


def other(live: Live) -> Value:
    """A value that it may have now, and has not."""
    if isinstance(live.value, str):
        return next(word for word in live.words if word != live.value)
    low, high = live.low or 0, live.high or 0
    return live.value - 1 if live.value > low else min(live.value + 1, high)


if __name__ == "__main__":
    with Libvirt(sys.argv[1], Path("/"), time.time, readonly=False) as libvirt:
        on_host = knobs.connect(HostFS(), libvirt, time.time)
        if any("domain" in on_host[name].keys for name in sys.argv[2:]):
            wait_until(libvirt.is_complete, "the guests are known")
        found = {name: problem(on_host[name]) for name in sys.argv[2:]}
    print(json.dumps({name: what for name, what in found.items() if what is not None}))
