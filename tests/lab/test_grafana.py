"""Each query of the dashboards, on a real Prometheus that scrapes the real exporter and actuator, with real guests."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.dashboards import FILES, Query, loaded, queries
from tests.programs import wait_until

from . import hoststate, programs, smallhost
from .guests import Guest
from .hoststate import KSM
from .lab import Lab
from .prometheus import Prometheus, prometheus
from .specs import HUGEPAGES, GuestSpec

MIB = 2**20
SEEN_SECONDS = 45.0
SHOWN_SECONDS = 60

# What Grafana makes of a scrape interval of one second, and of one host that is chosen.
VALUES = {"instance": r"kvm1\\.example", "__interval": "2s", "__rate_interval": "5s", "__range": "1m"}

NO_CONTROL_GROUPS = "the lab's guests have no control groups of their own"
NOTHING_WRONG = "it does with a knob of KSM, and the query is the same"
NEVER_THERE = {
    "balloon: Went wrong (annotation)": NOTHING_WRONG,
    "cpu: Went wrong (annotation)": NOTHING_WRONG,
    "hugepages: Went wrong (annotation)": NOTHING_WRONG,
    "cpu: Far memory: A": NO_CONTROL_GROUPS,
    "cpu: Far memory of the guests that have most: A": NO_CONTROL_GROUPS,
    "cpu: Guests' memory by node: A": NO_CONTROL_GROUPS,
    "hugepages: Guests on transparent huge pages: A": NO_CONTROL_GROUPS,
}
"""Queries that give nothing in the lab, and why."""
SOMETIMES_THERE = {"balloon: Balloons that were not read: A"}
"""Queries that give something only where a guest was late to answer."""

RULES = """
groups:
  - name: carried_out
    rules:
      - tune: scan
        because: "Until someone else sets the knob."
        when: kvm_ksm_run >= 0
        every: 1s
        set: {ksm.run: 1, ksm.pages_to_scan: "clamp_min(kvm_ksm_pages_to_scan + 100, 2000)"}
      - tune: collapse
        because: "Once."
        when: kvm_thp_khugepaged_pages_to_scan > 0
        set: {khugepaged.pages_to_scan: 5000}
      - tune: lend
        because: "Step by step."
        when: kvm_domain_balloon_usable_bytes{domain="kvmtune-lab-2"} > 0
        set: {balloon.target: kvm_domain_balloon_actual_bytes - 8 * 2^20}
      - tune: pin
        because: "Once."
        when: kvm_domain_vcpu_halted{domain="kvmtune-lab-2"} >= 0
        set: {vcpu.affinity: "0"}
  - name: thought_of
    rules:
      - tune: sleep
        because: "Only thought of."
        mode: dry-run
        when: kvm_ksm_run >= 0
        set: {ksm.sleep_millisecs: 10, khugepaged.max_ptes_none: 100}
      - tune: ask
        because: "Only thought of."
        mode: dry-run
        when: kvm_domain_balloon_stats_period_seconds{domain="kvmtune-lab-1"} >= 0
        set: {balloon.stats_period: 2, emulator.affinity: "1"}
  - name: refused
    rules:
      - tune: ask_too_much
        because: "No driver answers there."
        when: kvm_domain_balloon_driver_answering == 0
        set: {balloon.target: kvm_domain_balloon_actual_bytes - 2^20}
"""

# They boot nothing, so that they cost little; CPU 0 is fought over.
SPECIAL = [
    GuestSpec(
        name="huge", memory_mib=16, memory_backing=HUGEPAGES, pins={0: "0"}, boots=False,
        about="<metadata><ovirt-vm:vm xmlns:ovirt-vm='http://ovirt.org/vm/1.0'>"
        "<ovirt-vm:minGuaranteedMemoryMb>8</ovirt-vm:minGuaranteedMemoryMb></ovirt-vm:vm></metadata>",
    ),
    GuestSpec(
        name="emulated", memory_mib=16, pins={0: "0"}, boots=False,
        devices="<interface type='user'><model type='e1000'/></interface>",
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(lab: Lab, booted: list[Guest], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has scraped an exporter and an actuator at work on guests of several kinds."""
    directory = tmp_path_factory.mktemp("grafana")
    (directory / "rules.yml").write_text(RULES)
    before = hoststate.read()
    with ExitStack() as stack:
        stack.enter_context(smallhost.hugepages(16 * MIB))
        huge, _ = stack.enter_context(lab.crowd(SPECIAL, paused=False))
        stack.enter_context(at_work(*booted))
        started = stack.enter_context(programs.running(directory, lab.uri))
        exporter = started.exporter("--libvirt.stats-interval", "1s")
        actuator = started.actuator(exporter, directory / "rules.yml", "--apply")
        server = stack.enter_context(prometheus(directory, exporter, actuator, "kvm1.example", "kvm2.example"))
        wait_until(lambda: (KSM / "pages_to_scan").read_text() != "100\n", "the actuator writes")
        (KSM / "pages_to_scan").write_text("7777")  # someone else
        for thread in Path(f"/proc/{lab.qemu_pid(huge)}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {1})  # behind libvirt's back
        yield server
    assert hoststate.restore(before) == []


@contextmanager
def at_work(one: Guest, other: Guest) -> Iterator[None]:
    """Within the block, the guests share memory, and one of them is busy."""
    for guest in (one, other):
        guest.command("fill 80 same")
    one.command("busy")
    try:
        yield
    finally:
        for guest in (one, other):
            guest.command("idle")
            guest.command("free")


def ask_for_huge_pages() -> None:
    """Have page faults that want a huge page, which nothing else here may have for a while."""
    with mmap.mmap(-1, 8 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        memory.write(b"1" * len(memory))


def test_each_query_gives_something_or_is_known_to_give_nothing(server: Prometheus) -> None:
    waiting = {query.place: query for query in queries()}

    def only_what_is_never_there() -> bool:
        ask_for_huge_pages()
        for place, query in list(waiting.items()):
            now = time.time()
            if server.range(query.expr(**VALUES), now - SHOWN_SECONDS, now):
                del waiting[place]
        return waiting.keys() - SOMETIMES_THERE <= NEVER_THERE.keys()

    try:
        wait_until(only_what_is_never_there, "each query gives something", SEEN_SECONDS)
    finally:
        print("nothing in:", *sorted(waiting.keys() - NEVER_THERE.keys() - SOMETIMES_THERE), sep="\n  ")
    assert waiting.keys() - SOMETIMES_THERE == NEVER_THERE.keys()


def test_hosts_and_guests_can_be_chosen(server: Prometheus) -> None:
    variables = {v["name"]: v["query"] for file in FILES for v in loaded(file)["templating"]["list"]}

    def choices(name: str) -> set[str]:
        series, label = variables[name].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        return set(server.get(f"label/{label}/values", **{"match[]": Query("", series).expr(**VALUES)}))

    assert choices("instance") == {"kvm1.example:9752", "kvm2.example:9752"}
    assert {"huge", "emulated", "kvmtune-lab-1", "kvmtune-lab-2"} <= choices("domain")


def test_all_hosts_can_be_looked_at_together(server: Prometheus) -> None:
    """No query pairs the series of one host with those of another, which Prometheus would refuse."""
    now = time.time()
    for query in queries():
        one = server.range(query.expr(**VALUES), now - SHOWN_SECONDS, now)
        both = server.range(query.expr(**VALUES | {"instance": ".*"}), now - SHOWN_SECONDS, now)
        assert len(both) >= len(one), query.place
    (hosts,) = server.get("query", query=of("fleet: Hosts: A").expr(**VALUES | {"instance": ".*"}))["result"]
    assert hosts["value"][1] == "2"


def test_every_byte_is_somewhere(server: Prometheus) -> None:
    """The parts of the memory add up to it, and few bytes are not accounted for."""
    places = [query for query in queries() if query.place.startswith("memory: Memory of the hosts:")]
    *parts, saved = [value(server, query.expr(**VALUES)) for query in places]
    total = value(server, Query("", 'kvm_memory_total_bytes{instance=~"$instance(:[0-9]+)?"}').expr(**VALUES))
    assert sum(parts) == pytest.approx(total, rel=0.01)
    assert parts[-1] < 0.05 * total
    assert saved <= 0


def of(place: str) -> Query:
    (found,) = [query for query in queries() if query.place == place]
    return found


def value(server: Prometheus, expr: str) -> float:
    (sample,) = server.get("query", query=expr)["result"]
    return float(sample["value"][1])
