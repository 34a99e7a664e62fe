"""Unit tests for rules: files close to promtool's, run by the real engine on a simulated host."""

from actuator.ruletest.runner import Verdict, run
from actuator.ruletest.testfile import Case, TestFile, load

__all__ = ["Case", "TestFile", "Verdict", "load", "run"]
