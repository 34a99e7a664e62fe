"""Every family about guests, on a real guest that has it, next to a witness that shares no code with kvmtune.

The witnesses: virsh, /proc, /sys, the guest's own /proc/meminfo, and what the test itself has put into the guest's XML.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.programs import wait_until

from . import programs, smallhost
from .guests import Guest
from .hoststate import KSM
from .lab import Lab
from .processes import command_lines
from .programs import Program, series
from .specs import HUGEPAGES, SHARED_MEMORY, GuestSpec

MIB = 2**20
PAGE = os.sysconf("SC_PAGE_SIZE")
METRICS = Path(__file__).parents[2] / "docs/metrics.md"
DELAY_ACCOUNTING = Path("/proc/sys/kernel/task_delayacct")
ONLINE = os.sysconf("SC_NPROCESSORS_ONLN")

SEEN_SECONDS = 20.0  # the witness's own calls may come between

TITLE, DEBIAN = "All kinds of devices", "http://debian.org/debian/12"
ABOUT = f"""
  <title>{TITLE}</title>
  <description>What the lab can plug into one guest.</description>
  <metadata>
    <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
      <libosinfo:os id="{DEBIAN}"/>
    </libosinfo:libosinfo>
    <ovirt-vm:vm xmlns:ovirt-vm="http://ovirt.org/vm/1.0">
      <ovirt-vm:minGuaranteedMemoryMb type="int">96</ovirt-vm:minGuaranteedMemoryMb>
    </ovirt-vm:vm>
  </metadata>
"""
DEVICES = """
  <disk type='file'><driver name='qemu' type='raw' iothread='1'/><source file='/run/lab/vda'/><target dev='vda' bus='virtio'/></disk>
  <disk type='file'><driver name='qemu' type='raw'/><source file='/run/lab/hda'/><target dev='hda' bus='ide'/></disk>
  <disk type='file' device='cdrom'><target dev='hdb' bus='ide'/><readonly/></disk>
  <interface type='user'><model type='virtio'/></interface>
  <interface type='user'><model type='e1000'/></interface>
  <interface type='user'><model type='rtl8139'/></interface>
  <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
"""

SPECS = {
    spec.name: spec
    for spec in (
        GuestSpec(name="huge", memory_mib=128, memory_backing=HUGEPAGES),
        GuestSpec(name="driverless", memory_mib=128, memory_backing=SHARED_MEMORY, balloon_driver=False),
        GuestSpec(name="unshared", memory_mib=128, share_pages=False, balloon=False),
        GuestSpec(
            name="pinned", memory_mib=128, vcpus=2, pins={0: "0", 1: "0-1"}, iothreads=2,
            other_pins="<emulatorpin cpuset='1'/><iothreadpin iothread='1' cpuset='0'/>",
        ),
        GuestSpec(
            name="motley", memory_mib=160, virtio_mem_mib=128, pins={0: "0"}, iothreads=1, about=ABOUT, devices=DEVICES,
            balloon_features={"autodeflate": "on", "freePageReporting": "on"},
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Host:
    """The lab as a KVM host that an exporter, run by root, looks at."""

    lab: Lab
    exporter: Program
    guests: Mapping[str, Guest]


@pytest.fixture(scope="module")
def guests(lab: Lab, booted: list[Guest]) -> Iterator[dict[str, Guest]]:
    """One guest of each kind, and the two usual ones as `twin` and `other twin`."""
    for disk in ("vda", "hda"):
        (lab.directory / disk).write_bytes(b"")
        os.truncate(lab.directory / disk, 16 * MIB)
    with smallhost.hugepages(128 * MIB):
        special = lab.boot(*SPECS.values())
        yield {guest.name: guest for guest in special} | {"twin": booted[0], "other twin": booted[1]}
        for guest in special:
            lab.destroy(guest.name)


@pytest.fixture(scope="module")
def host(lab: Lab, guests: dict[str, Guest], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with ExitStack() as stack:
        stack.enter_context(written(DELAY_ACCOUNTING, "1"))
        started = stack.enter_context(programs.running(tmp_path_factory.mktemp("families"), lab.uri))
        yield Host(lab=lab, exporter=started.exporter(), guests=guests)


@contextmanager
def written(file: Path, value: str) -> Iterator[None]:
    """Within the block, the kernel's `file` says `value`."""
    before = file.read_text()
    file.write_text(value)
    try:
        yield
    finally:
        file.write_text(before)


# Witnesses: each gives a number for a guest.

Witness = Callable[[Host, Guest], float]


def dommemstat(field: str, unit: int = 1024) -> Witness:
    def witness(host: Host, guest: Guest) -> float:
        rows = (line.split() for line in host.lab.virsh("dommemstat", guest.name).splitlines())
        return {name: int(value) * unit for name, value in rows}[field]

    return witness


def domstats(field: str, unit: int = 1) -> Witness:
    def witness(host: Host, guest: Guest) -> float:
        rows = (line.strip().partition("=") for line in host.lab.virsh("domstats", guest.name).splitlines())
        return int({name: value for name, _, value in rows}[field]) * unit

    return witness


def meminfo(field: str) -> Witness:
    return lambda host, guest: guest.meminfo()[field]


def status(field: str) -> Witness:
    """A size in /proc/PID/status."""
    return lambda host, guest: found(rf"^{field}:\s+(\d+) kB", process(host, guest) / "status") * 1024


def stat(*positions: int) -> Witness:
    """The sum of fields of /proc/PID/stat, as proc(5) counts them."""

    def witness(host: Host, guest: Guest) -> float:
        fields = (process(host, guest) / "stat").read_text().rpartition(")")[2].split()
        return sum(int(fields[position - 3]) for position in positions)

    return witness


def ticks(witness: Witness) -> Witness:
    return lambda host, guest: witness(host, guest) / os.sysconf("SC_CLK_TCK")


def ksm_stat(field: str) -> Witness:
    return lambda host, guest: found(rf"^{field}:? (-?\d+)$", process(host, guest) / "ksm_stat")


def smaps(field: str) -> Witness:
    """The sum over all mappings of /proc/PID/smaps."""

    def witness(host: Host, guest: Guest) -> float:
        text = (process(host, guest) / "smaps").read_text()
        return sum(int(kib) for kib in re.findall(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)) * 1024

    return witness


def schedstat(thread: str, position: int) -> Witness:
    """Seconds in a thread's schedstat: 0 is the time on a CPU, 1 the time it waited for one."""
    return lambda host, guest: int((task(host, guest, thread) / "schedstat").read_text().split()[position]) / 1e9


def block_io_delay(thread: str) -> Witness:
    """Field 42 of a thread's stat, in clock ticks."""
    return lambda host, guest: (
        int((task(host, guest, thread) / "stat").read_text().rpartition(")")[2].split()[42 - 3])
        / os.sysconf("SC_CLK_TCK")
    )


def cpus(thread: str) -> Witness:
    """How many CPUs the scheduler lets a thread run on."""
    return lambda host, guest: len(os.sched_getaffinity(int(task(host, guest, thread).name)))


def process(host: Host, guest: Guest) -> Path:
    return Path(f"/proc/{host.lab.qemu_pid(guest)}")


def task(host: Host, guest: Guest, thread: str) -> Path:
    """The directory of the thread of this name; without one, of the main thread."""
    main = process(host, guest)
    if thread == MAIN:
        return main / "task" / main.name
    (comm,) = (comm for comm in main.glob("task/*/comm") if comm.read_text() == f"{thread}\n")
    return comm.parent


def found(pattern: str, file: Path) -> int:
    (number,) = re.findall(pattern, file.read_text(), re.MULTILINE)
    return int(number)


VCPU, MAIN, IOTHREAD = "CPU 0/TCG", "", "IO iothread1"


@dataclass(frozen=True)
class Check:
    """A series of a guest, what it must be, and how far from it it may be."""

    metric: str
    guest: str
    expected: float | Witness
    labels: Mapping[str, str]
    within: float

    def __str__(self) -> str:
        return "-".join((self.metric, self.guest, *self.labels.values()))

    def holds(self, host: Host) -> bool:
        guest = host.guests[self.guest]
        before, value, after = self._expected(host, guest), self._value(host, guest), self._expected(host, guest)
        return value is not None and min(before, after) - self.within <= value <= max(before, after) + self.within

    def told(self, host: Host) -> str:
        guest = host.guests[self.guest]
        return f"{self} is {self._value(host, guest)}, by the witness {self._expected(host, guest)}"

    def _expected(self, host: Host, guest: Guest) -> float:
        return self.expected(host, guest) if callable(self.expected) else self.expected

    def _value(self, host: Host, guest: Guest) -> float | None:
        return host.exporter.scrape().get(
            series(self.metric, domain=guest.name, uuid=guest.uuid, **self.labels)
        )  # fmt: skip


def check(metric: str, guest: str, expected: float | Witness, *, within: float = 0, **labels: str) -> Check:
    return Check(metric, guest, expected, {name.rstrip("_"): value for name, value in labels.items()}, within)


def device(class_: str, name: str, bus: str, model: str) -> Check:
    return check("kvm_domain_device_info", "motley", 1, class_=class_, device=name, bus=bus, model=model)


CHECKS = [
    # What libvirt and the guest's driver say of the balloon
    check("kvm_domain_balloon_actual_bytes", "twin", dommemstat("actual")),
    check("kvm_domain_balloon_actual_bytes", "driverless", 128 * MIB),
    check("kvm_domain_balloon_actual_bytes", "motley", domstats("balloon.current", 1024)),
    check("kvm_domain_balloon_maximum_bytes", "twin", domstats("balloon.maximum", 1024)),
    check("kvm_domain_balloon_maximum_bytes", "motley", domstats("balloon.maximum", 1024)),
    check("kvm_domain_balloon_unused_bytes", "twin", dommemstat("unused")),
    check("kvm_domain_balloon_unused_bytes", "twin", meminfo("MemFree"), within=2 * MIB),
    check("kvm_domain_balloon_available_bytes", "twin", meminfo("MemTotal")),
    check("kvm_domain_balloon_usable_bytes", "twin", dommemstat("usable")),
    check("kvm_domain_balloon_usable_bytes", "twin", meminfo("MemAvailable"), within=2 * MIB),
    check("kvm_domain_balloon_disk_caches_bytes", "twin", meminfo("Cached"), within=2 * MIB),
    check("kvm_domain_balloon_swap_in_bytes_total", "twin", dommemstat("swap_in")),
    check("kvm_domain_balloon_swap_out_bytes_total", "twin", dommemstat("swap_out")),
    check("kvm_domain_balloon_major_faults_total", "twin", dommemstat("major_fault", 1)),
    check("kvm_domain_balloon_minor_faults_total", "twin", dommemstat("minor_fault", 1), within=100),
    check("kvm_domain_balloon_hugetlb_pgalloc_total", "twin", dommemstat("hugetlb_pgalloc", 1)),
    check("kvm_domain_balloon_hugetlb_pgfail_total", "twin", dommemstat("hugetlb_pgfail", 1)),
    check("kvm_domain_balloon_stats_age_seconds", "twin", 4, within=4),
    check("kvm_domain_balloon_data_age_seconds", "twin", 3, within=3),
    check("kvm_domain_balloon_driver_answering", "twin", 1),
    check("kvm_domain_balloon_driver_answering", "driverless", 0),
    check("kvm_domain_balloon_stats_period_seconds", "twin", 1),
    check("kvm_domain_balloon_autodeflate", "twin", 0),
    check("kvm_domain_balloon_autodeflate", "motley", 1),
    check("kvm_domain_balloon_free_page_reporting", "twin", 0),
    check("kvm_domain_balloon_free_page_reporting", "motley", 1),
    check("kvm_domain_balloon_configured_bytes", "pinned", 128 * MIB),
    check("kvm_domain_memory_used_bytes", "twin", lambda host, guest: dommemstat("available")(host, guest) - dommemstat("usable")(host, guest)),
    check("kvm_domain_memory_min_guarantee_bytes", "motley", 96 * MIB),
    # What the guests are
    check("kvm_domain_state", "twin", 1, state="running"),
    check("kvm_domain_state", "twin", 0, state="paused"),
    check("kvm_domain_memory_configured_bytes", "pinned", 128 * MIB),
    check("kvm_domain_memory_configured_bytes", "motley", 288 * MIB),
    check("kvm_domain_memory_configured_max_bytes", "motley", 288 * MIB),
    check("kvm_domain_virtio_mem_size_bytes", "motley", 128 * MIB, device="virtiomem0"),
    check("kvm_domain_virtio_mem_requested_bytes", "motley", 128 * MIB, device="virtiomem0"),
    check("kvm_domain_virtio_mem_current_bytes", "motley", 128 * MIB, device="virtiomem0"),
    device("disk", "vda", "virtio", "virtio"),
    device("disk", "hda", "ide", "ide"),
    device("cdrom", "hdb", "ide", "ide"),
    device("interface", "net0", "pci", "virtio"),
    device("interface", "net1", "pci", "e1000"),
    device("interface", "net2", "pci", "rtl8139"),
    device("balloon", "balloon0", "pci", "virtio"),
    device("rng", "rng0", "pci", "virtio"),
    check("kvm_domain_emulated_devices", "motley", 3),
    check("kvm_domain_emulated_devices", "twin", 0),
    check("kvm_domain_host_devices", "motley", 0),
    check("kvm_domain_guest_agent_connected", "motley", 0),
    # What QEMU takes of the host
    check("kvm_domain_process_pid", "twin", lambda host, guest: host.lab.qemu_pid(guest)),
    check("kvm_domain_process_stopped", "twin", 0),
    check("kvm_domain_process_cpu_seconds_total", "twin", ticks(stat(14, 15)), within=0.02),
    check("kvm_domain_process_minor_faults_total", "twin", stat(10)),
    check("kvm_domain_process_major_faults_total", "twin", stat(12)),
    check("kvm_domain_memory_rss_bytes", "twin", status("VmRSS"), within=MIB),
    check("kvm_domain_memory_virtual_bytes", "twin", status("VmSize"), within=64 * MIB),  # a thread has its stack
    check("kvm_domain_memory_rss_anon_bytes", "twin", status("RssAnon"), within=MIB),
    check("kvm_domain_memory_rss_shmem_bytes", "driverless", status("RssShmem"), within=MIB),
    check("kvm_domain_memory_hugetlb_bytes", "huge", lambda host, guest: smaps("Private_Hugetlb")(host, guest) + smaps("Shared_Hugetlb")(host, guest)),
    check("kvm_domain_memory_hugetlb_bytes", "twin", 0),
    check("kvm_domain_memory_swap_bytes", "twin", status("VmSwap")),
    check("kvm_domain_memory_locked_bytes", "twin", status("VmLck")),  # 0: libvirt may not lock memory everywhere
    # Where they run
    check("kvm_domain_vcpu_cpu_seconds_total", "twin", schedstat(VCPU, 0), within=0.02, vcpu="0"),
    check("kvm_domain_vcpu_delay_seconds_total", "twin", schedstat(VCPU, 1), within=0.02, vcpu="0"),
    check("kvm_domain_vcpu_wait_seconds_total", "twin", block_io_delay(VCPU), within=0.02, vcpu="0"),
    check("kvm_domain_vcpu_halted", "twin", 1, vcpu="0"),
    check("kvm_domain_vcpu_current_cpu", "motley", 0, vcpu="0"),
    check("kvm_domain_vcpu_affinity_configured_cpus", "pinned", 1, vcpu="0"),
    check("kvm_domain_vcpu_affinity_configured_cpus", "pinned", 2, vcpu="1"),
    check("kvm_domain_vcpu_affinity_effective_cpus", "pinned", cpus(VCPU), vcpu="0"),
    check("kvm_domain_vcpu_affinity_effective_cpus", "twin", ONLINE, vcpu="0"),
    check("kvm_domain_vcpu_affinity_info", "pinned", 1, vcpu="0", configured="0", effective="0"),
    check("kvm_domain_vcpu_affinity_info", "pinned", 1, vcpu="1", configured="0-1", effective="0-1"),
    check("kvm_domain_vcpu_affinity_mismatches", "pinned", 0),
    check("kvm_domain_vcpu_pin_overlaps", "pinned", 1),
    check("kvm_domain_vcpu_pin_overlaps", "motley", 1),
    check("kvm_domain_emulator_affinity_configured_cpus", "pinned", 1),
    check("kvm_domain_emulator_affinity_effective_cpus", "pinned", cpus(MAIN)),
    check("kvm_domain_iothread_affinity_configured_cpus", "pinned", 1, iothread="1"),
    check("kvm_domain_iothread_affinity_effective_cpus", "pinned", cpus(IOTHREAD), iothread="1"),
    check("kvm_domain_iothread_affinity_effective_cpus", "pinned", ONLINE, iothread="2"),
    check("kvm_domain_iothread_cpu_seconds_total", "motley", schedstat(IOTHREAD, 0), within=0.02, iothread="1"),
    # Merging: what is merged is tested below
    check("kvm_domain_ksm_mergeable", "twin", 1),
    check("kvm_domain_ksm_mergeable", "unshared", 0),
    check("kvm_domain_ksm_status", "unshared", 1, status="nosharepages"),
    check("kvm_domain_ksm_status", "huge", 1, status="hugepages"),
    check("kvm_domain_ksm_status", "driverless", 1, status="shared_memory"),
    check("kvm_domain_ksm_status", "twin", 1, status="host_off"),
]  # fmt: skip

ABSENT = [
    ("kvm_domain_balloon_unused_bytes", "driverless"),  # only its driver could tell
    ("kvm_domain_balloon_stats_age_seconds", "driverless"),
    ("kvm_domain_balloon_unused_bytes", "unshared"),  # it has no balloon
    ("kvm_domain_balloon_driver_answering", "unshared"),
    ("kvm_domain_guest_agent_connected", "twin"),
    ("kvm_domain_vcpu_affinity_configured_cpus", "twin"),
    ("kvm_domain_memory_configured_max_bytes", "twin"),
]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_a_series_is_what_its_witness_says(host: Host, check: Check) -> None:
    with suppress(AssertionError):
        wait_until(lambda: check.holds(host), str(check), SEEN_SECONDS)
    assert check.holds(host), check.told(host)


@pytest.mark.parametrize(("metric", "guest"), ABSENT)
def test_what_is_not_there_is_absent_and_not_zero(host: Host, metric: str, guest: str) -> None:
    assert not shows(host.exporter, metric, host.guests[guest])


def start(metric: str, guest: Guest) -> str:
    """What each series of the guest's begins with, whatever labels follow."""
    return series(metric, domain=guest.name, uuid=guest.uuid)[:-1]


INFO = {
    "virt_type": "qemu", "title": "", "os": "", "memory_backing": "anonymous", "hugepage_size": "", "memory_access": "",
    "memory_allocation": "", "nosharepages": "no", "memory_locked": "no", "numa_mode": "", "numa_nodes": "",
}  # fmt: skip
INFOS = {
    "twin": {},
    "motley": {"title": TITLE, "os": DEBIAN},
    "huge": {"memory_backing": "hugepages", "hugepage_size": "default"},
    "driverless": {"memory_backing": "memfd", "memory_access": "shared"},
    "unshared": {"nosharepages": "yes"},
}


@pytest.mark.parametrize("guest", INFOS)
def test_the_rest_of_a_guest_is_told_in_words(host: Host, guest: str) -> None:
    (line,) = [one for one in host.exporter.scrape() if one.startswith(start("kvm_domain_info", host.guests[guest]))]
    labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
    assert labels.items() >= (INFO | INFOS[guest]).items()
    assert labels["machine"] in host.lab.virsh("dumpxml", host.guests[guest].name)


@pytest.mark.parametrize(
    ("metric", "witness"),
    [
        ("kvm_host_guests", lambda host: sum("-uuid" in arguments for _, arguments in command_lines())),
        ("kvm_host_guests_stalled", lambda host: 0),
        ("kvm_memory_guest_committed_bytes", lambda host: sum(dominfo(host, "Max memory")) * 1024),
        ("kvm_cpu_vcpus", lambda host: sum(dominfo(host, "CPU(s)"))),
        ("kvm_cpu_vcpu_overcommit_ratio", lambda host: sum(dominfo(host, "CPU(s)")) / ONLINE),
        ("kvm_memory_guest_overcommit_ratio", lambda host: sum(dominfo(host, "Max memory")) / total_kib()),
        ('kvm_hugepages_nr{size="2MiB"}', lambda host: int((POOL / "nr_hugepages").read_text())),
        ('kvm_hugepages_free{size="2MiB"}', lambda host: int((POOL / "free_hugepages").read_text())),
    ],
)  # fmt: skip
def test_what_all_guests_take_is_summed_up(host: Host, metric: str, witness: Callable[[Host], float]) -> None:
    assert host.exporter.scrape()[metric] == pytest.approx(witness(host))


POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")


def dominfo(host: Host, field: str) -> list[int]:
    """A number that virsh tells of each guest."""
    rows = (host.lab.virsh("dominfo", name) for name in host.lab.guest_names())
    return [int(re.findall(rf"^{re.escape(field)}:\s+(\d+)", text, re.MULTILINE)[0]) for text in rows]


def total_kib() -> int:
    return found(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo"))


class TestMerging:
    """What ksmd does with the guests, seen through the kernel's own counts of each process."""

    def test_guests_with_equal_pages_share_them(self, host: Host) -> None:
        twins = [host.guests["twin"], host.guests["other twin"]]
        for guest in twins:
            guest.command("fill 40 same")
        scan(pages=5000)
        merged = check("kvm_domain_ksm_status", "twin", 1, status="sharing")
        wait_until(lambda: merged.holds(host) and ksm_stat("ksm_merging_pages")(host, twins[0]) > 5000, "merged", 60)
        (KSM / "sleep_millisecs").write_text("60000")  # so that the counts stand still
        for one in (
            check("kvm_domain_ksm_merging_pages", "twin", ksm_stat("ksm_merging_pages")),
            check("kvm_domain_ksm_rmap_items", "twin", ksm_stat("ksm_rmap_items")),
            check("kvm_domain_ksm_zero_pages", "twin", ksm_stat("ksm_zero_pages")),
            check("kvm_domain_ksm_process_profit_bytes", "twin", ksm_stat("ksm_process_profit")),
            check("kvm_domain_ksm_merging_pages", "unshared", 0),
        ):
            wait_until(lambda one=one: one.holds(host), str(one), SEEN_SECONDS)
        for guest in twins:
            guest.command("free")

    def test_a_guest_that_was_not_scanned_or_in_vain_is_told_apart(self, host: Host) -> None:
        """The first scan of a page only notes it; the second one may merge it."""
        guests = [name for name in ("twin", "other twin", "pinned", "motley") if rmap_items(host, name) == 0]
        scan(pages=500)
        wait_until(lambda: any(rmap_items(host, name) for name in guests), "one is scanned", 60)
        (KSM / "sleep_millisecs").write_text("60000")
        for name in guests:
            state = "nothing_equal" if rmap_items(host, name) else "not_yet_scanned"
            assert ksm_stat("ksm_merging_pages")(host, host.guests[name]) == 0
            one = check("kvm_domain_ksm_status", name, 1, status=state)
            wait_until(lambda one=one: one.holds(host), str(one), SEEN_SECONDS)


def scan(pages: int) -> None:
    (KSM / "pages_to_scan").write_text(str(pages))
    (KSM / "sleep_millisecs").write_text("20")
    (KSM / "run").write_text("1")


def rmap_items(host: Host, name: str) -> float:
    return ksm_stat("ksm_rmap_items")(host, host.guests[name])


class TestChanges:
    """What changes in a running guest is seen, although its XML is not read at each scrape."""

    def seen(self, host: Host, *checks: Check) -> None:
        for one in checks:
            wait_until(lambda one=one: one.holds(host), str(one), SEEN_SECONDS)

    def test_a_balloon_that_moves(self, host: Host) -> None:
        host.lab.virsh("setmem", "pinned", "112MiB")
        self.seen(host, check("kvm_domain_balloon_actual_bytes", "pinned", 112 * MIB))
        host.lab.virsh("setmem", "pinned", "128MiB")
        self.seen(host, check("kvm_domain_balloon_actual_bytes", "pinned", 128 * MIB))

    def test_a_vcpu_that_has_work(self, host: Host) -> None:
        host.guests["twin"].command("busy")
        self.seen(host, check("kvm_domain_vcpu_halted", "twin", 0, vcpu="0"))
        host.guests["twin"].command("idle")
        self.seen(host, check("kvm_domain_vcpu_halted", "twin", 1, vcpu="0"))

    def test_a_pin_that_is_set(self, host: Host) -> None:
        host.lab.virsh("vcpupin", "pinned", "1", "1", "--live")
        host.lab.virsh("emulatorpin", "pinned", "0-1", "--live")
        self.seen(
            host,
            check("kvm_domain_vcpu_affinity_configured_cpus", "pinned", 1, vcpu="1"),
            check("kvm_domain_emulator_affinity_configured_cpus", "pinned", 2),
        )
        host.lab.virsh("vcpupin", "pinned", "1", "0-1", "--live")
        self.seen(host, check("kvm_domain_vcpu_affinity_configured_cpus", "pinned", 2, vcpu="1"))

    def test_a_thread_that_someone_moves_behind_libvirts_back(self, host: Host) -> None:
        thread = int(task(host, host.guests["pinned"], VCPU).name)
        before = os.sched_getaffinity(thread)
        try:
            os.sched_setaffinity(thread, {1})
            self.seen(host, check("kvm_domain_vcpu_affinity_mismatches", "pinned", 1))
        finally:
            os.sched_setaffinity(thread, before)

    def test_a_device_that_is_plugged_in_and_out(self, host: Host, tmp_path: Path) -> None:
        xml = tmp_path / "interface.xml"
        xml.write_text("<interface type='user'><model type='e1000'/><mac address='52:54:00:00:00:01'/></interface>")
        host.lab.virsh("attach-device", "pinned", str(xml), "--live")
        self.seen(host, check("kvm_domain_emulated_devices", "pinned", 1))
        host.lab.virsh("detach-device", "pinned", str(xml), "--live")
        self.seen(host, check("kvm_domain_emulated_devices", "pinned", 0))

    def test_an_agent_that_connects(self, host: Host) -> None:
        host.guests["motley"].command("sh exec 3<$(ls /dev/vport*p1)")
        self.seen(host, check("kvm_domain_guest_agent_connected", "motley", 1))

    def test_virtio_mem_that_is_taken_away(self, host: Host) -> None:
        host.lab.virsh("update-memory-device", "motley", "--alias", "virtiomem0", "--requested-size", "64MiB")
        self.seen(host, check("kvm_domain_virtio_mem_requested_bytes", "motley", 64 * MIB, device="virtiomem0"))

    def test_a_title_that_is_given(self, host: Host) -> None:
        host.lab.virsh("desc", "pinned", "--live", "--title", "renamed")
        wait_until(lambda: 'title="renamed"' in "\n".join(host.exporter.scrape()), "the title", SEEN_SECONDS)


# These cannot be had in the lab.
ELSEWHERE = {
    "kvm_domain_memory_hard_limit_bytes": "libvirt wants the memory controller of a control group",
    "kvm_domain_memory_anon_huge_pages_bytes": "guests have no control group of their own without systemd",
    "kvm_domain_numa_memory_bytes": "as above, and on a host with one NUMA node there is nothing to tell",
    "kvm_domain_numa_vcpus": "as above",
    "kvm_domain_numa_remote_memory_bytes": "as above",
}


def test_every_family_about_guests_is_tested_on_a_guest() -> None:
    documented = set(re.findall(r"^\| `(kvm_domain_\w+)`", METRICS.read_text(), re.MULTILINE))
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_exporter_*.py"))
    here = set(re.findall(r"kvm_domain_\w+", tests))
    assert documented - here == set()
    assert ELSEWHERE.keys() - documented == set()


def test_promtool_finds_nothing_to_say_of_the_page(host: Host, promtool: Path) -> None:
    page = host.exporter.page()
    checked = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


class TestRights:
    """What an exporter shows, and says of what it cannot show, that an ordinary user runs."""

    @pytest.fixture
    def exporter(
        self, lab: Lab, guests: dict[str, Guest], as_nobody: tuple[str, ...], tmp_path: Path
    ) -> Iterator[Callable[..., Program]]:
        """Starts an exporter as nobody with these rights."""
        with programs.running(tmp_path, lab.readonly_uri) as started:
            yield lambda *rights: started.exporter(prefix=(*as_nobody, *rights))

    SHOWN = ("balloon_usable_bytes", "vcpu_cpu_seconds_total", "memory_rss_bytes", "state", "device_info")

    def test_without_any_it_shows_all_but_ksm_of_guests_and_says_what_grants_it(
        self, exporter: Callable[..., Program], guests: dict[str, Guest]
    ) -> None:
        running, twin = exporter(), guests["twin"]
        for metric in self.SHOWN:
            wait_until(lambda metric=metric: shows(running, f"kvm_domain_{metric}", twin), metric, SEEN_SECONDS)
        assert not shows(running, "kvm_domain_ksm_rmap_items", twin)
        (line,) = (line for line in running.output.splitlines() if "CAP_DAC_READ_SEARCH" in line)
        assert "ksm" in line

    def test_the_capability_that_it_names_is_the_right_one(
        self, exporter: Callable[..., Program], guests: dict[str, Guest]
    ) -> None:
        running = exporter("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
        wait_until(lambda: shows(running, "kvm_domain_ksm_rmap_items", guests["twin"]), "KSM of a guest", SEEN_SECONDS)
        assert "CAP_DAC_READ_SEARCH" not in running.output


def shows(exporter: Program, metric: str, guest: Guest) -> bool:
    return any(one.startswith(start(metric, guest)) for one in exporter.scrape())
