"""A host made of data: what its knobs read now, what they may become, and what becomes of the data when they move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType

from actuator import promql
from actuator.data.query import Query
from actuator.knobs import KNOBS, Knob, KnobError, Live, Target, Unit, Value
from actuator.knobs.balloon import STATS_FRESH_SECONDS, floor_above
from actuator.knobs.nextboot import NextBoot
from actuator.placement import HostCpus
from actuator.promql import Expr, labels
from actuator.promql.labels import Labels
from actuator.simulated import shown
from actuator.simulated.shown import Row, Shown
from kvmhost.domains import DeclaredPolicy

Key = tuple[str, Target]


@dataclass(frozen=True, slots=True)
class Guest:
    """What data do not say of a guest: the policy in its metadata, and why it must not be touched, if so."""

    declared: DeclaredPolicy = field(default_factory=DeclaredPolicy)
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Fixture:
    """What the data do not say of a host.

    `values`: of knobs of which the data have no series; each scrape then shows them as an exporter would.
    """

    values: Mapping[Key, Value] = field(default_factory=dict)
    guests: Mapping[str, Guest] = field(default_factory=dict)
    cpus: HostCpus | None = None


NOTHING = Fixture()


@dataclass(frozen=True, slots=True)
class _Held:
    """A value that was written, or is there from the start; `under`: what the data said when it was written."""

    value: Value
    under: Shown | None = None


class SimulatedHost:
    """The state of the knobs at `now`. What was written stays until the data change: someone else has set it then.

    `words`: by knob, those that a host may have beyond the ones that are known.
    """

    def __init__(self, fixture: Fixture, query: Query, words: Mapping[str, tuple[str, ...]], *, follows: bool) -> None:
        self.now = 0.0
        self.knobs: Mapping[str, Knob] = {name: _simulated(knob, self) for name, knob in KNOBS.items()}
        self._fixture = fixture
        self._query = query
        self._words = words
        self._follows = follows
        self._held: dict[str, dict[Target, _Held]] = {}
        for (name, target), value in fixture.values.items():
            self._held.setdefault(name, {})[target] = _Held(value)
        self._uuids: dict[str, str] = {}

    def scraped(self, fed: Iterable[tuple[Labels, float]]) -> Row:
        """The samples of a scrape, as they would be of a host whose knobs were moved."""
        row = dict(fed)
        if not row:
            return row  # the exporter is down
        if self._fixture.values:
            of_guests = (dict(series) for series in row)
            self._uuids |= {one["domain"]: one["uuid"] for one in of_guests if "domain" in one and "uuid" in one}
        metrics = [metric for name in self._held if (metric := KNOBS[name].metric)]
        names = {name for metric in metrics for name in (metric.name, *metric.along)}
        part = {series: row.pop(series) for series in list(row) if names and labels.get(series, labels.NAME) in names}
        for name in self._held:
            self._show(KNOBS[name], part)
        return row | part

    def _show(self, knob: type[Knob], part: Row) -> None:
        """Have the samples show what is held of one knob, if the data have not changed since."""
        held = self._held[knob.name]
        for target, value in self._starts(knob).items():
            part.update(shown.made(knob, target, Shown(value, self._uuid(target))))
        for target, now in shown.values(knob, part.items()).items():
            if target in held and _has_changed(knob, now, held[target].under):
                del held[target]
        if self._follows:
            shown.show(knob, {target: mine.value for target, mine in held.items()}, part)

    def live(self, knob: type[Knob]) -> Mapping[Target, Live]:
        """Each target that the data show, or that is there from the start."""
        found = {target: Shown(value, self._uuid(target)) for target, value in self._starts(knob).items()}
        found |= self._data(knob)
        for target, mine in self._held.get(knob.name, {}).items():
            if target in found:
                found[target] = replace(found[target], value=mine.value)
        narrow = _NARROWER.get(knob.name)
        states = {} if issubclass(knob, NextBoot) else self._states()
        live = {target: self._live(knob, target, one, states) for target, one in found.items()}
        return narrow(live, lambda name: shown.numbers(name, knob, self._samples(name))) if narrow else live

    def write(self, knob: type[Knob], target: Target, value: Value) -> None:
        """Remember it."""
        held = self._held.setdefault(knob.name, {})
        before = held.get(target)
        held[target] = _Held(value, before.under if before else self._data(knob).get(target))

    def cpus(self) -> HostCpus:
        """The host's CPUs; raises KnobError if they are not known."""
        if self._fixture.cpus is None:
            raise KnobError("the CPUs of the simulated host are not known: say which there are (host: cpus: 0-7)")
        return self._fixture.cpus

    def _starts(self, knob: type[Knob]) -> dict[Target, Value]:
        return {target: value for (name, target), value in self._fixture.values.items() if name == knob.name}

    def _data(self, knob: type[Knob]) -> dict[Target, Shown]:
        return shown.values(knob, self._samples(knob.metric.name)) if knob.metric else {}

    def _samples(self, metric: str) -> Iterable[tuple[Labels, float]]:
        return self._query.instant(_selector(metric), self.now)

    def _uuid(self, target: Target) -> str:
        return self._uuids.get(dict(target).get("domain", ""), "")

    def _states(self) -> dict[str, str]:
        """The state of each guest, as far as the data tell."""
        series = (dict(one) for one, value in self._samples("kvm_domain_state") if value == 1)
        return {one.get("domain", ""): one.get("state", "") for one in series}

    def _live(self, knob: type[Knob], target: Target, one: Shown, states: Mapping[str, str]) -> Live:
        domain = dict(target).get("domain", "")
        guest, state = self._fixture.guests.get(domain, _ANY_GUEST), states.get(domain, "running")
        words = (*knob.words, *self._words.get(knob.name, ()), str(one.value))
        return Live(
            value=one.value,
            low=knob.lowest,
            high=knob.highest,
            cpus=self._fixture.cpus.online if self._fixture.cpus else None,
            words=tuple(dict.fromkeys(words)) if knob.unit is Unit.WORD else (),
            refusal=guest.refusal or (f"the guest is {state}" if state != "running" else None),
            identity=one.identity,
            declared=guest.declared,
        )


_ANY_GUEST = Guest()

Read = Callable[[str], Mapping[Target, float]]
"""What a metric is for each target now."""


_BALLOON_METRICS = tuple(
    f"kvm_domain_balloon_{name}"
    for name in ("actual_bytes", "maximum_bytes", "usable_bytes", "stats_age_seconds", "stats_period_seconds")
)


def _balloons(live: Mapping[Target, Live], read: Read) -> Mapping[Target, Live]:
    """As `actuator.knobs.balloon` has it, by what the exporter shows of the guests."""
    found = [read(name) for name in _BALLOON_METRICS]
    return {target: _balloon(one, *(values.get(target) for values in found)) for target, one in live.items()}


def _balloon(
    live: Live,
    actual: float | None,
    maximum: float | None,
    usable: float | None,
    age: float | None,
    period: float | None,
) -> Live:
    refusal = None
    if actual is None or maximum is None:
        refusal = "libvirt reports no balloon (kvm_domain_balloon_maximum_bytes is missing)"
    elif usable is None:
        refusal = "the balloon driver in the guest does not answer (kvm_domain_balloon_usable_bytes is missing)"
    elif age is not None and age > STATS_FRESH_SECONDS + (period or 0.0):
        refusal = f"the balloon driver in the guest has not answered for {age:.0f} s"
    if actual is None or maximum is None or usable is None or refusal:
        return replace(live, refusal=live.refusal or refusal)
    low = floor_above(max(int(actual - usable), 0))
    return replace(live, low=min(low, int(maximum)), high=int(maximum), low_because="what the guest uses plus a margin")


_NARROWER: Mapping[str, Callable[[Mapping[Target, Live], Read], Mapping[Target, Live]]] = MappingProxyType(
    {"balloon.target": _balloons}
)


def metrics_of(knob: type[Knob]) -> tuple[str, ...]:
    """The names of the metrics by which a simulated host knows a knob."""
    narrower = _BALLOON_METRICS if knob.name in _NARROWER else ()
    return (knob.metric.name, *knob.metric.along, *narrower) if knob.metric else ()


@cache
def _selector(metric: str) -> Expr:
    return promql.compile(metric)


def _has_changed(knob: type[Knob], now: Shown, before: Shown | None) -> bool:
    if before is None:  # there is none but in a fixture
        return False
    if now.identity != before.identity:
        return True
    if knob.quantum > 1:  # a balloon is seldom where it was to the page
        return abs(int(now.value) - int(before.value)) > knob.quantum
    return now.value != before.value


class _SimulatedKnob(Knob):
    """What the class of a knob says of it, with a host that is not there behind it."""

    def __init__(self, real: type[Knob], host: SimulatedHost) -> None:
        self._real = real
        self._host = host

    def live(self) -> Mapping[Target, Live]:
        return self._host.live(self._real)

    def write(self, target: Target, value: Value) -> None:
        self._host.write(self._real, target, value)

    def host_cpus(self) -> HostCpus:
        return self._host.cpus() if self._real.host_cpus is not Knob.host_cpus else super().host_cpus()


def _simulated(real: type[Knob], host: SimulatedHost) -> Knob:
    about = {name: getattr(real, name) for name in ("name", "unit", "summary", "keys", "quantum")}
    simulated: type[_SimulatedKnob] = type(real.__name__, (_SimulatedKnob,), about)
    return simulated(real, host)
