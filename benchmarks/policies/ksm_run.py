"""One run: a policy at work on a mix, on the real kernel, looked at twenty times a second."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.policies.ksm_load import MIB, PAGE_BYTES, Process
from benchmarks.policies.ksm_mixes import Arrive, Event, Rewrite
from benchmarks.policies.ksm_policies import AUTOPILOT, FIXED, PEERS, Peer, autopilot, files, write
from tests.lab.hoststate import ksm
from tests.peers.ksmpeers import Files, Memory

_LOOK_SECONDS = 0.05
HOST_MIB = 400
"""Of the host that the peers are told of: the mixes leave it short of memory, and merging ends that."""
_AS_IT_COMES = {
    "advisor_mode": "none", "sleep_millisecs": "20", "pages_to_scan": "100", "smart_scan": "1",
    "use_zero_pages": "0", "advisor_target_scan_time": "200",
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What was seen at a moment of a run."""

    seconds: float
    size_bytes: int
    """Of all processes' memory."""
    saved_bytes: int
    cpu_seconds: float
    files: Files


Trace = Sequence[Look]


def run(policy: str, events: Sequence[Event], seconds: float, rules: Path, *, host_scale: int) -> Trace:
    """The policy on the mix for so long; KSM is as it comes before, and has nothing merged after."""
    write({"run": "2"})
    write({"run": "0", **_AS_IT_COMES})
    ksmd = _ksmd()
    with ExitStack() as stack:
        stack.callback(write, {"run": "2"})
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if policy == AUTOPILOT:
            stack.enter_context(autopilot(directory, rules))
            time.sleep(1)
        load = _Load(events, seconds)
        stack.callback(load.end)
        load.prepare()
        peer = Peer(policy) if policy in PEERS else None
        write(FIXED.get(policy, {}))
        trace, cpu = [], _cpu_seconds(ksmd)
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            load.go_on(now)
            saved = (ksm("pages_sharing") + ksm("ksm_zero_pages")) * PAGE_BYTES
            trace.append(Look(now, load.size_bytes, saved, _cpu_seconds(ksmd) - cpu, files()))
            if peer:
                peer.look(now, _memory(load.size_bytes, saved, host_scale))
            time.sleep(_LOOK_SECONDS)
    return trace


class _Load:
    """The processes of a mix; those that come at the start are there when the run begins."""

    def __init__(self, events: Sequence[Event], seconds: float) -> None:
        self._todo = list(events)
        self._seconds = seconds
        self._processes: dict[str, Process] = {}

    @property
    def size_bytes(self) -> int:
        return sum(process.size_bytes for process in self._processes.values())

    def prepare(self) -> None:
        self.go_on(0.0)
        for process in self._processes.values():
            process.wait_ready()

    def go_on(self, now: float) -> None:
        """Let happen what is due `now`."""
        while self._todo and self._todo[0].at * self._seconds <= now:
            event = self._todo.pop(0)
            if isinstance(event, Arrive):
                self._processes[event.name] = Process(event.parts)
            elif isinstance(event, Rewrite):
                self._processes[event.name].rewrite(event.seed)
            else:
                self._processes.pop(event.name).end()

    def end(self) -> None:
        for process in self._processes.values():
            process.end()


def _memory(size_bytes: int, saved_bytes: int, scale: int) -> Memory:
    """What a peer is told, in KiB: a host that has nothing but these processes, as large as in real life."""
    total = HOST_MIB * MIB
    free = min(max(0, total - size_bytes + saved_bytes), total - MIB)  # KubeVirt's divides by what is used
    kib = [number * scale // 1024 for number in (total, free, free, size_bytes, size_bytes, size_bytes - saved_bytes)]
    return Memory(*kib)


def _ksmd() -> Path:
    (comm,) = [comm for comm in Path("/proc").glob("[0-9]*/comm") if comm.read_text() == "ksmd\n"]
    return comm.with_name("schedstat")


def _cpu_seconds(schedstat: Path) -> float:
    return int(schedstat.read_text().split()[0]) / 1e9
