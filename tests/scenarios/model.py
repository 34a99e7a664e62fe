"""A model of a host, and the real engine at work on it: state in, time, state out.

The host is a model (its KSM files are real files); scraper, store, evaluator, rules, limits, writer and ledger
are the real ones. What a real guest or kernel does is shown in tests/lab.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from actuator import config, knobs, policy
from actuator.apply import Writer
from actuator.decision import Decision
from actuator.engine import Engine
from actuator.knobs import KNOBS, Knob, Live, Target, Value
from actuator.ledger import Ledger
from actuator.query import LocalQuery
from actuator.restore import Restorer
from actuator.rule import State
from actuator.ruleset import RuleSet
from actuator.scrape import Scraper, ScrapeResult
from actuator.store import Store
from kvmhost import cpulist
from kvmhost.fs import HostFS
from kvmhost.virtprocess import VirtProcess
from kvmweb.server import serve

MIB = 2**20
RULES = Path(__file__).parents[2] / "rules"


@dataclass
class Guest:
    """Sizes in MiB. `pins`: the CPUs of its one vCPU; `busy`: the share of a CPU that it wants."""

    actual: int = 1024
    maximum: int = 1024
    used: int = 256
    pins: str = "0-3"
    busy: float = 0.0
    refusal: str | None = None
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
        """Let the vCPUs work: those that share their only CPU wait for each other."""
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
    """The balloons of the model: they move at once."""

    name, unit, summary = "balloon.target", KNOBS["balloon.target"].unit, "a model"
    keys, quantum = ("domain",), MIB

    def __init__(self, host: Host) -> None:
        self._host = host

    def live(self) -> Mapping[Target, Live]:
        return {
            (("domain", name),): Live(
                value=guest.actual * MIB,
                low=int(guest.used * 1.1) * MIB,
                high=guest.maximum * MIB,
                low_because="what the guest uses plus a margin",
                refusal=guest.refusal,
                identity=f"u-{name}",
            )
            for name, guest in self._host.guests.items()
        }

    def write(self, target: Target, value: Value) -> None:
        self._host.guests[target[0][1]].actual = int(value) // MIB


class Affinity(Knob):
    """The pins of the model."""

    name, unit, summary = "vcpu.affinity", KNOBS["vcpu.affinity"].unit, "a model"
    keys = ("domain", "vcpu")

    def __init__(self, host: Host) -> None:
        self._host = host

    def live(self) -> Mapping[Target, Live]:
        return {
            (("domain", name), ("vcpu", "0")): Live(value=guest.pins, cpus=frozenset(range(4)), identity=f"u-{name}")
            for name, guest in self._host.guests.items()
        }

    def write(self, target: Target, value: Value) -> None:
        self._host.guests[target[0][1]].pins = str(value)


class Run:
    """The actuator at work on a host, `now` starting at 0 and moved by `tick`. Use it as a context manager."""

    def __init__(self, host: Host, *, apply: bool = True, rules: RuleSet | None = None) -> None:
        self.host = host
        self.now = 0.0
        self.decisions: list[Decision] = []
        self.faults: dict[str, tuple[str, ...]] = {}
        rules = rules or config.load([RULES])
        self._store = Store(rules.window_seconds)
        real = knobs.connect(HostFS(host.root), VirtProcess("test:///default", readonly=True), lambda: self.now)
        self._knobs = {**real, "balloon.target": Balloon(host), "vcpu.affinity": Affinity(host)}
        self._ledger = Ledger(host.root / "state") if apply else None
        self._web = serve("127.0.0.1:0", host, title="model", version="0")  # type: ignore[arg-type]
        self._rules = rules

    def __enter__(self) -> Run:
        url = self._web.__enter__()
        self.engine = Engine(
            self._rules,
            policy.load(),
            scraper=Scraper(f"{url}metrics", self._store),
            store=self._store,
            query=LocalQuery(self._store),
            knobs=self._knobs,
            writer=Writer(self._knobs, self._ledger, 600) if self._ledger else None,
            observer=self,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._web.__exit__(None, None, None)
        if self._ledger:
            self._ledger.close()

    def tick(self, times: int = 1, seconds: float = 5.0) -> list[Decision]:
        """So many ticks; returns what was decided in them, `unchanged` left out."""
        before = len(self.decisions)
        for _ in range(times):
            self.host.pass_time(seconds)
            self.now += seconds
            self.engine.tick(self.now)
        return [decision for decision in self.decisions[before:] if decision.outcome != "unchanged"]

    def restore(self) -> None:
        """What a clean stop does."""
        assert self._ledger is not None
        assert Restorer(self._knobs, self._ledger, lambda: self.now, lambda _: None, lambda _: None).run()

    def scraped(self, result: ScrapeResult, now: float) -> None:
        """As `engine.Observer`."""

    def evaluated(self, rule: str, state: State | None, faults: tuple[str, ...]) -> None:
        """As `engine.Observer`."""
        self.faults[rule] = faults

    def decided(self, decision: Decision) -> None:
        """As `engine.Observer`."""
        self.decisions.append(decision)
