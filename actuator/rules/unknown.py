"""What to say of a knob that there is not (pure)."""

from __future__ import annotations

import difflib

from actuator.knobs import KNOBS


def unknown_knob(name: str) -> str:
    """With the knob that may have been meant, or those of the same kind."""
    area, _, last = name.rpartition(".")
    prefix = f"{area}." if any(knob.startswith(f"{area}.") for knob in KNOBS) else ""
    kin = {knob.removeprefix(prefix): knob for knob in KNOBS if knob.startswith(prefix)}
    if close := difflib.get_close_matches(last if prefix else name, kin, n=1):
        return f"unknown knob {name!r} (did you mean {kin[close[0]]!r}?)"
    if prefix:
        return f"unknown knob {name!r}: of {area} there are {', '.join(kin)}; see docs/knobs.md"
    areas = sorted({knob.rpartition(".")[0] for knob in KNOBS})
    return f"unknown knob {name!r}: docs/knobs.md lists those of {', '.join(areas)}"
