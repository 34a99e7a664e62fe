"""The real engine and the real balloon knob at work on the model of a host.

Store, evaluator, rules, limits, writer and ledger are those of `kvmtune-actuator run`. What libvirt would tell and do,
the model does; what the exporter would show of it, is fed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from actuator.apply import Writer
from actuator.data.frame import Frame
from actuator.data.query import LocalQuery
from actuator.data.scrape import ScrapeResult
from actuator.data.store import Store
from actuator.decision import Decision
from actuator.engine import Engine
from actuator.knobs import Knob, Libvirt, Target
from actuator.knobs.balloon import BalloonStatsPeriod, BalloonTarget, set_stats_period
from actuator.ledger.ledger import Ledger
from actuator.promql.labels import Labels, make
from actuator.rules.policy import Policy
from actuator.rules.rule import State
from actuator.rules.ruleset import RuleSet
from benchmarks.policies.balloon_model import Column, Host
from kvmhost.domains import Balloon, BalloonDevice, Domain, DomainConfig

T = TypeVar("T")

MIB = 2**20
_HOST = "host:9752"
_RAM = Path("/dev/shm")


class ModelLibvirt(Libvirt):
    """The guests of a model, where libvirt would be."""

    def __init__(self, host: Host) -> None:
        self._host = host
        guests = host.workload.guests
        self._numbers = {_uuid(number): number for number in range(len(guests))}
        self._known: tuple[int, tuple[Domain, ...]] = (-1, ())
        self._bare = tuple(
            Domain(
                id=number + 1,
                state="running",
                config=DomainConfig(name=_name(number), uuid=_uuid(number), virt_type="kvm"),
            )
            for number in range(len(guests))
        )

    def domains(self) -> tuple[Domain, ...]:
        """All of them, as they are in this second."""
        if self._known[0] != self._host.second:
            self._known = (self._host.second, tuple(self._domains()))
        return self._known[1]

    def _domains(self) -> Iterator[Domain]:
        host, report = self._host, self._host.report
        columns = (
            host.actual, host.workload.guests.maximum, report.available, report.usable, report.unused, report.swap_out,
        )  # fmt: skip
        sizes = np.round(np.array(columns) * MIB).astype(np.int64).tolist()
        for domain, actual, maximum, available, usable, unused, swap_out, told, period in zip(
            self._bare, *sizes, report.time.tolist(), host.period.tolist(), strict=True
        ):
            device = BalloonDevice(model="virtio", stats_period_seconds=int(period))
            balloon = Balloon(
                read_seconds=host.time,
                actual_bytes=actual,
                maximum_bytes=maximum,
                available_bytes=available,
                usable_bytes=usable,
                unused_bytes=unused,
                swap_out_bytes=swap_out,
                last_update_seconds=int(told),
            )
            yield replace(domain, balloon=balloon, config=replace(domain.config, balloon_device=device))

    def unread(self) -> dict[str, str]:
        """None."""
        return {}

    def hanging(self) -> dict[str, str]:
        """None."""
        return {}

    def doubt(self, target: Target) -> str | None:
        """None."""
        return None

    def change(self, function: Callable[..., T], uuid: str, *args: object) -> T:
        """Ask a balloon for another size, or its driver for reports at another period."""
        is_period = function is set_stats_period
        asked = self._host.period if is_period else self._host.target
        asked[self._numbers[uuid]] = int(str(args[0])) / (1 if is_period else 1024)
        unused: Any = None
        return unused  # type: ignore[no-any-return]

    def glance(self, function: Callable[..., T], uuid: str) -> T:
        """The size of a balloon in KiB."""
        size: Any = round(self._host.actual[self._numbers[uuid]] * 1024)
        return size  # type: ignore[no-any-return]


def _name(number: int) -> str:
    return f"guest-{number}"


def _uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


class Exporter:
    """What the exporter would show of a model's host: rows of samples for a store."""

    def __init__(self, host: Host, store: Store) -> None:
        self._host = host
        self._store = store
        self._frame = Frame()
        self._of_host: dict[tuple[str, str], Labels] = {}
        self._of_guests: dict[str, list[Labels]] = {}

    def scrape(self, now: float) -> int:
        """Store one scrape; returns how many samples it has."""
        row = {self._one(name, resource): value for (name, resource), value in self._host_samples().items()}
        for name, values in self._guest_samples().items():
            pairs = zip(self._all(name), values.tolist(), strict=True)
            row |= {labels: value for labels, value in pairs if not math.isnan(value)}
        series = {self._store.series(labels, self._frame): value for labels, value in row.items()}
        self._store.append_row(self._frame, series, now)
        self._store.expire(now)
        return len(row)

    def _host_samples(self) -> Mapping[tuple[str, str], float]:
        host, total = self._host, self._host.workload.total
        return {
            ("kvm_memory_total_bytes", ""): total * MIB,
            ("kvm_memory_available_bytes", ""): host.available * MIB,
            ("kvm_memory_free_bytes", ""): 0.7 * host.available * MIB,
            ("kvm_memory_buffers_bytes", ""): 0.02 * host.available * MIB,
            ("kvm_memory_cached_bytes", ""): 0.28 * host.available * MIB,
            ("kvm_memory_hugetlb_bytes", ""): 0.0,
            ("kvm_vmstat_pswpout_total", ""): host.host_swap_out * 256,
            ("kvm_pressure_some_seconds_total", "memory"): host.some_seconds,
            ("kvm_pressure_full_seconds_total", "memory"): host.full_seconds,
        }

    def _guest_samples(self) -> Mapping[str, Column]:
        host, guests, report = self._host, self._host.workload.guests, self._host.report
        age = host.time - report.time
        return {
            "kvm_domain_balloon_actual_bytes": host.actual * MIB,
            "kvm_domain_balloon_maximum_bytes": guests.maximum * MIB,
            "kvm_domain_balloon_configured_bytes": guests.least * MIB,
            "kvm_domain_balloon_available_bytes": report.available * MIB,
            "kvm_domain_balloon_usable_bytes": report.usable * MIB,
            "kvm_domain_balloon_unused_bytes": report.unused * MIB,
            "kvm_domain_balloon_disk_caches_bytes": report.caches * MIB,
            "kvm_domain_balloon_swap_in_bytes_total": report.swap_in * MIB,
            "kvm_domain_balloon_swap_out_bytes_total": report.swap_out * MIB,
            "kvm_domain_balloon_major_faults_total": np.floor(report.major_faults),
            "kvm_domain_memory_used_bytes": (report.available - report.usable) * MIB,
            "kvm_domain_memory_rss_bytes": host.rss * MIB,
            "kvm_domain_balloon_stats_age_seconds": age,
            "kvm_domain_balloon_stats_period_seconds": host.period,
            "kvm_domain_balloon_driver_answering": np.where(age <= np.maximum(3 * host.period, 10), 1.0, 0.0),
        }

    def _one(self, name: str, resource: str) -> Labels:
        if (name, resource) not in self._of_host:
            pairs = {"__name__": name, "instance": _HOST, "job": "kvmtune"}
            self._of_host[name, resource] = make(pairs | ({"resource": resource} if resource else {}))
        return self._of_host[name, resource]

    def _all(self, name: str) -> list[Labels]:
        if name not in self._of_guests:
            pairs = {"__name__": name, "instance": _HOST, "job": "kvmtune"}
            self._of_guests[name] = [
                make({**pairs, "domain": _name(number), "uuid": _uuid(number)})
                for number in range(len(self._host.workload.guests))
            ]
        return self._of_guests[name]


class Actuator:
    """Rules at work on a model's host. Use it as a context manager."""

    def __init__(self, host: Host, rules: RuleSet, policy: Policy) -> None:
        self._host = host
        self._rules, self._policy = rules, policy
        self._store = Store(rules.window_seconds)
        self._exporter = Exporter(host, self._store)
        self._decisions: list[Decision] = []
        self.faults: dict[str, tuple[str, ...]] = {}
        self.tick_seconds: list[float] = []
        self._exit = ExitStack()

    def __enter__(self) -> Actuator:
        directory = self._exit.enter_context(TemporaryDirectory(dir=_RAM if _RAM.is_dir() else None))
        ledger = self._exit.enter_context(closing(Ledger(Path(directory))))
        libvirt = ModelLibvirt(self._host)
        knobs: dict[str, Knob] = {
            "balloon.target": BalloonTarget(libvirt, lambda: self._host.time),
            "balloon.stats_period": BalloonStatsPeriod(libvirt),
        }
        self._engine = Engine(
            self._rules,
            self._policy,
            source=self,
            store=self._store,
            query=LocalQuery(self._store),
            knobs=knobs,
            writer=Writer(knobs, ledger, 600.0),
            observer=self,
        )
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._exit.close()

    def tick(self) -> tuple[Decision, ...]:
        """One tick; returns what was decided in it."""
        self._decisions = []
        began = time.perf_counter()
        self._engine.tick(self._host.time)
        self.tick_seconds.append(time.perf_counter() - began)
        return tuple(self._decisions)

    def scrape(self, now: float) -> ScrapeResult:
        """As `engine.Source`."""
        return ScrapeResult(ok=True, samples=self._exporter.scrape(now), duration_seconds=0.0, error=None)

    def scraped(self, result: ScrapeResult, now: float) -> None:
        """As `engine.Observer`."""

    def evaluated(self, rule: str, state: State | None, faults: tuple[str, ...]) -> None:
        """As `engine.Observer`."""
        self.faults[rule] = faults

    def rivals(self, tuners: frozenset[str]) -> None:
        """As `engine.Observer`."""

    def decided(self, decision: Decision) -> None:
        """As `engine.Observer`."""
        self._decisions.append(decision)
