"""Scripts in Prometheus' own test language, run against the embedded evaluator."""

from actuator.promqltest.runner import Verdict, run
from actuator.promqltest.script import ScriptError

__all__ = ["ScriptError", "Verdict", "run"]
