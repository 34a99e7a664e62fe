"""Rules on what happened before: the simulated host gets each scrape, the engine ticks at its time (pure).

By default a dry run, in an open loop: no decision changes the data that follow it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from actuator.decision import Decision, Journal, Outcome
from actuator.knobs import KNOBS, Knob, Target, Value
from actuator.placement import HostCpus
from actuator.plans.view import NO_SCRAPE
from actuator.promql.labels import NAME, Labels, get
from actuator.replay.recording import Scrape
from actuator.rules.policy import Policy
from actuator.rules.ruleset import RuleSet
from actuator.simulated import shown
from actuator.simulated.simulatedhost import Fixture, SimulatedHost
from actuator.simulated.simulation import Simulation

GAP_SECONDS = 300.0
"""Without a scrape for so long nothing is known: PromQL looks back no further for a sample."""
CPUS_METRIC = "kvm_cpu_node_online"

ACTED: frozenset[Outcome] = frozenset({"written", "would write"})

Key = tuple[str, Target]


@dataclass(slots=True)
class RuleSummary:
    """What became of a rule. `undecided`: for how many seconds it could not decide, by why."""

    mode: str
    active_seconds: float = 0.0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    details: Counter[tuple[Outcome, str]] = field(default_factory=Counter)
    undecided: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Track:
    """What was recorded of a target, how it was on the simulated host, and where rules wanted it.

    Each as (unix seconds, value).
    """

    recorded: list[tuple[float, Value]] = field(default_factory=list)
    simulated: list[tuple[float, Value]] = field(default_factory=list)
    """In a closed loop: else it is the same."""
    setpoints: list[tuple[float, Value, str]] = field(default_factory=list)
    """With the rule's name."""


@dataclass(slots=True)
class Story:
    """What rules made of some scrapes. Times are unix seconds."""

    rules: dict[str, RuleSummary]
    closed_loop: bool
    scrapes: int = 0
    first: float = 0.0
    last: float = 0.0
    gaps: list[tuple[float, float | None]] = field(default_factory=list)
    """From the first scrape that failed to the next one that did not, None if there was none."""
    decisions: list[Decision] = field(default_factory=list)
    """Those that are news (`Journal`)."""
    tracks: dict[Key, Track] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    """Names of all metrics."""


def replay(
    rules: RuleSet, policy: Policy, scrapes: Iterable[Scrape], *, closed_loop: bool = False, keep_tracks: bool = False
) -> Iterator[Story]:
    """The story as it unfolds, after each scrape: always the same object."""
    story = Story({tune.name: RuleSummary(tune.mode) for tune in rules.tunes}, closed_loop)
    knobs = {action.knob for tune in rules.tunes for action in tune.actions} if keep_tracks else set()
    teller = _Teller(story, rules, [KNOBS[name] for name in sorted(knobs)])
    ticks = with_gaps(scrapes)
    # What does not change is taken from the first scrape that tells of the host.
    failed: list[Scrape] = []
    for first in ticks:
        if first.error is None:
            ticks = chain(failed, [first], ticks)
            break
        failed.append(first)
    else:
        ticks, first = iter(failed), Scrape(0.0, {})
    fixture = Fixture(cpus=cpus_of(first.values))
    with Simulation(rules, policy, fixture, apply=closed_loop, follows=closed_loop) as simulation:
        for scrape in ticks:
            simulation.feed(scrape.time, teller.samples(scrape), scrape.error)
            decisions = simulation.tick(scrape.time)
            teller.tell(scrape, decisions, simulation)
            yield story


def with_gaps(scrapes: Iterable[Scrape]) -> Iterator[Scrape]:
    """The scrapes, and where there is none for long one that failed, so that this time counts for nothing."""
    last = math.inf
    for scrape in scrapes:
        if scrape.time - last > GAP_SECONDS:
            yield Scrape(last + 0.001, {}, "nothing was recorded")
            yield Scrape(scrape.time - 0.001, {}, "nothing was recorded")
        last = scrape.time
        yield scrape


def cpus_of(values: Mapping[Labels, float]) -> HostCpus | None:
    """The CPUs of a host by what the exporter shows: each on a core of its own, in order on the nodes.

    How they are numbered, and which share a core, no metric tells.
    """
    online = sorted(
        (int(node), round(value))
        for labels, value in values.items()
        if get(labels, NAME) == CPUS_METRIC and (node := get(labels, "node")).isdecimal()
    )
    nodes: dict[int, frozenset[int]] = {}
    count = 0
    for number, size in online:
        nodes[number] = frozenset(range(count, count + size))
        count += size
    return HostCpus(cores=tuple(frozenset({cpu}) for cpu in range(count)), nodes=nodes) if count else None


class _Teller:
    """Adds to the story what became of a scrape."""

    def __init__(self, story: Story, rules: RuleSet, knobs: Sequence[type[Knob]]) -> None:
        self._story = story
        self._made_anew = {record.name for group in rules.groups for record in group.records}
        self._knobs = knobs
        self._metrics = {knob.metric.name for knob in knobs if knob.metric}
        self._journal = Journal()
        self._series: set[Labels] = set()
        self._left_out: set[Labels] = set()
        self._active: list[RuleSummary] = []
        self._undecided: list[tuple[RuleSummary, str]] = []

    def samples(self, scrape: Scrape) -> Collection[tuple[Labels, float]]:
        """What there was, without what the rules record themselves."""
        fresh = scrape.values.keys() - self._series
        self._series |= fresh
        self._story.seen.update(get(labels, NAME) for labels in fresh)
        self._left_out |= {labels for labels in fresh if get(labels, NAME) in self._made_anew}
        if not self._left_out:
            return scrape.values.items()
        return [(labels, value) for labels, value in scrape.values.items() if labels not in self._left_out]

    def tell(self, scrape: Scrape, decisions: Iterable[Decision], simulation: Simulation) -> None:
        """A scrape, what was decided on it, and how rules and knobs stand then."""
        states, faults = simulation.states, simulation.faults
        story = self._story
        passed = scrape.time - story.last if story.scrapes else 0.0
        for summary in self._active:
            summary.active_seconds += passed
        for summary, fault in self._undecided:
            summary.undecided[fault] = summary.undecided.get(fault, 0.0) + passed
        self._count(scrape)
        self._active = [
            story.rules[rule] for rule, state in states.items() if any(one.active for one in state.values())
        ]
        self._undecided = [
            (story.rules[rule], fault) for rule in story.rules for fault in faults.get(rule, ()) if fault != NO_SCRAPE
        ]
        for rule, state in states.items():
            if not state:
                self._journal.forget(rule)
        for decision in decisions:
            self._decide(decision)
        self._track(scrape, simulation.host)

    def _count(self, scrape: Scrape) -> None:
        story = self._story
        story.first = story.first if story.scrapes else scrape.time
        story.last = scrape.time
        story.scrapes += bool(scrape.values)  # and not what stands for none
        if scrape.error is None:
            if story.gaps and story.gaps[-1][1] is None:
                story.gaps[-1] = story.gaps[-1][0], scrape.time
        elif not story.gaps or story.gaps[-1][1] is not None:
            story.gaps.append((scrape.time, None))

    def _decide(self, decision: Decision) -> None:
        summary = self._story.rules[decision.rule]
        summary.outcomes[decision.outcome] += 1
        if decision.detail and decision.outcome not in ACTED:
            summary.details[decision.outcome, decision.detail] += 1
        if self._journal.is_news(decision):
            self._story.decisions.append(decision)
        if self._knobs and decision.outcome in ACTED and decision.after is not None:
            track = self._track_of(KNOBS[decision.knob], decision.target)
            track.setpoints.append((decision.time, decision.after, decision.rule))

    def _track(self, scrape: Scrape, host: SimulatedHost) -> None:
        if not self._metrics:
            return
        shows = [(labels, value) for labels, value in scrape.values.items() if get(labels, NAME) in self._metrics]
        for knob in self._knobs:
            for target, recorded in shown.values(knob, shows).items():
                self._track_of(knob, target).recorded.append((scrape.time, recorded.value))
            for target, live in host.live(knob).items() if self._story.closed_loop else ():
                self._track_of(knob, target).simulated.append((scrape.time, live.value))

    def _track_of(self, knob: type[Knob], target: Target) -> Track:
        return self._story.tracks.setdefault((knob.name, target), Track())
