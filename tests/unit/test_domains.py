"""What is shown of domains and their vCPUs in the odd cases. The ordinary ones are in the golden pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.collectors import domains, vcpus
from exporter.scrape import Collect, Scrape, Snapshot
from kvmhost.domains import Balloon, Domain, Vcpu
from kvmhost.fs import HostError, HostFS
from kvmhost.virt import STATES

NOW = 1000.0
UUID = "6e6b96b7-657c-4836-b247-3cf002cf2ebc"


def domain(state: str = "running", balloon: Balloon | None = None, vcpus: tuple[Vcpu, ...] = ()) -> Domain:
    return Domain(name="web", uuid=UUID, id=1, state=state, virt_type="kvm", balloon=balloon or Balloon(), vcpus=vcpus)


def collected(
    collect: Collect, *found: Domain, root: Path = Path("/nonexistent")
) -> tuple[dict[str, float], list[str]]:
    """The samples as `name{other labels}`, without the labels of the domain, and the errors."""
    libvirt = Snapshot(up=True, read_seconds=NOW, domains=found)
    samples, errors = {}, []
    for fact in collect(Scrape(fs=HostFS(root), now=NOW, libvirt=libvirt)):
        if isinstance(fact, HostError):
            errors.append(str(fact))
            continue
        for sample in fact.samples:
            labels = {name: value for name, value in sample.labels.items() if name not in ("domain", "uuid")}
            samples[sample.name + ("{" + ",".join(labels.values()) + "}" if labels else "")] = sample.value
    return samples, errors


def test_what_the_guest_does_not_say_is_absent_and_not_zero() -> None:
    samples, _ = collected(domains.collect, domain(balloon=Balloon(actual_bytes=2**30)))
    assert {name for name in samples if "memory" in name or "balloon" in name} == {"kvm_domain_balloon_actual_bytes"}


@pytest.mark.parametrize(
    ("balloon", "used"),
    [
        (Balloon(available_bytes=1000, usable_bytes=400), 600),
        (Balloon(available_bytes=1000), None),
        (Balloon(usable_bytes=400), None),
    ],
)
def test_memory_used_needs_both_of_its_parts(balloon: Balloon, used: int | None) -> None:
    samples, _ = collected(domains.collect, domain(balloon=balloon))
    assert samples.get("kvm_domain_memory_used_bytes") == used


@pytest.mark.parametrize(("updated", "age"), [(990, 10.0), (1000, 0.0), (1060, 0.0), (None, None)])
def test_age_of_the_balloon_statistics(updated: int | None, age: float | None) -> None:
    """Never negative, even if the clock was set back since."""
    samples, _ = collected(domains.collect, domain(balloon=Balloon(last_update_seconds=updated)))
    assert samples.get("kvm_domain_balloon_stats_age_seconds") == age


@pytest.mark.parametrize("state", STATES)
def test_exactly_one_state_holds(state: str) -> None:
    samples, _ = collected(domains.collect, domain(state))
    states = {name: value for name, value in samples.items() if name.startswith("kvm_domain_state")}
    assert len(states) == len(STATES)
    assert [name for name, value in states.items() if value] == [f"kvm_domain_state{{{state}}}"]


@pytest.mark.parametrize(
    ("snapshot", "shown"),
    [
        (Snapshot(up=False), {"kvm_libvirt_up": 0}),
        (Snapshot(up=False, read_seconds=NOW - 40), {"kvm_libvirt_up": 0, "kvm_libvirt_data_age_seconds": 40}),
        (
            Snapshot(up=True, read_seconds=NOW - 1, domains=()),
            {"kvm_libvirt_up": 1, "kvm_libvirt_data_age_seconds": 1},
        ),
        (
            Snapshot(up=True, read_seconds=NOW + 9, domains=()),
            {"kvm_libvirt_up": 1, "kvm_libvirt_data_age_seconds": 0},
        ),
    ],
    ids=["never answered", "withheld", "no domains", "the clock was set back"],
)
def test_libvirt_itself_is_always_shown(snapshot: Snapshot, shown: dict[str, float]) -> None:
    facts = domains.collect(Scrape(fs=HostFS("/nonexistent"), now=NOW, libvirt=snapshot))
    assert {fact.name: fact.samples[0].value for fact in facts if not isinstance(fact, HostError)} == shown


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host with one QEMU process, 100, whose vCPUs 0 and 1 are the threads 101 and 102."""
    process = tmp_path / "proc/100"
    for tid, comm in ((100, "qemu-system-x86"), (101, "CPU 0/KVM"), (102, "CPU 1/KVM")):
        thread = process / f"task/{tid}"
        thread.mkdir(parents=True)
        (thread / "comm").write_text(f"{comm}\n")
        (thread / "schedstat").write_text("3000000000 500000000 77\n")
        (thread / "stat").write_text(f"{tid} ({comm}) S" + " 0" * 35 + " 5" + " 0" * 13 + "\n")
        (thread / "status").write_text("Name:\tx\nCpus_allowed_list:\t4-7\n")
    (process / "stat").write_text((process / "task/100/stat").read_text())
    (process / "cmdline").write_text(f"/usr/bin/qemu-system-x86_64\0-uuid\0{UUID}\0")
    return tmp_path


VCPU_1 = {
    "kvm_domain_vcpu_cpu_seconds_total{1}": 3.0,
    "kvm_domain_vcpu_delay_seconds_total{1}": 0.5,
    "kvm_domain_vcpu_current_cpu{1}": 5,
    "kvm_domain_vcpu_affinity_configured_cpus{1}": 2,
    "kvm_domain_vcpu_affinity_effective_cpus{1}": 4,
    "kvm_domain_vcpu_affinity_info{1,0-1,4-7}": 1,
}
VCPU_0 = {
    "kvm_domain_vcpu_cpu_seconds_total{0}": 3.0,
    "kvm_domain_vcpu_delay_seconds_total{0}": 0.5,
    "kvm_domain_vcpu_current_cpu{0}": 5,
    "kvm_domain_vcpu_affinity_effective_cpus{0}": 4,
    "kvm_domain_vcpu_affinity_info{0,,4-7}": 1,
}
WEB = domain(vcpus=(Vcpu(index=0), Vcpu(index=1, configured_cpus=frozenset({0, 1}))))


def test_vcpus_pinned_and_not(host: Path) -> None:
    assert collected(vcpus.collect, WEB, root=host) == (VCPU_0 | VCPU_1, [])


def test_a_domain_without_a_process_here_costs_nothing(host: Path) -> None:
    (host / "proc/100/cmdline").unlink()
    assert collected(vcpus.collect, WEB, root=host) == ({}, [])


def test_a_vcpu_that_ends_meanwhile_costs_only_itself(host: Path) -> None:
    """The process listed the thread, then its files were gone."""
    for file in ("schedstat", "stat", "status"):
        (host / "proc/100/task/101" / file).unlink()
    assert collected(vcpus.collect, WEB, root=host) == (VCPU_1, [])


def test_a_damaged_file_costs_one_vcpu_and_is_named(host: Path) -> None:
    (host / "proc/100/task/101/schedstat").write_text("many\n")
    samples, errors = collected(vcpus.collect, WEB, root=host)
    assert samples == VCPU_1
    assert len(errors) == 1
    assert errors[0].startswith(f"{host}/proc/100/task/101/schedstat: expected three whole numbers")


def test_a_kernel_without_schedstat_still_shows_affinity(host: Path) -> None:
    (host / "proc/100/task/101/schedstat").unlink()
    samples, _ = collected(vcpus.collect, WEB, root=host)
    assert "kvm_domain_vcpu_affinity_effective_cpus{0}" in samples
    assert "kvm_domain_vcpu_cpu_seconds_total{0}" not in samples
