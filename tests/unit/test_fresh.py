"""`require_fresh`: which ages of a target's data let a rule act."""

from math import nan

import pytest

from actuator import promql
from actuator.promql.types import Sample
from actuator.rules.fresh import refusal
from actuator.rules.rule import Agreeing
from actuator.rules.ruleset import Fresh

NOW = 1_000_000.0
WEB = (("domain", "web"), ("vcpu", "0"))
AGE = Fresh(promql.compile("x_age_seconds"), 30.0)
TIME = Fresh(promql.compile("x_timestamp_seconds"), 30.0, is_timestamp=True)


def of(domain: str, value: float) -> Sample:
    return Sample((("__name__", "x"), ("domain", domain), ("uuid", "u")), value)


@pytest.mark.parametrize(
    ("fresh", "samples", "as_of", "problem"),
    [
        (AGE, [of("web", 30)], NOW, None),
        (AGE, [of("web", 31)], NOW, "x_age_seconds of web/vcpu 0 says 31 s, not within 30s"),
        (AGE, [of("other", 1)], NOW, "there is no x_age_seconds of web/vcpu 0"),
        # One for the host is one for each of its guests.
        (AGE, [Sample((("instance", "h"),), 3)], NOW, None),
        (AGE, [of("web", 1), of("web", 31)], NOW, "x_age_seconds of web/vcpu 0 says 31 s, not within 30s"),
        (AGE, [of("web", nan)], NOW, "x_age_seconds of web/vcpu 0 says nan s, not within 30s"),
        # An age was the age when it was scraped.
        (AGE, [of("web", 20)], NOW - 15, "x_age_seconds of web/vcpu 0 says 35 s, not within 30s"),
        (TIME, [of("web", NOW - 29)], NOW - 15, None),
        (TIME, [of("web", NOW - 31)], NOW, "x_timestamp_seconds of web/vcpu 0 says 31 s, not within 30s"),
        (TIME, [of("web", NOW + 3600)], NOW, "x_timestamp_seconds of web/vcpu 0 says -3600 s, not within 30s"),
    ],
)
def test_refusal(fresh: Fresh, samples: list[Sample], as_of: float, problem: str | None) -> None:
    assert refusal(fresh, WEB, Agreeing(samples, "domain"), as_of, NOW) == problem
