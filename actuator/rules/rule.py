"""The life of a tuning rule: which label sets hold, since when, and which may act now (pure).

For each label set of the rule's `when` there is one instance. `when` starts it, `for` makes it active,
`until` (or, without one, `when` failing) ends it once that has lasted for `keep_firing_for`, `every` spaces its acts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from actuator.promql.labels import Labels, drop_name, get
from actuator.promql.types import Sample
from actuator.rules.ruleset import Tune

# An active instance with `until` whose label set `when` has not shown for so long is over: its guest is gone.
FORGET_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a query said. `known` is False when the data is missing, stale or the query failed."""

    known: bool
    samples: tuple[Sample, ...] = ()


UNKNOWN = Evidence(known=False)


@dataclass(frozen=True, slots=True)
class Instance:
    """One label set of a rule. Times are unix seconds; `value` is what `when` gave last.

    `clear_since`: since when what ends it holds, None while it does not.
    """

    labels: Labels
    pending_since: float
    seen: float
    value: float
    active: bool = False
    acted: float | None = None
    clear_since: float | None = None


State = Mapping[Labels, Instance]

# Times of ticks are sums of fractions.
_ROUNDING_SECONDS = 1e-3


def has_passed(seconds: float, since: float, now: float) -> bool:
    """Whether so much time has passed."""
    return now - since > seconds - _ROUNDING_SECONDS


def step(
    tune: Tune, state: State, when: Evidence, until: Evidence | None, now: float
) -> tuple[State, tuple[Instance, ...]]:
    """One evaluation: the next state, and the instances that are due to act.

    When `when` or `until` is unknown, nothing ends and nothing acts; time that passes so does not count for
    `for`.
    """
    if not when.known or (until is not None and not until.known):
        return {labels: _wait(instance, now) for labels, instance in state.items()}, ()
    holding = {drop_name(sample.labels): sample.value for sample in when.samples}
    ended = [drop_name(sample.labels) for sample in until.samples] if until else []
    following: dict[Labels, Instance] = {}
    for labels in [*state, *(labels for labels in holding if labels not in state)]:
        value = holding.get(labels)
        is_over = value is None if until is None else any(agree(labels, other) for other in ended)
        instance = _end(tune, state.get(labels), now) if is_over else _next(tune, state.get(labels), labels, value, now)
        if instance is not None:
            following[labels] = instance
    due = tuple(instance for instance in following.values() if _is_due(tune, instance, now))
    return following, due


def acted(state: State, due: Iterable[Instance], now: float) -> State:
    """`state` after these instances have acted."""
    return {**state, **{instance.labels: replace(instance, acted=now) for instance in due}}


def agree(left: Labels, right: Labels) -> bool:
    """Whether two label sets say the same of every label that both have."""
    other = dict(right)
    return all(other.get(name, value) == value for name, value in left)


class Agreeing:
    """Samples, to be asked which of them agree with a label set: of hundreds of guests, each meets its own only.

    `label`: one that tells most of them apart, or "".
    """

    def __init__(self, samples: Iterable[Sample], label: str) -> None:
        self._label = label
        self._all = tuple(samples)
        self._of: dict[str, list[Sample]] = {}
        for sample in self._all:
            self._of.setdefault(get(sample.labels, label), []).append(sample)

    def with_(self, labels: Labels) -> Sequence[Sample]:
        """Those that agree with `labels`."""
        value = get(labels, self._label)
        some = (*self._of.get(value, ()), *self._of.get("", ())) if value else self._all
        return [sample for sample in some if agree(labels, sample.labels)]


def _wait(instance: Instance, now: float) -> Instance:
    gap = now - instance.seen
    if instance.active:
        clear_since = None if instance.clear_since is None else instance.clear_since + gap
        return replace(instance, seen=now, clear_since=clear_since)
    return replace(instance, pending_since=instance.pending_since + gap, seen=now)


def _next(tune: Tune, before: Instance | None, labels: Labels, value: float | None, now: float) -> Instance | None:
    if value is None:
        if before is None or not before.active or now - before.seen >= FORGET_SECONDS:
            return None
        return replace(before, clear_since=None)
    if before is None:
        before = Instance(labels=labels, pending_since=now, seen=now, value=value)
    active = before.active or has_passed(tune.for_seconds, before.pending_since, now)
    return replace(before, seen=now, value=value, active=active, clear_since=None)


def _end(tune: Tune, before: Instance | None, now: float) -> Instance | None:
    """What ends an instance holds; one that is active lingers for `keep_firing_for`."""
    if before is None or not before.active:
        return None
    since = now if before.clear_since is None else before.clear_since
    if has_passed(tune.keep_firing_for_seconds, since, now):
        return None
    return replace(before, seen=now, clear_since=since)


def _is_due(tune: Tune, instance: Instance, now: float) -> bool:
    if not instance.active:
        return False
    return instance.acted is None or has_passed(tune.every_seconds, instance.acted, now)
