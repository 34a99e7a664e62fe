"""The numbers of the tour as a picture: SVG, with a bar before and a bar after for each (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from .story import Chapter, Row, Story, Unit

_WIDTH, _LABEL, _BAR, _LINE = 1000, 360, 420, 15
_ROW, _GAP = 2 * _LINE + 8, 14
_BEFORE, _AFTER = "#a0a8b5", "#2f6fb0"


def svg(story: Story) -> str:
    """The whole picture. Rows of words are left out; each pair of bars has a scale of its own."""
    height = 46
    parts = []
    for chapter in story.chapters:
        drawn, height = _chapter(chapter, height)
        parts += drawn
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12" fill="#1f2329">'
    )
    key = (
        _bar(12, 12, 20, _BEFORE), _text(38, 22, "before"),
        _bar(100, 12, 20, _AFTER), _text(126, 22, "after; each pair has a scale of its own"),
    )  # fmt: skip
    background = f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join((head, background, *key, *parts, "</svg>")) + "\n"


def _chapter(chapter: Chapter, top: int) -> tuple[list[str], int]:
    """Its drawing from `top` down, and where it ends."""
    parts = []
    for step in chapter.steps:
        rows = [row for row in step.rows if _has_bars(row)]
        if rows:
            parts.append(_text(12, top + _LINE, f"{chapter.number} {step.name}", "bold"))
            top += _LINE + 8
            for row in rows:
                parts += _pair(row, top)
                top += _ROW
            top += _GAP
    return parts, top


def _has_bars(row: Row) -> bool:
    return row.watch.drawn and row.watch.unit is not Unit.WORD


def _pair(row: Row, top: int) -> Iterator[str]:
    yield _text(_LABEL - 10, top + _LINE + 3, row.watch.what, anchor="end")
    values = [value if isinstance(value, float) else 0.0 for value in (row.before, row.after)]
    most = max(*values, 0.0) or 1.0
    for index, (value, told, color) in enumerate(zip(values, row.texts, (_BEFORE, _AFTER), strict=True)):
        length = max(1, round(_BAR * max(value, 0.0) / most))
        yield _bar(_LABEL, top + index * _LINE, length, color)
        yield _text(_LABEL + length + 6, top + index * _LINE + 11, told)


def _bar(x: int, y: int, width: int, color: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{_LINE - 3}" fill="{color}"/>'


def _text(x: int, y: int, content: str, weight: str = "normal", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" font-weight="{weight}" text-anchor="{anchor}">{escape(content)}</text>'
