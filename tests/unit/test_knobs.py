"""Knobs that are files of /proc and /sys: what a host says of them, when they are refused, and what a write does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from actuator import knobs
from actuator.knobs import HOST, KNOBS, KnobError, Live, Unit, label
from actuator.knobs.files import FileKnob
from actuator.plans.guard import Verdict, judge
from kvmhost.fs import HostFS
from tests.host import FIXTURES, fixture, public_directory, unasked, unprivileged

KSM = "sys/kernel/mm/ksm"
THP = "sys/kernel/mm/transparent_hugepage"
VM = "proc/sys/vm"
FILES = {name: knob for name, knob in KNOBS.items() if issubclass(knob, FileKnob)}
MEMINFO = "MemTotal: 1000000 kB\nMemAvailable: {available} kB\nCommitted_AS: {committed} kB\nCommitLimit: 500000 kB\n"


def knobs_of(fs: HostFS) -> Mapping[str, knobs.Knob]:
    return knobs.connect(fs, unasked(), lambda: 0.0)


def live_of(fs: HostFS, knob: str) -> Live:
    return knobs_of(fs)[knob].live()[HOST]


@pytest.fixture
def host(tmp_path: Path) -> HostFS:
    """The ordinary fixture host, to be changed."""
    for part in (KSM, THP, VM, "proc/self"):
        shutil.copytree(FIXTURES / "ordinary" / part, tmp_path / part)
    shutil.copy(FIXTURES / "ordinary/proc/meminfo", tmp_path / "proc/meminfo")
    put(tmp_path, {f"{KSM}/advisor_mode": "[none] scan-time", f"{KSM}/pages_to_scan": "100"})
    return HostFS(tmp_path)


def put(root: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        (root / path).write_text(f"{text}\n")


def test_every_knob_of_the_table_is_connected() -> None:
    assert list(knobs_of(fixture("ordinary"))) == list(KNOBS)
    assert all(knob.name == name for name, knob in KNOBS.items())


@pytest.mark.parametrize("name", FILES)
def test_a_host_has_it_or_not(name: str) -> None:
    knob = knobs_of(fixture("ordinary"))[name]
    (live,) = knob.live().values()
    if knob.unit is Unit.WORD:
        assert live.value in live.words
        assert set(knob.words) == set(live.words)
    else:
        assert knob.lowest is not None
        assert knob.highest is not None
        assert isinstance(live.value, int)
    assert knobs_of(HostFS(FIXTURES / "malformed-files/libvirt"))[name].live() == {}


@pytest.mark.parametrize("name", FILES)
def test_a_write_is_one_of_the_value(host: HostFS, name: str) -> None:
    if name == "ksm.max_page_sharing" or name == "ksm.merge_across_nodes":
        put(host.root, {f"{KSM}/pages_shared": "0"})
    knob = knobs_of(host)[name]
    value = next(word for word in (*knob.words, knob.lowest) if word is not None)
    knob.write(HOST, value)
    assert (host.root / FILES[name].file).read_text() == f"{value}\n"


@pytest.mark.parametrize(
    ("files", "knob", "refusal"),
    [
        ({}, "ksm.pages_to_scan", None),
        ({f"{KSM}/advisor_mode": "none [scan-time]"}, "ksm.pages_to_scan", "the kernel's KSM advisor sets it (advisor_mode is scan-time): set ksm.advisor_mode to none first"),
        ({}, "ksm.advisor_mode", None),
        ({f"{KSM}/pages_to_scan": "1250"}, "ksm.advisor_mode", "pages_to_scan is 1250, and would be 100 when the advisor is switched off again: set ksm.pages_to_scan to 100 first"),
        ({f"{KSM}/pages_to_scan": "1250", f"{KSM}/advisor_mode": "none [scan-time]"}, "ksm.advisor_mode", None),
        ({f"{KSM}/run": "2"}, "ksm.run", "it is 2 and 91022 pages are still shared: someone unmerges all pages"),
        ({f"{KSM}/run": "2", f"{KSM}/pages_shared": "0"}, "ksm.run", None),
        ({}, "ksm.max_page_sharing", None),
        ({"proc/meminfo": MEMINFO.format(available=100_000, committed=0)}, "ksm.max_page_sharing", "pages are shared, and must be unmerged first: undoing all merging takes 2.5 GiB, and the host can spare 48.8 MiB beside its reserve: free memory first"),
        ({"proc/meminfo": MEMINFO.format(available=100_000, committed=0), f"{KSM}/pages_shared": "0"}, "ksm.max_page_sharing", None),
        ({}, "sysctl.vm.dirty_ratio", None),
        ({}, "sysctl.vm.dirty_bytes", "vm.dirty_ratio (40) is in force: set that, or choose by hand: sysctl -w vm.dirty_bytes="),
        ({f"{VM}/dirty_bytes": "4194304", f"{VM}/dirty_ratio": "0"}, "sysctl.vm.dirty_bytes", None),
        ({f"{VM}/dirty_bytes": "4194304", f"{VM}/dirty_ratio": "0"}, "sysctl.vm.dirty_ratio", "vm.dirty_bytes (4194304) is in force: set that, or choose by hand: sysctl -w vm.dirty_ratio="),
        ({f"{VM}/dirty_ratio": "0"}, "sysctl.vm.dirty_ratio", None),
        ({f"{VM}/overcommit_memory": "2"}, "sysctl.vm.overcommit_ratio", "vm.overcommit_memory is 2: a smaller limit would fail allocations of all programs"),
        ({}, "sysctl.vm.overcommit_ratio", None),
    ],
)  # fmt: skip
def test_refusals(host: HostFS, files: Mapping[str, str], knob: str, refusal: str | None) -> None:
    put(host.root, files)
    assert live_of(host, knob).refusal == refusal


@pytest.mark.parametrize(
    ("files", "knob", "bounds"),
    [
        ({}, "ksm.run", (0, 2)),
        ({"proc/meminfo": MEMINFO.format(available=100_000, committed=0)}, "ksm.run", (0, 1)),
        ({"proc/meminfo": "MemTotal: 1 kB"}, "ksm.run", (0, 1)),
        ({"proc/meminfo": "MemTotal: 1 kB", f"{KSM}/pages_sharing": "0", f"{KSM}/ksm_zero_pages": "0"}, "ksm.run", (0, 2)),
        ({}, "ksm.advisor_min_pages_to_scan", (1, 30_000)),
        ({}, "ksm.advisor_max_pages_to_scan", (500, 1_000_000)),
        ({}, "khugepaged.max_ptes_none", (0, 511)),
        ({f"{THP}/hpage_pmd_size": "536870912"}, "khugepaged.max_ptes_none", (0, 131_071)),
        ({"proc/meminfo": MEMINFO.format(available=0, committed=400_000)}, "sysctl.vm.overcommit_memory", (0, 2)),
        ({"proc/meminfo": MEMINFO.format(available=0, committed=600_000)}, "sysctl.vm.overcommit_memory", (0, 1)),
        ({"proc/meminfo": MEMINFO.format(available=0, committed=0)}, "sysctl.vm.min_free_kbytes", (1024, 50_000)),
    ],
)  # fmt: skip
def test_limits_that_the_host_sets(host: HostFS, files: Mapping[str, str], knob: str, bounds: tuple[int, int]) -> None:
    put(host.root, files)
    live = live_of(host, knob)
    assert (live.low, live.high) == bounds


def test_tuned_may_have_masked_ksm() -> None:
    assert (live_of(fixture("two-numa-nodes"), "ksm.run").refusal or "").startswith("a profile of tuned")


def test_unmerging_without_memory_for_it_is_never_begun(host: HostFS) -> None:
    put(host.root, {"proc/meminfo": MEMINFO.format(available=100_000, committed=0)})
    for knob, value in (("ksm.run", 2), ("ksm.max_page_sharing", 64)):
        with pytest.raises(KnobError, match=r"undoing all merging takes 2.5 GiB, and the host can spare 48.8 MiB"):
            knobs_of(host)[knob].write(HOST, value)
    assert (live_of(host, "ksm.run").value, live_of(host, "ksm.max_page_sharing").value) == (1, 256)


def test_what_wants_nothing_shared_goes_the_way_through(host: HostFS) -> None:
    knob = knobs_of(host)["ksm.max_page_sharing"]
    knob.write(HOST, 64)
    assert (knob.live()[HOST].value, live_of(host, "ksm.run").value) == (64, 1)


def test_nothing_is_unmerged_for_a_value_that_is_there(host: HostFS) -> None:
    put(host.root, {"proc/meminfo": MEMINFO.format(available=0, committed=0)})
    knobs_of(host)["ksm.max_page_sharing"].write(HOST, 256)


def test_the_advisors_rate_is_not_taken_for_ours(host: HostFS) -> None:
    ours = live_of(host, "ksm.pages_to_scan")
    put(host.root, {f"{KSM}/advisor_mode": "none [scan-time]"})
    assert live_of(host, "ksm.pages_to_scan").identity != ours.identity


def test_thp_leaves_what_the_kernel_keeps_free(host: HostFS) -> None:
    """The kernel would change min_free_kbytes; a file cannot, but a link that leads to the same file can."""
    minimum = host.root / VM / "min_free_kbytes"
    (host.root / THP / "enabled").unlink()
    (host.root / THP / "enabled").symlink_to(minimum)
    knobs_of(host)["thp.enabled"].write(HOST, "4096")
    assert minimum.read_text() == "67584\n"


@pytest.mark.parametrize(
    ("make", "value", "says"),
    [
        (lambda file: file.unlink(), 1, "No such file or directory; this kernel does not have it"),
        (lambda file: (file.unlink(), file.mkdir()), 1, "Is a directory; see dmesg"),
        (lambda file: (file.unlink(), file.symlink_to("/proc/self/oom_score_adj")), 5000, "Invalid argument; the KSM advisor is on: write none to advisor_mode first"),
        (lambda file: (file.unlink(), file.symlink_to("/dev/full")), 1, "No space left on device; see dmesg"),
    ],
    ids=["gone", "a directory", "the kernel refuses the value", "the kernel has no room"],
)  # fmt: skip
def test_errors_of_the_kernel_are_explained(host: HostFS, make: object, value: int, says: str) -> None:
    assert callable(make)
    make(host.root / KSM / "pages_to_scan")
    with pytest.raises(KnobError) as error:
        knobs_of(host)["ksm.pages_to_scan"].write(HOST, value)
    assert str(error.value) == f"cannot write {value} to {host.root / KSM}/pages_to_scan: {says}"


def test_without_privileges() -> None:
    with public_directory() as root:
        shutil.copytree(FIXTURES / "ordinary" / KSM, root / KSM)
        with unprivileged(), pytest.raises(KnobError, match="Permission denied; grant CAP_DAC_OVERRIDE"):
            knobs_of(HostFS(root))["ksm.sleep_millisecs"].write(HOST, 1)


@pytest.mark.parametrize(
    ("knob", "wanted", "ruling", "detail"),
    [
        ("thp.enabled", "never", "write", ""),
        ("thp.enabled", "madvise", "unchanged", ""),
        ("thp.enabled", "sometimes", "refused", "this host does not have sometimes, only always, madvise, never"),
        ("ksm.run", 2.0, "write", ""),
        ("ksm.run", 3.0, "refused", "3 is not one of its values, 0 to 2"),
        ("sysctl.vm.swappiness", 300.0, "write", "not above 200, the knob's highest"),
    ],
)
def test_what_a_rule_may_ask_for(host: HostFS, knob: str, wanted: float | str, ruling: str, detail: str) -> None:
    verdict = judge(wanted, live_of(host, knob), KNOBS[knob], (), writes=(), now=0.0)
    assert (verdict.ruling, verdict.detail) == (ruling, detail)


def test_a_switch_says_why_a_value_is_not_there(host: HostFS) -> None:
    live = Live(value=1, low=0, high=1, high_because="memory is short")
    assert judge(2.0, live, KNOBS["ksm.run"], (), writes=(), now=0.0) == Verdict(
        "refused", None, "2 is not one of its values, 0 to 1: memory is short", "unavailable"
    )


@pytest.mark.parametrize(
    ("unit", "text", "value", "shown"),
    [
        (Unit.WORD, "scan-time", "scan-time", "scan-time"),
        (Unit.WORD, "defer+madvise", "defer+madvise", "defer+madvise"),
        (Unit.WORD, "virtual-host mine", "virtual-host mine", "virtual-host mine"),
        (Unit.SECONDS, "2m", 120, "120s"),
        (Unit.SECONDS, "5", 5, "5s"),
    ],
)
def test_units(unit: Unit, text: str, value: int | str, shown: str) -> None:
    assert unit.parse(text) == value
    assert unit.format(value) == shown


@pytest.mark.parametrize(("unit", "text"), [(Unit.WORD, ""), (Unit.WORD, "a; b"), (Unit.WORD, " a"), (Unit.SECONDS, "500ms")])  # fmt: skip
def test_what_is_of_no_unit(unit: Unit, text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        unit.parse(text)


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ((), "host"),
        ((("domain", "web"),), "web"),
        ((("domain", "web"), ("vcpu", "0")), "web/vcpu 0"),
        ((("node", "1"), ("size", "2MiB")), "node 1/size 2MiB"),
    ],
)
def test_labels(target: knobs.Target, shown: str) -> None:
    assert label(target) == shown
