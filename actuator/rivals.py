"""Which other programs turn knobs of this host, as the exporter sees them."""

from __future__ import annotations

from actuator import promql
from actuator.plans.view import Fault, View

ACTIVE = promql.compile("kvm_tuner_active == 1")


def active(view: View) -> frozenset[str] | None:
    """Names of those that run now, as ksmtuned; None if that cannot be known."""
    try:
        evidence = view.evidence(ACTIVE)
    except Fault:
        return None
    return frozenset(dict(sample.labels).get("tuner", "") for sample in evidence.samples)
