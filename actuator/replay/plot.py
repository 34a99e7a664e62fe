"""The story of a replay as a picture: each knob as it was recorded, and where the rules wanted it.

matplotlib is optional (the extra `plot`), so it is imported only when there is something to draw.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from actuator.knobs import KNOBS, Unit, Value, label
from actuator.replay.run import Key, Story, Track

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS = 16
_SUFFIXES = (".svg", ".png", ".pdf")
_SCALES = {Unit.BYTES: (2**20, "MiB"), Unit.MILLISECONDS: (1, "ms"), Unit.SECONDS: (1, "s")}
_MARKERS = "ov^sDP*X"


class PlotError(Exception):
    """It cannot be drawn; the message says why and what to do."""


def path(text: str) -> Path:
    """The file to draw into; ValueError if its name does not say what kind of picture it is."""
    if Path(text).suffix not in _SUFFIXES:
        raise ValueError(f"{text!r} must end in {', '.join(_SUFFIXES)}: that says what to draw")
    return Path(text)


def require() -> None:
    """Raises PlotError without matplotlib."""
    if find_spec("matplotlib") is None:
        raise PlotError("--plot needs matplotlib, which is not here: pip install matplotlib")


def draw(story: Story, file: Path) -> int:
    """Draw the targets that rules wanted to change, those with most decisions first; returns how many are left out.

    Raises PlotError.
    """
    require()
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its fonts
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    moved = {key: track for key, track in story.tracks.items() if track.setpoints}
    if not moved:
        raise PlotError("there is nothing to plot: no rule wanted to change anything")
    chosen = sorted(moved, key=lambda key: -len(moved[key].setpoints))[:MOST_PANELS]
    rules = list(dict.fromkeys(rule for key in chosen for _, _, rule in moved[key].setpoints))
    figure = Figure(figsize=(12, 1 + 2.2 * len(chosen)), layout="constrained")
    panels: list[Axes] = list(figure.subplots(len(chosen), 1, sharex=True, squeeze=False)[:, 0])
    for panel, key in zip(panels, sorted(chosen), strict=True):
        _panel(panel, key, moved[key], rules)
        for start, end in story.gaps:
            panel.axvspan(_date(start), _date(end or story.last), color="0.9", zorder=0)  # type: ignore[arg-type]
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    panels[-1].xaxis.set_major_locator(locator)
    panels[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    handles = {
        name: handle for panel in panels for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, fontsize="small")
    try:
        figure.savefig(file)
    except OSError as error:
        raise PlotError(f"cannot write {file}: {error.strerror}") from None
    return len(moved) - len(chosen)


def _panel(panel: Axes, key: Key, track: Track, rules: Sequence[str]) -> None:
    """One target: its recorded value as a line, and a mark where a rule wanted it, named at its first."""
    knob, target = key
    scale, unit = _SCALES.get(KNOBS[knob].unit, (1, ""))
    words = [value for _, value, *_ in (*track.recorded, *track.simulated, *track.setpoints)]
    places = {word: at for at, word in enumerate(dict.fromkeys(one for one in words if isinstance(one, str)))}

    def place(value: Value) -> float:
        return places[value] if isinstance(value, str) else value / scale

    panel.set_title(f"{knob} ({label(target)})", loc="left", fontsize="medium")
    panel.set_ylabel(unit)
    panel.grid(alpha=0.3)
    if places:
        panel.set_yticks(list(places.values()), list(places))
    lines = (("as it was recorded", "0.4", track.recorded), ("as simulated", "C0", track.simulated))
    for name, color, points in lines:
        if points:
            times, values = zip(*((_date(time), place(value)) for time, value in points), strict=True)
            panel.step(times, values, where="post", color=color, label=name)
    for number, rule in enumerate(rules):
        marks = [(_date(time), place(value)) for time, value, name in track.setpoints if name == rule]
        if marks:
            times, values = zip(*marks, strict=True)
            panel.plot(
                times, values, _MARKERS[number % len(_MARKERS)], color=f"C{number % 10}", markersize=4, label=rule
            )
            panel.annotate(rule, marks[0], xytext=(4, 4), textcoords="offset points", fontsize="x-small")


def _date(time: float) -> datetime:
    return datetime.fromtimestamp(time)
