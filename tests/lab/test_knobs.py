"""Each knob of the host on the real kernel: written through the ledger, read back, and restored as it was."""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actuator import knobs
from actuator.apply import Writer
from actuator.knobs import HOST, Knob, KnobError, Target, Value
from actuator.knobs.files import FileKnob
from actuator.ledger.ledger import Ledger
from actuator.plans.plan import Setpoint
from actuator.restore import Restoration, Restorer
from kvmhost.fs import HostFS
from tests.host import unasked
from tests.programs import wait_until

from . import hoststate
from .hoststate import KSM

_MADV_MERGEABLE = 12
_PAGES = 512
# Files that the kernel changes with that of the knob: the same value elsewhere, or one that the knob is about.
_TWINS = {
    "ksm.advisor_mode": {"/sys/kernel/mm/ksm/pages_to_scan"},
    "sysctl.vm.nr_overcommit_hugepages": {"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages"},
}
SMALL_POOL: Target = (("node", "0"), ("size", "2MiB"))


class Host:
    """The knobs of this machine, and a ledger of what is done to them."""

    def __init__(self, state: Path) -> None:
        self.ledger = Ledger(state)
        self.knobs = knobs.connect(HostFS(), unasked(), time.time)
        self.writer = Writer(self.knobs, self.ledger, drift_backoff_seconds=600)

    def set(self, name: str, value: Value, target: Target = HOST) -> str:
        """What went wrong, also later, or nothing."""
        knob = self.knobs[name]
        problem = self.writer.write(
            Setpoint("lab", name, target, 0.0, "a test", 0.0), knob.live()[target], value, time.time()
        )
        if problem or not knob.settle_seconds:
            return problem.detail if problem else ""
        ends = self.writer.settle(time.time())
        deadline = time.monotonic() + knob.settle_seconds + 1
        while not ends and time.monotonic() < deadline:
            time.sleep(0.05)
            ends = self.writer.settle(time.time())
        return "".join(end.detail for end in ends if end.outcome != "settled")

    def value(self, name: str, target: Target = HOST) -> Value:
        return self.knobs[name].live()[target].value

    def restore(self) -> list[tuple[str, str, str]]:
        told: list[Restoration] = []
        Restorer(self.knobs, self.ledger, time.monotonic, time.sleep, told.append).run()
        return [(one.owned.knob, one.result, one.detail) for one in told]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "state")
    yield host
    host.restore()
    host.ledger.close()


@pytest.fixture
def shared() -> Iterator[None]:
    """Pages that KSM has merged."""
    memory = mmap.mmap(-1, _PAGES * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(_MADV_MERGEABLE)
    memory.write(bytes([7]) * len(memory))
    rate = hoststate.ksm("pages_to_scan")
    (KSM / "pages_to_scan").write_text("5000")
    (KSM / "run").write_text("1")
    wait_until(lambda: hoststate.ksm("pages_sharing") >= _PAGES - 10, "the pages are merged", 60)
    (KSM / "pages_to_scan").write_text(str(rate))
    yield
    memory.close()


def other(knob: Knob, value: Value) -> Value:
    """A value that the knob may have now, and has not."""
    live = knob.live()[HOST]
    if isinstance(value, str):
        return next(word for word in live.words if word != value)
    low, high = live.low or 0, live.high or 0
    return value - 1 if value > low else min(value + 1, high)


FILES = [name for name, knob in knobs.KNOBS.items() if issubclass(knob, FileKnob)]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_written_and_restored(host: Host, name: str) -> None:
    before = hoststate.read()
    live = host.knobs[name].live().get(HOST)
    if live is None:
        pytest.skip("this kernel does not have it")
    if live.refusal:
        pytest.skip(live.refusal)
    wanted = other(host.knobs[name], live.value)
    assert host.set(name, wanted) == ""
    assert host.value(name) == wanted
    changed = {path for path, value in hoststate.read().items() if before[path] != value}
    assert changed - _TWINS.get(name, set()) <= {f"/{host.knobs[name].file}"}  # type: ignore[attr-defined]
    assert host.restore() == [(name, "restored", "")]
    assert hoststate.read() == before


@pytest.mark.parametrize("name", FILES)
def test_the_kernel_takes_the_hard_limits(host: Host, name: str) -> None:
    """But those that would do something at once, and those that only make sense with others."""
    if name in ("ksm.run", "sysctl.vm.overcommit_memory", "sysctl.vm.min_free_kbytes", "sysctl.vm.max_map_count"):
        pytest.skip("not for the sake of a test")
    live = host.knobs[name].live().get(HOST)
    if live is None or live.refusal:
        pytest.skip("not here or not now")
    for value in live.words or (live.low, live.high):
        assert value is not None
        host.knobs[name].write(HOST, value)
        assert host.value(name) == value
    host.knobs[name].write(HOST, live.value)


def test_the_two_faces_of_a_setting(host: Host) -> None:
    """Only the one in force can be set. Where an operator has chosen the other, it goes there and back, too."""
    vm = Path("/proc/sys/vm")
    (vm / "dirty_bytes").write_text(str(2**30))
    assert (host.knobs["sysctl.vm.dirty_ratio"].live()[HOST].refusal or "").startswith("vm.dirty_bytes")
    assert host.set("sysctl.vm.dirty_bytes", 2**28) == ""
    assert (vm / "dirty_bytes").read_text() == f"{2**28}\n"
    assert host.restore() == [("sysctl.vm.dirty_bytes", "restored", "")]
    assert (vm / "dirty_bytes").read_text() == f"{2**30}\n"


def test_the_advisor_takes_the_rate_and_gives_it_back(host: Host) -> None:
    (KSM / "pages_to_scan").write_text("321")
    assert (host.knobs["ksm.advisor_mode"].live()[HOST].refusal or "").startswith("pages_to_scan is 321")
    assert host.set("ksm.pages_to_scan", 100) == ""
    assert host.set("ksm.advisor_mode", "scan-time") == ""
    assert hoststate.ksm("pages_to_scan") != 100
    with pytest.raises(KnobError, match="Invalid argument; the KSM advisor is on: write none to advisor_mode first"):
        host.knobs["ksm.pages_to_scan"].write(HOST, 500)
    assert host.restore() == [("ksm.advisor_mode", "restored", ""), ("ksm.pages_to_scan", "restored", "")]
    assert hoststate.ksm("pages_to_scan") == 321


@pytest.mark.usefixtures("shared")
def test_unmerging(host: Host) -> None:
    assert host.set("ksm.run", 2) == ""
    wait_until(lambda: hoststate.ksm("pages_shared") == 0, "all is unmerged")
    assert hoststate.ksm("run") == 2
    assert host.restore() == [("ksm.run", "restored", "")]
    assert hoststate.ksm("run") == 1


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("name", ["ksm.max_page_sharing", "ksm.merge_across_nodes"])
def test_what_wants_nothing_shared(host: Host, name: str) -> None:
    if not host.knobs[name].live():
        pytest.skip("this kernel does not have it")
    before = host.value(name)
    with pytest.raises(OSError, match="busy"):
        (KSM / name.removeprefix("ksm.")).write_text(str(other(host.knobs[name], before)))
    assert host.set(name, other(host.knobs[name], before)) == ""
    assert hoststate.ksm("run") == 1
    assert host.restore() == [(name, "restored", "")]
    assert (host.value(name), hoststate.ksm("run")) == (before, 1)


def test_a_pool_grows_and_shrinks(host: Host) -> None:
    before = int(host.value("hugepages.pool", SMALL_POOL))
    assert host.set("hugepages.pool", before + 20, SMALL_POOL) == ""
    assert host.value("hugepages.pool", SMALL_POOL) == before + 20
    assert host.restore() == [("hugepages.pool", "restored", "")]
    assert host.value("hugepages.pool", SMALL_POOL) == before


def test_a_pool_keeps_the_pages_that_are_in_use(host: Host) -> None:
    before = int(host.value("hugepages.pool", SMALL_POOL))
    host.set("hugepages.pool", before + 8, SMALL_POOL)
    map_hugetlb = 0x40000
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | map_hugetlb
    with mmap.mmap(-1, 4 << 21, flags=flags) as memory:
        live = host.knobs["hugepages.pool"].live()[SMALL_POOL]
        assert live.low is not None
        used_or_promised = live.low
        memory[0] = 1
        live = host.knobs["hugepages.pool"].live()[SMALL_POOL]
        assert live.low == used_or_promised >= 4


def test_a_pool_gets_fewer_pages_than_there_is_memory_for(host: Host) -> None:
    live = host.knobs["hugepages.pool"].live()[SMALL_POOL]
    assert live.high is not None
    with pytest.raises(KnobError, match="at most, what memory is available"):
        host.knobs["hugepages.pool"].write(SMALL_POOL, live.high + 10_000)
