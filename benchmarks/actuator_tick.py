"""CPU of a tick: the real engine in this process, over a page that another one serves."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from actuator import knobs
from actuator.data.query import LocalQuery
from actuator.data.scrape import Scraper, ScrapeResult
from actuator.data.store import Store
from actuator.engine import Engine, Source
from actuator.knobs import Knob, KnobError, Live, Target, Unit, Value
from actuator.placement import HostCpus
from actuator.rules import config, policy
from benchmarks import actuator_page, actuator_rules, rootfs
from kvmhost.fs import HostFS
from tests.lab.errors import LabError

_TICK_SECONDS = 5.0
_WARM_TICKS = 70  # beyond the longest range of a rule
_NOWHERE = "test:///nowhere"
_CPUS = 64
_VCPUS = 2  # of each guest of the page


@dataclass(frozen=True, kw_only=True)
class Ticks:
    """CPU seconds of each tick, and of the scrape in it; `decisions` in the last one."""

    rules: int
    guests: int
    series: int
    cpu: list[float]
    scrape_cpu: list[float]
    decisions: int


class _Timed:
    """A source that counts the CPU seconds of its last scrape."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.cpu = 0.0
        self.samples = 0

    def scrape(self, now: float) -> ScrapeResult:
        start = time.process_time()
        result = self._source.scrape(now)
        if not result.ok:
            raise LabError(f"a scrape failed: {result.error}")
        self.cpu, self.samples = time.process_time() - start, result.samples
        return result


class _Counter:
    """An `engine.Observer` that counts decisions."""

    def __init__(self) -> None:
        self.decisions = 0

    def scraped(self, *_: object) -> None:
        """As `engine.Observer`."""

    def evaluated(self, rule: str, _: object, faults: tuple[str, ...]) -> None:
        """As `engine.Observer`."""

    def rivals(self, *_: object) -> None:
        """As `engine.Observer`."""

    def decided(self, *_: object) -> None:
        """As `engine.Observer`."""
        self.decisions += 1


class _Balloons(Knob):
    """Those of the guests of the page; nobody writes to them."""

    name, unit = "balloon.target", Unit.BYTES
    keys: ClassVar[tuple[str, ...]] = ("domain",)

    def __init__(self, count: int) -> None:
        gib = 2**30
        self._live: dict[Target, Live] = {
            (("domain", f"vm-{n}"),): Live(value=6 * gib, low=gib, high=8 * gib, identity=f"u-vm-{n}")
            for n in range(count)
        }

    def live(self) -> Mapping[Target, Live]:
        return self._live

    def write(self, target: Target, value: Value) -> None:
        raise KnobError("this is a dry run")


class _Affinities(_Balloons):
    """All vCPUs of a guest are pinned to the same CPU, so that there is something to plan."""

    name, unit = "vcpu.affinity", Unit.CPUS
    keys: ClassVar[tuple[str, ...]] = ("domain", "vcpu")

    def __init__(self, count: int) -> None:
        self._host = HostCpus(cores=tuple(frozenset({cpu}) for cpu in range(_CPUS)), nodes={0: frozenset(range(_CPUS))})
        self._live = {
            (("domain", f"vm-{n}"), ("vcpu", str(vcpu))): Live(
                value=str(n % _CPUS), cpus=self._host.online, identity=f"u-vm-{n}"
            )
            for n in range(count)
            for vcpu in range(_VCPUS)
        }

    def host_cpus(self) -> HostCpus:
        return self._host


def ticks(series: int, count: int) -> Ticks:
    """The real engine in a dry run, over a page with so many series that is scraped by HTTP at each tick."""
    rules = config.loads(actuator_rules.text())
    number = actuator_page.guests_of(series)
    with tempfile.TemporaryDirectory() as directory, actuator_page.served(number) as url:
        root = rootfs.copied(Path(directory))
        libvirt = knobs.Libvirt(_NOWHERE, root, time.time, readonly=True)
        on_host = knobs.connect(HostFS(root), libvirt, time.time)
        store, observer = Store(rules.window_seconds), _Counter()
        source = _Timed(Scraper(url, store))
        engine = Engine(
            rules,
            policy.load(),
            source=source,
            store=store,
            query=LocalQuery(store),
            knobs={**on_host, "balloon.target": _Balloons(number), "vcpu.affinity": _Affinities(number)},
            writer=None,
            observer=observer,
        )
        now, cpu, scrape_cpu = 1e9, [], []
        for tick in range(_WARM_TICKS + count):
            observer.decisions = 0
            start = time.process_time()
            engine.tick(now)
            if tick >= _WARM_TICKS:
                cpu.append(time.process_time() - start)
                scrape_cpu.append(source.cpu)
            now += _TICK_SECONDS
    return Ticks(
        rules=sum(len(group.rules) for group in rules.groups),
        guests=number,
        series=source.samples,
        cpu=cpu,
        scrape_cpu=scrape_cpu,
        decisions=observer.decisions,
    )
