"""A model of a host, and the real engine at work on it: state in, time, state out.

The host is a model (its KSM files are real files); scraper, store, evaluator, rules, limits, writer and ledger
are the real ones. What a real guest or kernel does is shown in tests/lab.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from actuator import knobs
from actuator.apply import Writer
from actuator.data.query import LocalQuery, Query
from actuator.data.scrape import Scraper, ScrapeResult
from actuator.data.server import ServerQuery
from actuator.data.store import Store
from actuator.decision import Decision
from actuator.engine import Engine, Source
from actuator.knobs import KNOBS, Knob, KnobError, Live, Target, Value
from actuator.ledger.dropins import DropIns
from actuator.ledger.ledger import Ledger
from actuator.placement import HostCpus
from actuator.restore import Restorer
from actuator.rules import config, policy
from actuator.rules.policy import Policy
from actuator.rules.rule import State
from actuator.rules.ruleset import RuleSet
from kvmhost import cpulist
from kvmhost.domains import DeclaredPolicy
from kvmhost.fs import HostFS
from kvmweb.arguments import WebFlags
from kvmweb.page import of_registry
from kvmweb.server import serve
from tests import promserver
from tests.host import unasked

MIB = 2**20
RULES = Path(__file__).parents[2] / "rules/simple"


ONE_NODE = HostCpus(cores=tuple(frozenset({cpu}) for cpu in range(4)), nodes={0: frozenset(range(4))})
TWO_NODES = HostCpus(
    cores=(frozenset({0, 1}), frozenset({2, 3}), frozenset({4, 5}), frozenset({6, 7})),
    nodes={0: frozenset(range(4)), 1: frozenset(range(4, 8))},
)


@dataclass
class Guest:
    """Sizes in MiB. `pins`: the CPUs of its one vCPU; `busy`: the share of a CPU that it wants; `node`: of its memory.

    `declared`: the policy in its metadata. `stats_age`: seconds since its balloon driver answered.
    `balloon_rate`: MiB a second by which its balloon moves to `target`; None is at once.
    """

    actual: int = 1024
    maximum: int = 1024
    used: int = 256
    pins: str = "0-3"
    busy: float = 0.0
    node: int = 0
    refusal: str | None = None
    breaks: str = ""
    declared: DeclaredPolicy = field(default_factory=DeclaredPolicy)
    stats_age: float = 1.0
    balloon_rate: int | None = None
    target: int | None = None
    cpu_seconds: float = 0.0
    delay_seconds: float = 0.0

    @property
    def usable(self) -> int:
        """What it could still take."""
        return max(self.actual - self.used, 0)


@dataclass
class Host:
    """A host with KSM files below `root`; sizes in MiB."""

    root: Path
    total: int = 16384
    available: int = 8192
    guests: dict[str, Guest] = field(default_factory=dict)
    is_up: bool = True
    cpus: HostCpus = ONE_NODE

    def __post_init__(self) -> None:
        self.ksm("run", 0)
        self.ksm("pages_to_scan", 100)
        self.ksm("sleep_millisecs", 20)

    def ksm(self, file: str, value: int | None = None) -> int:
        """The value of a KSM file, written first if `value` is given."""
        path = self.root / "sys/kernel/mm/ksm" / file
        if value is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")
        return int(path.read_text())

    def pass_time(self, seconds: float) -> None:
        """Let balloons move and vCPUs work: those that share their only CPU wait for each other."""
        for guest in self.guests.values():
            if guest.target is not None and guest.balloon_rate is not None:
                farthest = int(guest.balloon_rate * seconds)
                guest.actual += min(max(guest.target - guest.actual, -farthest), farthest)
        wanted: dict[str, float] = {}
        for guest in self.guests.values():
            wanted[guest.pins] = wanted.get(guest.pins, 0.0) + guest.busy
        for guest in self.guests.values():
            is_pinned = len(cpulist.parse(guest.pins)) == 1
            got = guest.busy / max(wanted[guest.pins], 1.0) if is_pinned else guest.busy
            guest.cpu_seconds += got * seconds
            guest.delay_seconds += (guest.busy - got) * seconds

    def collect(self) -> Iterator[Metric]:
        """The metrics that the exporter would give of such a host."""
        if not self.is_up:
            raise RuntimeError("the exporter is down")
        sizes = {"total": self.total, "available": self.available, "hugetlb": 0}
        for name, size in sizes.items():
            yield GaugeMetricFamily(f"kvm_memory_{name}_bytes", name, value=size * MIB)
        for file in ("run", "pages_to_scan"):
            yield GaugeMetricFamily(f"kvm_ksm_{file}", file, value=self.ksm(file))
        for name in ("actual", "maximum", "usable"):
            yield self._of_guests(
                f"kvm_domain_balloon_{name}_bytes", lambda guest, name=name: getattr(guest, name) * MIB
            )
        yield self._of_guests("kvm_domain_balloon_available_bytes", lambda guest: guest.actual * MIB)
        yield self._of_guests("kvm_domain_balloon_stats_age_seconds", lambda guest: guest.stats_age)
        yield self._of_guests("kvm_domain_memory_used_bytes", lambda guest: guest.used * MIB)
        if len(self.cpus.nodes) > 1:
            family = GaugeMetricFamily("kvm_domain_numa_memory_bytes", "memory", labels=["domain", "uuid", "node"])
            for domain, guest in self.guests.items():
                for node in self.cpus.nodes:
                    family.add_metric([domain, f"u-{domain}", str(node)], (guest.node == node) * guest.used * MIB)
            yield family
        for name in ("cpu", "delay"):
            family = CounterMetricFamily(f"kvm_domain_vcpu_{name}_seconds", name, labels=["domain", "uuid", "vcpu"])
            for domain, guest in self.guests.items():
                family.add_metric([domain, f"u-{domain}", "0"], getattr(guest, f"{name}_seconds"))
            yield family

    def _of_guests(self, name: str, value: object) -> Metric:
        family = GaugeMetricFamily(name, name, labels=["domain", "uuid"])
        for domain, guest in self.guests.items():
            family.add_metric([domain, f"u-{domain}"], value(guest))  # type: ignore[operator]
        return family


class Balloon(Knob):
    """The balloons of the model."""

    name, unit, summary = "balloon.target", KNOBS["balloon.target"].unit, "a model"
    keys, quantum = ("domain",), MIB
    takes_back = KNOBS["balloon.target"].takes_back
    is_ours = KNOBS["balloon.target"].is_ours

    def __init__(self, host: Host) -> None:
        self._host = host
        if any(guest.balloon_rate is not None for guest in host.guests.values()):
            self.settle_seconds = KNOBS["balloon.target"].settle_seconds

    def live(self) -> Mapping[Target, Live]:
        return {
            (("domain", name),): Live(
                value=guest.actual * MIB,
                low=int(guest.used * 1.1) * MIB,
                high=guest.maximum * MIB,
                low_because="what the guest uses plus a margin",
                refusal=guest.refusal,
                identity=f"u-{name}",
                declared=guest.declared,
                trouble="it needs its memory by now" if guest.usable < 0.05 * guest.used else "",
            )
            for name, guest in self._host.guests.items()
        }

    def write(self, target: Target, value: Value) -> None:
        guest = self._host.guests[target[0][1]]
        if guest.breaks:
            raise KnobError(guest.breaks)
        guest.target = int(value) // MIB
        if guest.balloon_rate is None:
            guest.actual = guest.target


class Affinity(Knob):
    """The pins of the model."""

    name, unit, summary = "vcpu.affinity", KNOBS["vcpu.affinity"].unit, "a model"
    keys = ("domain", "vcpu")

    def __init__(self, host: Host) -> None:
        self._host = host

    def live(self) -> Mapping[Target, Live]:
        return {
            (("domain", name), ("vcpu", "0")): Live(
                value=guest.pins, cpus=self._host.cpus.online, refusal=guest.refusal, identity=f"u-{name}"
            )
            for name, guest in self._host.guests.items()
        }

    def host_cpus(self) -> HostCpus:
        return self._host.cpus

    def write(self, target: Target, value: Value) -> None:
        self._host.guests[target[0][1]].pins = str(value)


class Run:
    """The actuator at work on a host, `now` moved by `tick`. Use it as a context manager."""

    def __init__(
        self,
        host: Host,
        *,
        apply: bool = True,
        rules: RuleSet | None = None,
        promises: Policy | None = None,
        server_interval: float | None = None,
        now: float = 0.0,
    ) -> None:
        """`now`: when it starts, after an earlier one on the same host was ended without a stop, as by kill -9.

        `server_interval`: rules are asked of a server, which scrapes the host every so many seconds."""
        self.host = host
        self.now = now
        self.decisions: list[Decision] = []
        self.faults: dict[str, tuple[str, ...]] = {}
        rules = rules or config.load([RULES])
        self._store = Store(rules.window_seconds)
        real = knobs.connect(HostFS(host.root), unasked(), lambda: self.now)
        self.knobs = {**real, "balloon.target": Balloon(host), "vcpu.affinity": Affinity(host)}
        self._ledger = Ledger(host.root / "state", DropIns(host.root)) if apply else None
        self._web = serve(
            WebFlags(listen_addresses=("127.0.0.1:0",)),
            of_registry(host),  # type: ignore[arg-type]
            title="model",
            version="0",
        )
        self._rules = rules
        self._promises = promises or policy.load()
        self._server_interval = server_interval
        self._exit = ExitStack()

    def __enter__(self) -> Run:
        (url,) = self._exit.enter_context(self._web)
        self._scraper = Scraper(f"{url}metrics", self._store)
        source: Source = self._scraper
        query: Query = LocalQuery(self._store)
        if self._server_interval:
            self.server = self._exit.enter_context(promserver.serving(self._store))
            source = query = self._exit.enter_context(closing(ServerQuery(self.server.url)))
        self.engine = Engine(
            self._rules,
            self._promises,
            source=source,
            store=self._store,
            query=query,
            knobs=self.knobs,
            writer=Writer(self.knobs, self._ledger, 600) if self._ledger else None,
            observer=self,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()
        if self._ledger:
            self._ledger.close()

    def tick(self, times: int = 1, seconds: float = 5.0) -> list[Decision]:
        """So many ticks; returns what was decided in them, `unchanged` left out."""
        before = len(self.decisions)
        for _ in range(times):
            self.host.pass_time(seconds)
            self.now += seconds
            if self._server_interval and self.now % self._server_interval == 0:
                self._scraper.scrape(self.now)
            self.engine.tick(self.now)
        return [decision for decision in self.decisions[before:] if decision.outcome != "unchanged"]

    @property
    def ledger(self) -> Ledger:
        assert self._ledger is not None
        return self._ledger

    def restore(self) -> None:
        """What a clean stop does."""
        assert self._ledger is not None
        assert Restorer(self.knobs, self._ledger, lambda: self.now, lambda _: None, lambda _: None).run()

    def scraped(self, result: ScrapeResult, now: float) -> None:
        """As `engine.Observer`."""

    def evaluated(self, rule: str, state: State | None, faults: tuple[str, ...]) -> None:
        """As `engine.Observer`."""
        self.faults[rule] = faults

    def rivals(self, tuners: frozenset[str]) -> None:
        """As `engine.Observer`."""

    def decided(self, decision: Decision) -> None:
        """As `engine.Observer`."""
        self.decisions.append(decision)
