"""Date functions: unix seconds to a part of the date in UTC, NaN for what no calendar date is."""

import calendar
import math
from collections.abc import Callable
from datetime import UTC, datetime


def _part(part: Callable[[datetime], int]) -> Callable[[float], float]:
    def function(seconds: float) -> float:
        try:
            return float(part(datetime.fromtimestamp(math.trunc(seconds), UTC)))
        except (ValueError, OverflowError, OSError):
            return math.nan

    return function


TABLE: dict[str, Callable[[float], float]] = {
    "day_of_month": _part(lambda date: date.day),
    "day_of_week": _part(lambda date: date.isoweekday() % 7),
    "day_of_year": _part(lambda date: date.timetuple().tm_yday),
    "days_in_month": _part(lambda date: calendar.monthrange(date.year, date.month)[1]),
    "hour": _part(lambda date: date.hour),
    "minute": _part(lambda date: date.minute),
    "month": _part(lambda date: date.month),
    "year": _part(lambda date: date.year),
}
