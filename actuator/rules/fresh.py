"""Whether the data of a target are recent enough for `require_fresh` (pure)."""

from __future__ import annotations

from actuator.knobs import Target, label
from actuator.rules.rule import Agreeing
from actuator.rules.ruleset import Fresh
from kvmhost.units import format_seconds


def refusal(fresh: Fresh, target: Target, samples: Agreeing, as_of: float, now: float) -> str | None:
    """Why a rule must not act on `target` now, or None. `samples`: what the metric read at `as_of` (unix seconds).

    All that agree with the target must be recent. None at all, or one that is not a number, is not.
    """
    name = fresh.metric.text
    mine = [sample.value for sample in samples.with_(target)]
    if not mine:
        return f"there is no {name} of {label(target)}"
    ages = [now - value if fresh.is_timestamp else value + now - as_of for value in mine]
    # An age below zero means that two clocks differ: it is as little worth as one that is too high.
    wrong = [age for age in ages if not -fresh.within_seconds <= age <= fresh.within_seconds]
    limit = format_seconds(fresh.within_seconds)
    return f"{name} of {label(target)} says {wrong[0]:.0f} s, not within {limit}" if wrong else None
