"""What the exporter says at start-up of a host that lacks something."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter import preflight
from kvmhost.fs import HostFS
from tests.host import fixture


@pytest.mark.parametrize(
    ("host", "lines"),
    [
        ("ordinary", []),
        ("two-numa-nodes", []),
        ("unreadable-files", []),
        ("no-ksm-directory", ["no kvm_ksm_*: the kernel has no KSM", "no kvm_hugepages_*: the kernel has no"]),
        ("old-kernel", ["no kvm_pressure_*: the kernel has no PSI; boot with psi=1"]),
        (
            "ksm-off",
            ["no kvm_pressure_*: the", "no kvm_hugepages_*: the", "no kvm_thp_*: the kernel has no transparent huge"],
        ),
        ("malformed-files", ["not published, since this version does not know them: pages_compressed in"]),
    ],
)
def test_what_is_missing(host: str, lines: list[str]) -> None:
    said = preflight.missing(fixture(host))
    assert len(said) == len(lines)
    for whole, start in zip(said, lines, strict=True):
        assert whole.startswith(start)


def test_a_root_that_is_no_host(tmp_path: Path) -> None:
    said = preflight.missing(HostFS(tmp_path))
    assert said[0] == f"no kvm_memory_*: there is no {tmp_path}/proc/meminfo; set --path.rootfs to the host's root"
    assert said[-1].startswith(f"no kvm_domain_vcpu_*, no kvm_tuner_active and no CPU time of ksmd: {tmp_path}/proc")
