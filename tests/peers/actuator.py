"""The rules of rules/peers at work on a simulated host, one file at a time, with the widest policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from actuator.decision import Decision
from actuator.knobs import HOST, KNOBS
from actuator.promql.labels import make
from actuator.rules import config, policy
from actuator.simulated.simulatedhost import Fixture
from actuator.simulated.simulation import Simulation
from tests.peers.balloonpeers import Guest
from tests.peers.ksmpeers import Files, Memory

PEERS = Path(__file__).parents[2] / "rules/peers"
WIDE = policy.load(PEERS / "policy/wide.yml")
GUEST_METRICS = {
    "actual": "kvm_domain_balloon_actual_bytes",
    "maximum": "kvm_domain_balloon_maximum_bytes",
    "used": "kvm_domain_memory_used_bytes",
    "unused": "kvm_domain_balloon_unused_bytes",
    "least": "kvm_domain_balloon_configured_bytes",
    "rss": "kvm_domain_memory_rss_bytes",
    "major_faults": "kvm_domain_balloon_major_faults_total",
}

Samples = dict[str, float]
"""By series: its name, or of a guest the name and the guest's behind a blank."""


def of_memory(memory: Memory, guests: int = 1) -> Samples:
    """What the exporter shows of a host's memory, of which so many guests hold the same."""
    of_guests = {
        f"kvm_domain_memory_{kind}_bytes guest{number}": size * 1024 / guests
        for number in range(guests)
        for kind, size in (("rss", memory.rss), ("virtual", memory.vsz))
    }
    return {
        "kvm_memory_total_bytes": memory.total * 1024,
        "kvm_memory_free_bytes": (memory.free - memory.free // 2) * 1024,
        "kvm_memory_buffers_bytes": memory.free // 8 * 1024,
        "kvm_memory_cached_bytes": (memory.free // 2 - memory.free // 8) * 1024,
        "kvm_memory_available_bytes": memory.available * 1024,
        "kvm_memory_anon_bytes": memory.anon * 1024,
        "kvm_memory_page_size_bytes": 4096,
        "kvm_host_guests": guests,
        **of_guests,
    }


def of_guests(guests: Mapping[str, Guest]) -> Samples:
    """What the exporter shows of guests; what each could give away is all that it does not use."""
    samples: Samples = {}
    for name, guest in guests.items():
        samples |= {f"{metric} {name}": getattr(guest, field) for field, metric in GUEST_METRICS.items()}
        samples[f"kvm_domain_balloon_usable_bytes {name}"] = guest.actual - guest.used
        samples[f"kvm_domain_memory_min_guarantee_bytes {name}"] = guest.least
    return samples


class Actuator:
    """One file of rules on a host that shows what `step` is given. Use it as a context manager.

    `files`: what KSM's are at the start. `follows` False: balloons are where `step` says, whatever was asked of them.
    """

    def __init__(self, peer: str, files: Files | None = None, *, follows: bool = True) -> None:
        start = {(f"ksm.{name}", HOST): value for name, value in vars(files).items()} if files else {}
        rules = config.load([PEERS / f"{peer}.yml"])
        self._simulation = Simulation(rules, WIDE, Fixture(values=start), follows=follows)

    def __enter__(self) -> Actuator:
        self._simulation.__enter__()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._simulation.__exit__(None, None, None)

    def step(self, now: float, samples: Samples) -> tuple[Decision, ...]:
        """One scrape and one tick."""
        row = [(_labels(*series.split()), value) for series, value in samples.items()]
        self._simulation.feed(now, row)
        return self._simulation.tick(now)

    @property
    def files(self) -> Files:
        """What KSM's files read now."""
        return Files(*(int(self._simulation.host.live(KNOBS[f"ksm.{name}"])[HOST].value) for name in vars(Files())))

    @property
    def faults(self) -> dict[str, tuple[str, ...]]:
        """By rule, what it could not decide in the last step, and why."""
        return {rule: found for rule, found in self._simulation.faults.items() if found}


def _labels(name: str, guest: str | None = None) -> tuple[tuple[str, str], ...]:
    of_guest = {"domain": guest, "uuid": f"u-{guest}"} if guest else {}
    return make({"__name__": name, **of_guest})
