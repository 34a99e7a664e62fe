"""Date functions: unix seconds to a part of the date in UTC, for every year that a timestamp can have."""

import calendar
import math
from collections.abc import Callable
from datetime import UTC, datetime

_CYCLE_YEARS = 400
_CYCLE_SECONDS = 146_097 * 86_400
"""After 400 years the calendar repeats, days of the week included."""
_LEAST_SECONDS = -(2**63)
"""What Go on x86-64 makes of NaN and of what no int64 holds."""
_BEGIN_SECONDS = -9_223_372_028_715_321_600
"""Begin of the calendar of Go (absoluteZeroYear in its package time); times before it wrap around."""


def _date(seconds: float) -> tuple[int, datetime]:
    """How many cycles after 1970, and the date in the first one."""
    whole = math.trunc(seconds) if -(2.0**63) <= seconds < 2.0**63 else _LEAST_SECONDS
    if whole < _BEGIN_SECONDS:
        whole += 2**64
    cycles, rest = divmod(whole, _CYCLE_SECONDS)
    return cycles, datetime.fromtimestamp(rest, UTC)


def _part(part: Callable[[datetime], int]) -> Callable[[float], float]:
    return lambda seconds: float(part(_date(seconds)[1]))


def _year(seconds: float) -> float:
    cycles, date = _date(seconds)
    return float(cycles * _CYCLE_YEARS + date.year)


TABLE: dict[str, Callable[[float], float]] = {
    "day_of_month": _part(lambda date: date.day),
    "day_of_week": _part(lambda date: date.isoweekday() % 7),
    "day_of_year": _part(lambda date: date.timetuple().tm_yday),
    "days_in_month": _part(lambda date: calendar.monthrange(date.year, date.month)[1]),
    "hour": _part(lambda date: date.hour),
    "minute": _part(lambda date: date.minute),
    "month": _part(lambda date: date.month),
    "year": _year,
}
