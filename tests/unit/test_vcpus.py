"""What is shown of vCPUs in the odd cases. The ordinary ones are in the golden pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.collectors import vcpus
from kvmhost.domains import Vcpu
from tests.collected import UUID, collected, domain


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
    "kvm_domain_vcpu_halted{1}": 1,
    "kvm_domain_vcpu_current_cpu{1}": 5,
    "kvm_domain_vcpu_affinity_configured_cpus{1}": 2,
    "kvm_domain_vcpu_affinity_effective_cpus{1}": 4,
    "kvm_domain_vcpu_affinity_info{1,0-1,4-7}": 1,
}
VCPU_0 = {
    "kvm_domain_vcpu_cpu_seconds_total{0}": 3.0,
    "kvm_domain_vcpu_delay_seconds_total{0}": 0.5,
    "kvm_domain_vcpu_halted{0}": 1,
    "kvm_domain_vcpu_current_cpu{0}": 5,
    "kvm_domain_vcpu_affinity_effective_cpus{0}": 4,
    "kvm_domain_vcpu_affinity_info{0,,4-7}": 1,
}
GUEST = {"kvm_domain_vcpu_affinity_mismatches": 1, "kvm_domain_emulator_affinity_effective_cpus": 4}
WEB = domain(vcpus=(Vcpu(index=0), Vcpu(index=1, configured_cpus=frozenset({0, 1}))))


def test_vcpus_pinned_and_not(host: Path) -> None:
    assert collected(vcpus.VcpusCollector(), WEB, root=host) == (VCPU_0 | VCPU_1 | GUEST, [])


def test_a_domain_without_a_process_here_costs_nothing(host: Path) -> None:
    (host / "proc/100/cmdline").unlink()
    assert collected(vcpus.VcpusCollector(), WEB, root=host) == ({}, [])


def test_a_vcpu_that_ends_meanwhile_costs_only_itself(host: Path) -> None:
    """The process listed the thread, then its files were gone."""
    for file in ("schedstat", "stat", "status"):
        (host / "proc/100/task/101" / file).unlink()
    assert collected(vcpus.VcpusCollector(), WEB, root=host) == (VCPU_1 | GUEST, [])


def test_a_damaged_file_costs_one_vcpu_and_is_named(host: Path) -> None:
    (host / "proc/100/task/101/schedstat").write_text("many\n")
    samples, errors = collected(vcpus.VcpusCollector(), WEB, root=host)
    assert samples == VCPU_1 | GUEST
    assert len(errors) == 1
    assert errors[0].startswith(f"{host}/proc/100/task/101/schedstat: expected three whole numbers")


def test_a_kernel_without_schedstat_still_shows_affinity(host: Path) -> None:
    (host / "proc/100/task/101/schedstat").unlink()
    samples, _ = collected(vcpus.VcpusCollector(), WEB, root=host)
    assert "kvm_domain_vcpu_affinity_effective_cpus{0}" in samples
    assert "kvm_domain_vcpu_cpu_seconds_total{0}" not in samples
