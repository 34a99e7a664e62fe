"""What one tick sees: query results and the knobs' live values, each read once, and the setpoints they give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from actuator import placement, plan, promql
from actuator.knobs import Knob, KnobError, Live, Target
from actuator.limits import Limits
from actuator.plan import Setpoint, Wanted
from actuator.policy import Policy
from actuator.promql import Expr
from actuator.promql.types import Sample
from actuator.query import Query, QueryError
from actuator.rule import Evidence, Instance
from actuator.ruleset import Place, Set, Tune
from kvmhost import cpulist

NO_SCRAPE = "the exporter could not be scraped"


class Fault(Exception):  # noqa: N818 (it is the operator's word for it)
    """Why a rule cannot decide now. It then changes nothing."""


class View:
    """One tick's view; `now` in unix seconds. `query` None: the data of this tick is missing."""

    def __init__(self, query: Query | None, knobs: Mapping[str, Knob], policy: Policy, now: float) -> None:
        self._query = query
        self._knobs = knobs
        self._policy = policy
        self._now = now
        self._live: dict[str, Mapping[Target, Live]] = {}

    def samples(self, expr: Expr) -> tuple[Sample, ...]:
        """The result of an expression now; `Fault` if the query failed."""
        if self._query is None:
            raise Fault(NO_SCRAPE)
        try:
            return self._query.instant(expr, self._now)
        except QueryError as error:
            raise Fault(str(error)) from error

    def evidence(self, expr: Expr) -> Evidence:
        """The result of a condition; `Fault` if the data that it asks for is not there, or not a number."""
        samples = self.samples(expr)
        if any(math.isnan(sample.value) for sample in samples):
            raise Fault(f"{expr.text}: not a number")
        if not self._is_present(expr):
            raise Fault(f"waits for data of {', '.join(self._missing(expr))}")
        return Evidence(known=True, samples=samples)

    def _is_present(self, expr: Expr) -> bool:
        try:
            return self._query is not None and self._query.present(expr, self._now)
        except QueryError as error:
            raise Fault(str(error)) from error

    def _missing(self, expr: Expr) -> list[str]:
        """The metrics of an expression that have no series; all of them if each has one, but not enough samples."""
        names = sorted(expr.metric_names)
        return [name for name in names if not self.samples(promql.compile(name))] or names

    def live(self, knob: str) -> Mapping[Target, Live]:
        """The knob's targets, with the policy's promises to guests applied; `Fault` if it has none."""
        if knob not in self._live:
            try:
                live = self._knobs[knob].live()
            except KnobError as error:
                raise Fault(str(error)) from error
            self._live[knob] = {target: self._policy.narrow(knob, target, state) for target, state in live.items()}
        if not self._live[knob]:
            raise Fault(f"there is nothing here that has the knob {knob}")
        return self._live[knob]

    def setpoints(self, tune: Tune, instances: Sequence[Instance]) -> tuple[list[Setpoint], tuple[str, ...]]:
        """What a rule's due instances want, and for whom it gives nothing and why."""
        setpoints: list[Setpoint] = []
        faults: list[str] = []
        for action in tune.actions:
            try:
                wanted = self._wanted(action, instances)
            except Fault as fault:
                faults.append(str(fault))
                continue
            for instance, values in wanted:
                faults += values.faults
                setpoints += [
                    Setpoint(
                        rule=tune.name,
                        knob=action.knob,
                        target=target,
                        value=value,
                        because=tune.because,
                        evidence=instance.value,
                        limits=tune.limits.get(action.knob, Limits()),
                        priority=tune.priority,
                    )
                    for target, value in values.values.items()
                ]
        return setpoints, tuple(dict.fromkeys(faults))

    def _wanted(self, action: Set | Place, instances: Sequence[Instance]) -> list[tuple[Instance, Wanted]]:
        live = self.live(action.knob)
        keys = self._knobs[action.knob].keys
        if isinstance(action, Place):
            return self._placed(action, instances, live, keys)
        if isinstance(action.value, str):
            return [(instance, plan.literal(instance, action.value, keys, live)) for instance in instances]
        samples = self.samples(action.value)
        return [(instance, plan.numbers(instance, samples, keys, live)) for instance in instances]

    def _placed(
        self, action: Place, instances: Sequence[Instance], live: Mapping[Target, Live], keys: tuple[str, ...]
    ) -> list[tuple[Instance, Wanted]]:
        # A vCPU that is too new to be measured may want a whole CPU.
        demand = dict.fromkeys(live, 1.0) | {
            target: sample.value
            for sample in self.samples(action.load)
            for target in plan.select(sample.labels, keys, live)
        }
        movable = {target: instance for instance in instances for target in plan.select(instance.labels, keys, live)}
        moves = placement.spread(
            movable,
            demand,
            {target: cpulist.parse(str(state.value)) for target, state in live.items()},
            frozenset[int]().union(*(state.cpus for state in live.values() if state.cpus)),
        )
        return [(movable[target], Wanted({target: cpulist.format(cpus)})) for target, cpus in moves.items()]
