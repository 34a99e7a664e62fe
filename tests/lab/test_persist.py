"""Values that are kept for the next boot, on the real kernel: what a boot does is done by the programs that do it then.

The drop-in files are below a directory of the test, since /etc is the machine's own.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actuator import knobs
from actuator.apply import Writer
from actuator.knobs import HOST, Target, Value
from actuator.ledger.dropins import SYSCTL, TMPFILES, DropIns
from actuator.ledger.ledger import Ledger
from actuator.ledger.records import Kept
from actuator.plans.plan import Setpoint
from actuator.restore import Restorer
from kvmhost.fs import HostFS
from tests.host import unasked
from tests.programs import wait_until

POOL: Target = (("node", "0"), ("size", "2MiB"))


class Actuator:
    """One that starts, and may be started again after a crash and a boot."""

    def __init__(self, directory: Path) -> None:
        self.ledger = Ledger(directory / "state", DropIns(directory))
        self.knobs = knobs.connect(HostFS(), unasked(), time.time)
        self.writer = Writer(self.knobs, self.ledger, drift_backoff_seconds=600)

    def set(self, name: str, target: Target, value: Value) -> None:
        live = self.knobs[name].live()[target]
        setpoint = Setpoint("lab", name, target, 0.0, "a test", 0.0, persist=True)
        assert self.writer.write(setpoint, live, value, time.time()) is None
        wait_until(lambda: self.writer.settle(time.time()) != () or not self.writer.settling, f"{name} is {value}")

    def restore(self) -> None:
        assert Restorer(self.knobs, self.ledger, time.monotonic, time.sleep, lambda _: None).run()


@pytest.fixture
def actuator(tmp_path: Path) -> Iterator[Actuator]:
    actuator = Actuator(tmp_path)
    yield actuator
    actuator.ledger.close()


@pytest.mark.parametrize(
    ("name", "target", "step"),
    [("sysctl.vm.swappiness", HOST, -1), ("hugepages.pool", POOL, 8)],
    ids=["sysctl", "pool"],
)
def test_a_boot_sets_it_and_restore_knows_what_was_before(
    actuator: Actuator, tmp_path: Path, name: str, target: Target, step: int
) -> None:
    before = int(actuator.knobs[name].live()[target].value)
    actuator.set(name, target, before + step)
    actuator.ledger.close()  # killed
    if name == "hugepages.pool" and not (tmp_path / SYSCTL).exists():
        pytest.skip("this host has several nodes")
    actuator.knobs[name].write(target, before)
    wait_until(lambda: actuator.knobs[name].live()[target].value == before, "it is as a kernel starts with")
    subprocess.run(["sysctl", "-p", tmp_path / SYSCTL], check=True, capture_output=True)
    assert actuator.knobs[name].live()[target].value == before + step
    again = Actuator(tmp_path)
    assert again.writer.obstacle((name, target), again.knobs[name].live()[target], time.time()) is None
    again.restore()
    again.ledger.close()
    assert again.knobs[name].live()[target].value == before
    assert not (tmp_path / SYSCTL).exists()
    actuator.ledger = Ledger(tmp_path / "state")


def test_a_pool_without_a_sysctl_is_set_by_tmpfiles(actuator: Actuator, tmp_path: Path) -> None:
    before = int(actuator.knobs["hugepages.pool"].live()[POOL].value)
    path = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"
    if not Path(path).exists():
        pytest.skip("this kernel has no nodes")
    assert DropIns(tmp_path).keep({path: Kept(path, before + 4, before, "lab", "a test")}) == ""
    subprocess.run(["systemd-tmpfiles", "--create", tmp_path / TMPFILES], check=True, capture_output=True)
    assert actuator.knobs["hugepages.pool"].live()[POOL].value == before + 4
