"""A scene as a frame for the terminal (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from actuator.data.printable import printable
from actuator.decision import Decision, shown
from actuator.knobs import label
from actuator.top.scene import Guest, KnobRow, Scene
from kvmhost.units import format_bytes, format_seconds

_BARS = "▁▂▃▄▅▆▇█"
_NOTHING = "-"
_BAR_WIDTH, _SPARK_WIDTH = 10, 20
_TEXT_WIDTH = 15  # enough of a name to know it
_FIXED_LINES = 10  # four about the host, and three headings with an empty line before each
_SHORT, _BUSY = 0.10, 0.10

_STYLES = {
    "written": "green",
    "restored": "green",
    "paused": "yellow",
    "failed": "red",
    "refused": "red",
    "drifted": "red",
    "quarantined": "red",
    "not restored": "red",
}


def frame(scene: Scene, width: int, height: int) -> RenderableType:
    """All of it in `height` lines of `width` cells; of a list that is too long, how many more there are."""
    lists = (scene.knobs, scene.guests, scene.decisions)
    knobs, guests, decisions = shares([max(len(of), 1) for of in lists], height - _FIXED_LINES)
    return Group(
        _head(scene),
        _data(scene),
        _memory(scene),
        _pressure(scene),
        Text(),
        _knobs(scene, knobs, width),
        Text(),
        _guests(scene, guests, width),
        Text(),
        Text("LAST DECISIONS", "bold"),
        *_decisions(scene.decisions, decisions),
    )


def shares(wants: Sequence[int], lines: int) -> list[int]:
    """How many lines each gets: what it wants, or as much as the others that want more; each has one at least."""
    given = [1 for _ in wants]
    while sum(given) < lines and any(have < want for have, want in zip(given, wants, strict=True)):
        poorest = min((index for index in range(len(wants)) if given[index] < wants[index]), key=given.__getitem__)
        given[poorest] += 1
    return given


def spark(values: Sequence[float], width: int, low: float | None = None, high: float | None = None) -> str:
    """The newest values as bars between `low` and `high`, by default the smallest and the largest of them."""
    newest = values[-width:]
    if not newest:
        return ""
    bottom, top = min(newest) if low is None else low, max(newest) if high is None else high
    steps = len(_BARS) - 1
    heights = (round((value - bottom) / (top - bottom) * steps) if top > bottom else 0 for value in newest)
    return "".join(_BARS[min(max(height, 0), steps)] for height in heights)


def _line(text: str = "", style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _head(scene: Scene) -> Text:
    line = _line(f"{datetime.fromtimestamp(scene.time):%H:%M:%S}  ")
    status = scene.status
    if scene.why_idle or status is None:
        return line.append("no actuator is at work; `kvmtune-actuator status` says why", "bold red")
    line.append("the actuator applies its decisions" if status.mode == "apply" else "dry run", "bold")
    if status.paused:
        line.append(f", {printable(status.paused.text)}", "bold yellow")
    line.append(f", last tick {format_seconds(max(round(scene.tick_age_seconds), 0))} ago")
    failed = status.tick.error if status.tick else ""
    return line.append(f"; it failed: {printable(failed)}", "bold red") if failed else line


def _data(scene: Scene) -> Text:
    if scene.no_data:
        return _line(f"no data: {printable(scene.no_data)}", "bold red")
    line = _line(f"data of {scene.source}", "dim")
    rules = scene.status.rules if scene.status and not scene.why_idle else ()
    faulty = [rule.name for rule in rules if rule.faults]
    return line.append(f"; cannot decide: {', '.join(faulty)}", "red") if faulty else line


def _memory(scene: Scene) -> Text:
    host = scene.host
    line = _line("memory    ")
    if host.available is None or not host.total:
        return line.append(_NOTHING)
    available = host.available / host.total
    free = round(available * _BAR_WIDTH)
    line.append("█" * (_BAR_WIDTH - free) + "░" * free, "red" if available < _SHORT else "green")
    line.append(f" {available:.0%} of {format_bytes(int(host.total))} available ")
    line.append(spark(host.available_before, _BAR_WIDTH, 0.0, 1.0), "cyan")
    return line.append(f"  KSM saves {format_bytes(int(host.saved))}" if host.saved else "")


def _pressure(scene: Scene) -> Text:
    line = _line("pressure  ")
    if not scene.host.pressure:
        return line.append(_NOTHING)
    for resource, ratio in sorted(scene.host.pressure.items()):
        line.append(f"{printable(resource)} {ratio:.1%}  ", "red" if ratio > _BUSY else "")
    before = scene.host.memory_before
    line.append(spark(before, _BAR_WIDTH, 0.0, max(_BUSY, *before, 0.0)), "cyan")
    return line.append(f"  swapped {format_bytes(int(scene.host.swapped))}" if scene.host.swapped else "")


def _table(columns: str, rows: Sequence[tuple[Text, ...]], width: int, *, right: str) -> Table:
    """With these columns, of which the first takes the room that is left; those in `right` have numbers.

    In a narrow terminal the last ones are left out: without the first, a row tells nothing.
    """
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="bold")
    room = width
    for index, name in enumerate(columns.split(", ")):
        wide = max([cell_len(name), *(row[index].cell_len for row in rows)]) + 1
        room -= wide if name in right.split(", ") else min(wide, _TEXT_WIDTH)
        if index and room < 0:
            break
        justify: Literal["left", "right"] = "right" if name in right.split(", ") else "left"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis", ratio=None if index else 1)
    return table


def _knobs(scene: Scene, lines: int, width: int) -> Table:
    rows = [_knob(row) for row in scene.knobs]
    table = _table("KNOB, WAS, NOW, LAST 5m, RULE", rows, width, right="WAS, NOW")
    return _filled(table, rows, lines, "nothing is changed or was decided lately")


def _knob(row: KnobRow) -> tuple[Text, ...]:
    knob, target = row.key
    was, now = (_NOTHING if value is None else printable(shown(knob, value)) for value in (row.original, row.now))
    name = f"{label(target)} {knob}" if target else knob
    bars = spark(row.course, _SPARK_WIDTH)
    return Text(printable(name)), Text(was), Text(now), Text(bars, "cyan"), Text(printable(row.rule))


def _guests(scene: Scene, lines: int, width: int) -> Table:
    rows = [_guest(guest) for guest in scene.guests]
    numbers = "ACTUAL, USED, TARGET, MAX, SHARED, CPU, DELAY"
    table = _table(f"GUEST, {numbers}, KSM", rows, width, right=numbers)
    return _filled(table, rows, lines, "none")


def _guest(guest: Guest) -> tuple[Text, ...]:
    sizes = (guest.actual, guest.used, guest.target, guest.maximum, guest.shared)
    is_late = (guest.delay or 0.0) > _BUSY
    return (
        Text(printable(guest.name)),
        *(Text(_NOTHING if size is None else format_bytes(int(size))) for size in sizes),
        Text(_NOTHING if guest.cpu is None else f"{guest.cpu:.2f}"),
        Text(_NOTHING if guest.delay is None else f"{guest.delay:.2f}", "red" if is_late else ""),
        Text(printable(guest.ksm)),
    )


def _decisions(decisions: Sequence[Decision], lines: int) -> list[Text]:
    found = [_line(printable(decision.line), _STYLES.get(decision.outcome, "")) for decision in decisions[-lines:]]
    return found or [Text("none", "dim")]


def _filled(table: Table, rows: Sequence[tuple[Text, ...]], lines: int, nothing: str) -> Table:
    """The table with the rows for which there is room, and how many are left out."""
    room = len(rows) if len(rows) <= lines else lines - 1
    for row in rows[:room]:
        table.add_row(*row[: len(table.columns)])
    if room < len(rows):
        table.add_row(Text(f"and {len(rows) - room} more", "dim"))
    if not rows:
        table.add_row(Text(nothing, "dim"))
    return table
