"""Lines over time as a picture: a small writer of SVG (pure).

matplotlib is an extra of the project (`plot`), and a page that is written into the repository should be the same text
wherever it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, PANEL_HEIGHT = 860, 200
_LEFT, _RIGHT, _TOP, _GAP = 64, 150, 34, 46
COLORS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b")


@dataclass(frozen=True, slots=True)
class Line:
    """Values at times, joined in straight lines."""

    name: str
    times: Sequence[float]
    values: Sequence[float]
    color: str
    is_dashed: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines that share an axis, which begins at 0."""

    title: str
    unit: str
    lines: Sequence[Line]


def draw(title: str, panels: Sequence[Panel]) -> str:
    """The picture, its panels one below the other; times are seconds."""
    height = _TOP + len(panels) * (PANEL_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, _TOP + number * (PANEL_HEIGHT + _GAP))
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel, top: float) -> list[str]:
    first = min(line.times[0] for line in panel.lines)
    last = max(line.times[-1] for line in panel.lines)
    most = 1.08 * max(max(line.values) for line in panel.lines) or 1.0
    right, low, height = WIDTH - _RIGHT, top + PANEL_HEIGHT, PANEL_HEIGHT - 18

    def x(time: float) -> float:
        return _LEFT + (time - first) / (last - first) * (right - _LEFT)

    def y(value: float) -> float:
        return low - value / most * height

    parts = [f'<text x="{_LEFT}" y="{top + 10}">{escape(panel.title)}, {escape(panel.unit)}</text>']
    step = _round_step(most / 4)
    for mark in range(int(most / step) + 1):
        at = y(mark * step)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{mark * step:g}</text>')
    step = _round_step((last - first) / 6)
    marks = range(int(first / step) + bool(first % step), int(last / step) + 1)
    parts += [
        f'<text x="{x(mark * step):.1f}" y="{low + 16}" text-anchor="middle">{mark * step:g} s</text>' for mark in marks
    ]
    for number, line in enumerate(panel.lines):
        points = " ".join(f"{x(time):.1f},{y(value):.1f}" for time, value in zip(line.times, line.values, strict=True))
        dash = ' stroke-dasharray="5 4"' if line.is_dashed else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{line.color}" stroke-width="1.6"{dash}/>')
        at = top + 24 + 18 * number
        parts.append(f'<path d="M{right + 10} {at - 4}h22" stroke="{line.color}" stroke-width="2"{dash}/>')
        parts.append(f'<text x="{right + 37}" y="{at}">{escape(line.name)}</text>')
    return parts


def _round_step(value: float) -> float:
    """The next of 1, 2, 5, 10, 20 and so on."""
    size = 1.0
    while size < value:
        size *= 10
    return float(next(one for one in (size / 10, size / 5, size / 2, size) if one >= value))
