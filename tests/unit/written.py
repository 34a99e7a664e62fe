"""A host of files with a guest, and what writes to it and restores it: for the tests of both."""

import shutil
from pathlib import Path

import pytest

from actuator import knobs
from actuator.apply import Writer
from actuator.knobs import HOST, Knob, KnobError, Live, Target, Unit, Value
from actuator.ledger.ledger import Ledger
from actuator.ledger.records import decode as decode_record
from actuator.plans.plan import Setpoint
from actuator.restore import Restoration, Restorer
from kvmhost.fs import HostFS
from tests.host import unasked

RUN, PAGES = ("ksm.run", HOST), ("ksm.pages_to_scan", HOST)
GUEST: Target = (("domain", "web-1"),)
BALLOON = ("balloon.target", GUEST)
MIB = 2**20


class Guest(Knob):
    """A guest that moves its balloon by `speed` bytes each time it is looked at; it uses `low` bytes."""

    name, unit, summary = "balloon.target", Unit.BYTES, "a model of a guest"
    keys, quantum, settle_seconds, takes_back = ("domain",), MIB, 10.0, True

    def __init__(self, actual: int, speed: int, uuid: str = "u") -> None:
        self.actual = self.goal = actual
        self.speed = speed
        self.uuid: str | None = uuid
        self.low = 0
        self.run = "1"
        self.says = self.trouble = self.breaks = ""
        self.hangs: str | None = None

    def doubt(self, target: Target) -> str | None:
        return self.hangs

    def remark(self, target: Target) -> str:
        return self.says

    def live(self) -> dict[Target, Live]:
        step = max(-self.speed, min(self.speed, self.goal - self.actual))
        self.actual += step
        live = Live(value=self.actual, low=self.low, identity=self.uuid or "", trouble=self.trouble, run=self.run)
        return {GUEST: live} if self.uuid else {}

    def write(self, target: Target, value: Value) -> None:
        if self.breaks:
            raise KnobError(self.breaks)
        self.goal = int(value)

    is_ours = knobs.KNOBS["balloon.target"].is_ours


class Host:
    """KSM files below `root`, a guest, a ledger; and a clock that `sleep` moves."""

    def __init__(self, root: Path, guest: Guest) -> None:
        self.ksm = root / "sys/kernel/mm/ksm"
        self.state = root / "state"
        self.now = 100.0
        self.guest = guest
        self.knobs = {**knobs.connect(HostFS(root), unasked(), self.clock), "balloon.target": guest}
        self.restart()

    def restart(self) -> None:
        """What a new process of the actuator starts with."""
        if hasattr(self, "ledger"):
            self.ledger.close()
        self.ledger = Ledger(self.state)
        self.writer = Writer(self.knobs, self.ledger, drift_backoff_seconds=600)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def file(self, name: str) -> str:
        return (self.ksm / name).read_text().strip()

    def set(self, key: tuple[str, Target], value: Value) -> str:
        live = self.knobs[key[0]].live()[key[1]]
        problem = self.writer.write(Setpoint("r", *key, 0.0, "because", 0.1), live, value, self.now)
        return problem.detail if problem else ""

    def restore(self) -> list[tuple[str, str]]:
        told: list[Restoration] = []
        clean = Restorer(self.knobs, self.ledger, self.clock, self.sleep, told.append).run()
        assert clean == all(restoration.result != "failed" for restoration in told)
        return [(restoration.owned.knob, restoration.result) for restoration in told]

    @property
    def records(self) -> list[object]:
        return [decode_record(line) for line in self.ledger.path.read_bytes().splitlines()]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    shutil.copytree(Path(__file__).parents[1] / "hosts/ordinary/sys/kernel/mm/ksm", tmp_path / "sys/kernel/mm/ksm")
    host = Host(tmp_path, Guest(256 * MIB, speed=64 * MIB))
    for name, value in (("run", 0), ("pages_to_scan", 100), ("advisor_mode", "[none] scan-time")):
        (host.ksm / name).write_text(f"{value}\n")
    return host
