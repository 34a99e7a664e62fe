"""The story of a replay for people and programs: what was decided when, and what became of each rule (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime

from actuator.decision import QUIET, Decision
from actuator.knobs import KNOBS, Value, label
from actuator.replay.run import RuleSummary, Story
from kvmhost.units import format_seconds

_HEADER = ("TIME", "RULE", "KNOB", "TARGET", "OUTCOME", "CHANGE", "DETAIL")
_MOST_REASONS = 5

OPEN_LOOP = """\
An open loop, as in a dry run: what was recorded stays as it was, whatever was decided. The first decision on a target
is what would have been done; those after it do not see its effect. --closed-loop has the knobs follow."""
CLOSED_LOOP = """\
A closed loop: knobs, and the metrics that show them, follow the decisions. All else stays as it was recorded: memory
that would have become free, or CPU time that would have been spent, is not in the data."""


def table(story: Story, *, verbose: bool) -> str:
    """A line for each decision that is news, then what became of each rule."""
    decisions = list(_shown(story, verbose))
    form = "%H:%M:%S" if _day(story.first) == _day(story.last) else "%Y-%m-%d %H:%M:%S"
    rows = [_row(decision, form) for decision in decisions]
    parts = ["\n".join(aligned([_HEADER, *rows]))] if rows else []
    return "\n\n".join([*parts, "\n".join(_summary(story)), CLOSED_LOOP if story.closed_loop else OPEN_LOOP])


def as_json(story: Story, *, verbose: bool) -> str:
    """The same; times in unix seconds, durations in seconds, values in the units of docs/knobs.md."""
    return json.dumps(
        {
            "first": story.first,
            "last": story.last,
            "scrapes": story.scrapes,
            "gaps": [{"from": start, "to": end} for start, end in story.gaps],
            "closed_loop": story.closed_loop,
            "decisions": [
                {
                    "time": decision.time,
                    "rule": decision.rule,
                    "knob": decision.knob,
                    "target": dict(decision.target),
                    "outcome": decision.outcome,
                    "before": decision.before,
                    "after": decision.after,
                    "when": decision.value,
                    "detail": decision.detail,
                    "because": decision.because,
                }
                for decision in _shown(story, verbose)
            ],
            "rules": {
                name: {
                    "mode": rule.mode,
                    "active_seconds": rule.active_seconds,
                    "outcomes": dict(rule.outcomes),
                    "reasons": [
                        {"outcome": outcome, "detail": detail, "count": count}
                        for (outcome, detail), count in rule.details.most_common()
                    ],
                    "undecided": [{"why": why, "seconds": seconds} for why, seconds in rule.undecided.items()],
                }
                for name, rule in story.rules.items()
            },
        },
        indent=2,
    )


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows with their cells below each other; there is at least one row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _shown(story: Story, verbose: bool) -> Iterator[Decision]:
    return (decision for decision in story.decisions if verbose or decision.outcome not in QUIET)


def _row(decision: Decision, form: str) -> tuple[str, ...]:
    change = " -> ".join(
        _written(decision.knob, value) for value in (decision.before, decision.after) if value is not None
    )
    time = datetime.fromtimestamp(decision.time).strftime(form)
    return time, decision.rule, decision.knob, label(decision.target), decision.outcome, change, decision.detail


def _written(knob: str, value: Value) -> str:
    return KNOBS[knob].unit.format(value)


def _summary(story: Story) -> Iterator[str]:
    span = format_seconds(round(story.last - story.first))
    first, last = (datetime.fromtimestamp(time).strftime("%Y-%m-%d %H:%M:%S") for time in (story.first, story.last))
    yield f"{story.scrapes} scrapes over {span}, from {first} to {last}"
    for start, end in story.gaps:
        yield f"nothing is known from {_clock(start)} to {_clock(end or story.last)}: nothing is decided there"
    for name, rule in story.rules.items():
        yield from _of_rule(name, rule)


def _of_rule(name: str, rule: RuleSummary) -> Iterator[str]:
    if rule.mode == "off":
        yield f"{name}: off"
        return
    active = f"active for {format_seconds(round(rule.active_seconds))}" if rule.active_seconds else "never active"
    counts = [f"{outcome} {count}" for outcome, count in rule.outcomes.most_common()]
    yield f"{name}: {', '.join([active, *counts])}"
    reasons = rule.details.most_common()
    for (outcome, detail), count in reasons[:_MOST_REASONS]:
        yield f"    {outcome} ({count}): {detail}"
    if len(reasons) > _MOST_REASONS:
        yield f"    and {len(reasons) - _MOST_REASONS} other reasons: --output json has all"
    for why, seconds in sorted(rule.undecided.items(), key=lambda item: -item[1])[:_MOST_REASONS]:
        yield f"    could not decide for {format_seconds(round(seconds))}: {why}"


def _day(time: float) -> str:
    return datetime.fromtimestamp(time).strftime("%Y-%m-%d")


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time).strftime("%H:%M:%S")
