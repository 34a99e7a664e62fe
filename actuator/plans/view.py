"""What one tick sees: query results and the knobs' live values, each read once, and the setpoints they give."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from actuator import promql
from actuator.data.query import Query, QueryError
from actuator.knobs import KNOBS, Knob, KnobError, Live, Target, Unit, Value
from actuator.placement import HostCpus, Pin
from actuator.plans import budgets, placing, plan
from actuator.plans.plan import Setpoint, Wanted
from actuator.promql import Expr, requirements
from actuator.promql.text import quote
from actuator.promql.types import Sample
from actuator.rules.fresh import refusal
from actuator.rules.limits import Limits
from actuator.rules.policy import Policy
from actuator.rules.rule import Agreeing, Evidence, Instance
from actuator.rules.ruleset import Action, Allocate, Place, Tune
from kvmhost import cpulist

_VCPUS = "vcpu.affinity"
NO_SCRAPE = "the data of this tick are missing"


class Fault(Exception):  # noqa: N818 (it is the operator's word for it)
    """Why a rule cannot decide now. It then changes nothing."""


class View:
    """One tick's view; `now` in unix seconds. `query` None: the data of this tick is missing.

    `unresponsive`: the knobs and targets that do not follow what is written to them, and why.
    """

    def __init__(
        self,
        query: Query | None,
        knobs: Mapping[str, Knob],
        policy: Policy,
        now: float,
        unresponsive: Mapping[tuple[str, Target], str] = MappingProxyType({}),
    ) -> None:
        self._query = query
        self._knobs = knobs
        self._policy = policy
        self._now = now
        self._unresponsive = unresponsive
        self._live: dict[str, Mapping[Target, Live]] = {}
        self._cpus: HostCpus | None = None
        self.decided_as_of: float | None = None
        """Until when (unix seconds) the oldest data of all conditions reach that there were answers for."""

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
        as_of = self.as_of([expr])
        self.decided_as_of = as_of if self.decided_as_of is None else min(self.decided_as_of, as_of)
        return Evidence(known=True, samples=samples)

    def _is_present(self, expr: Expr) -> bool:
        try:
            return self._query is not None and self._query.present(expr, self._now)
        except QueryError as error:
            raise Fault(str(error)) from error

    def _missing(self, expr: Expr) -> list[str]:
        """The metrics of an expression that have no series; all of them if each has one, but not enough samples."""
        names = sorted(expr.metric_names)
        return [name for name in names if not self.samples(promql.compile(f"{{__name__={quote(name)}}}"))] or names

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

    def look_again(self, knob: str) -> None:
        """Read the knob anew when it is asked for next: what was just written may decide what it may become."""
        self._live.pop(knob, None)

    def setpoints(
        self, tune: Tune, instances: Sequence[Instance], held: Mapping[tuple[str, Target], str]
    ) -> tuple[list[Setpoint], tuple[str, ...]]:
        """What a rule's due instances want, and for whom it gives nothing and why.

        `held`: what the rule must leave alone, and why.
        """
        setpoints: list[Setpoint] = []
        faults: list[str] = []
        for action in tune.actions:
            try:
                live = self.live(action.knob)
                stale = self._stale(tune, action.knob, live)
                # Who may not be written now must be planned for as one that stays.
                out = {**stale, **{target: why for (knob, target), why in held.items() if knob == action.knob}}
                live = {
                    **live,
                    **{target: replace(live[target], refusal=why) for target, why in out.items() if target in live},
                }
                wanted = self._wanted(tune, action, instances, live)
                as_of = self.as_of([*tune.conditions, *action.exprs])
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
                        as_of=as_of,
                        refusal=out.get(target) or self._not_to_be_set(action, target, value),
                        acts=tune.mode == "apply",
                        trial=tune.digest if tune.verify else "",
                        persist=tune.persist,
                        together=values.together,
                        is_planned=isinstance(action, Allocate | Place),
                    )
                    for target, value in values.values.items()
                ]
        return setpoints, tuple(dict.fromkeys(faults))

    def trespass(self, knob: str, target: Target, value: Value | float) -> str | None:
        """Why a guest's thread must not be given a CPU list: another guest has one of the cores to itself."""
        if KNOBS[knob].unit is not Unit.CPUS:
            return None
        try:
            return placing.trespass(target, str(value), self._vcpus(self.live(_VCPUS)), self._host_cpus())
        except Fault as fault:
            return str(fault)

    def _not_to_be_set(self, action: Action, target: Target, value: Value | float) -> str | None:
        """Why a rule must not set this; a `place` has looked itself."""
        if isinstance(action, Place) or KNOBS[action.knob].unit is not Unit.CPUS:
            return None
        if closed := self.trespass(action.knob, target, value):
            return closed
        isolated = cpulist.parse(str(value)) & self._host_cpus().isolated
        live = self.live(action.knob)[target]
        if isolated and self._policy.pin(target, live) != "isolated":
            return f"CPU {cpulist.format(isolated)} is isolated (isolcpus): only guests with pin: isolated are given it"
        return None

    def _host_cpus(self) -> HostCpus:
        if self._cpus is None:
            try:
                self._cpus = self._knobs[_VCPUS].host_cpus()
            except KnobError as error:
                raise Fault(str(error)) from error
        return self._cpus

    def _vcpus(self, live: Mapping[Target, Live]) -> Mapping[Target, tuple[Live, Pin]]:
        return {target: (state, self._policy.pin(target, state)) for target, state in live.items()}

    def _stale(self, tune: Tune, knob: str, targets: Iterable[Target]) -> Mapping[Target, str]:
        """Those of which the data are older than `require_fresh` allows, and why that is so."""
        found: dict[Target, str] = {}
        for fresh in tune.fresh:
            samples, as_of = self._agreeing(fresh.metric, knob), self.as_of([fresh.metric])
            reasons = ((target, refusal(fresh, target, samples, as_of, self._now)) for target in targets)
            found |= {target: reason for target, reason in reasons if reason is not None}
        return found

    def as_of(self, read: Iterable[Expr]) -> float:
        """Until when (unix seconds) the data of all these expressions reach; `Fault` if that is not known."""
        if self._query is None:
            raise Fault(NO_SCRAPE)
        try:
            return min(self._query.as_of(expr, self._now) for expr in read)
        except QueryError as error:
            raise Fault(str(error)) from error

    def _wanted(
        self, tune: Tune, action: Action, instances: Sequence[Instance], live: Mapping[Target, Live]
    ) -> list[tuple[Instance, Wanted]]:
        keys = self._knobs[action.knob].keys
        if isinstance(action, Place):
            return self._placed(tune, action, instances, live)
        if isinstance(action, Allocate):
            return self._allocated(tune, action, instances, live, keys)
        if isinstance(action.value, str):
            return [(instance, plan.literal(instance, action.value, keys, live)) for instance in instances]
        samples = self._agreeing(action.value, action.knob)
        return [(instance, plan.numbers(instance, samples, keys, live)) for instance in instances]

    def _agreeing(self, expr: Expr, knob: str) -> Agreeing:
        """What an expression gives, to be asked for the targets of a knob."""
        return Agreeing(self.samples(expr), next(iter(self._knobs[knob].keys), ""))

    def _placed(
        self, tune: Tune, action: Place, instances: Sequence[Instance], live: Mapping[Target, Live]
    ) -> list[tuple[Instance, Wanted]]:
        host = self._host_cpus()
        if action.strategy == "numa" and len(host.nodes) < 2:
            raise Fault("this host has one NUMA node, which holds all memory")
        load = self.samples(action.load)
        if not load and action.strategy in placing.BY_LOAD:
            raise Fault(f"{action.load.text}: no vCPU has a load")
        return placing.wanted(
            action,
            instances,
            self._vcpus(live),
            host,
            load,
            self.samples(action.memory) if len(host.nodes) > 1 else (),
            names_guests=bool(requirements.matched_labels(tune.when.root) & {"domain", "uuid"}),
        )

    def _allocated(
        self,
        tune: Tune,
        action: Allocate,
        instances: Sequence[Instance],
        live: Mapping[Target, Live],
        keys: tuple[str, ...],
    ) -> list[tuple[Instance, Wanted]]:
        given = {"shares": action.shares, "min": action.min, "max": action.max}
        asked = budgets.Asked(
            budgets=self.samples(action.free),
            needs=self.samples(action.need),
            given={name: self._agreeing(expr, action.knob) for name, expr in given.items() if expr},
            by=action.by,
            weights={target: found for target, state in live.items() if (found := self._policy.shares(target, state))},
        )
        limits = [limits.get(action.knob, Limits()) for limits in (self._policy.limits, tune.limits)]
        unresponsive = {target: why for (knob, target), why in self._unresponsive.items() if knob == action.knob}
        return budgets.share_out(asked, instances, keys, live, limits, unresponsive)
