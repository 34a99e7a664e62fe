"""A pause: while it lasts, the running actuator evaluates its rules and writes nothing.

It is a file in the state directory, so that it outlasts a restart, and that any tool can make or remove it.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from actuator import statefile
from kvmhost import textfile

NAME = "paused.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Times are unix seconds; `until` None: until it is ended. `because`: the operator's words."""

    since: float
    until: float | None = None
    because: str = ""

    @property
    def text(self) -> str:
        """For a person: until when, and why."""
        end = "`kvmtune-actuator resume`" if self.until is None else f"{datetime.fromtimestamp(self.until):%F %T}"
        return f"paused until {end}" + (f": {self.because}" if self.because else "")


def read(directory: Path, now: float) -> Pause | None:
    """The pause that is in force at `now` (unix seconds).

    A file that is there and is not understood is a pause without an end: somebody wanted one.
    """
    path = directory / NAME
    try:
        pause = _decode(textfile.read(path)[0])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        if not os.path.lexists(path):
            return None  # nobody can have put one there, as in a directory that is none of ours
        return Pause(since=now, because=f"{path} is not understood ({error})")
    return pause if pause.until is None or now < pause.until else None


def _decode(content: bytes) -> Pause:
    data: Any = json.loads(content)
    if not isinstance(data, dict):
        raise ValueError("not an object")  # noqa: TRY004 (bad input, not a bad call)
    until = data.get("until")
    times = [time for time in (data.get("since"), until) if time is not None]
    if not all(isinstance(time, int | float) and math.isfinite(time) and 0 <= time < 2**37 for time in times):
        raise ValueError("times are unix seconds")
    return Pause(since=data.get("since") or 0.0, until=until, because=str(data.get("because") or ""))


def begin(directory: Path, pause: Pause) -> None:
    """Put it in force, in place of another; `OSError` if the directory cannot be written.

    On a full disk there is room for a file without content, which is a pause without an end.
    """
    try:
        statefile.replace(directory / NAME, json.dumps(asdict(pause)).encode() + b"\n")
    except OSError as error:
        if not statefile.is_full(error):
            raise
        statefile.replace(directory / NAME, b"")


def end(directory: Path) -> None:
    """End it; `OSError` if the directory cannot be written."""
    (directory / NAME).unlink(missing_ok=True)
