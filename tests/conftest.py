"""What all tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The same examples in each run, so that a failure tells of a change; `pytest --hypothesis-profile=default` looks for new
# ones. And a machine that is busy with other work is no defect: tests of time set their own deadline.
settings.register_profile(
    "kvmtune", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("kvmtune")
