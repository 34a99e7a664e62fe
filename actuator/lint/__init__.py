"""What is wrong with rules that load: what can never be, what stands in its own way, and what looks like a slip (pure).

What is certain is an error; the rest are warnings, which may be mistaken. A check is a module and a row here.
"""

from __future__ import annotations

from actuator.lint import always, bounds, conflicts, counters, reach, series, setpoints, windows
from actuator.lint.finding import Finding, Subject
from actuator.lint.series import unknown

__all__ = ["Finding", "Subject", "lint", "unknown"]

_CHECKS = (
    series.check,
    windows.check,
    reach.check,
    always.check,
    counters.check,
    conflicts.check,
    bounds.check,
    setpoints.check,
)


def lint(subject: Subject) -> tuple[Finding, ...]:
    """All that is found, in the order of the places."""
    return tuple(sorted({finding for check in _CHECKS for finding in check(subject)}))
