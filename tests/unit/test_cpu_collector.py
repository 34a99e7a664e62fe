"""How CPUs share hardware is read again only when other CPUs are online."""

from __future__ import annotations

from pathlib import Path

from exporter.collectors.cpu import CpuCollector
from tests.collected import collected
from tests.host import made_of

CPU = "sys/devices/system/cpu"


def host(root: Path, online: str, siblings: str) -> None:
    files = {f"{CPU}/online": online}
    for cpu in range(4):
        files[f"{CPU}/cpu{cpu}/topology/thread_siblings_list"] = siblings if cpu < 2 else str(cpu)
        files[f"{CPU}/cpu{cpu}/topology/core_siblings_list"] = "0-3"
    made_of(root, files)


def test_the_layout_is_kept_until_other_cpus_are_online(tmp_path: Path) -> None:
    collector = CpuCollector()
    seen = []
    for online, siblings in (("0-3", "0-1"), ("0-3", "unread"), ("0,2-3", "0"), ("0-3", "0-1")):
        host(tmp_path, online, siblings)
        samples, errors = collected(collector, root=tmp_path)
        assert errors == []
        seen.append(
            [samples[f"kvm_cpu_{name}"] for name in ("online", "cores", "sockets", "threads_per_core", "smt_active")]
        )
    assert seen == [[4, 3, 1, 2, 1], [4, 3, 1, 2, 1], [3, 3, 1, 1, 0], [4, 3, 1, 2, 1]]
