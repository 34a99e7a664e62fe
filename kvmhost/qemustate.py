"""What state each guest's QEMU process is in, to know before libvirt asks it something."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

from kvmhost import processes
from kvmhost.bulkhead import Bulkhead
from kvmhost.fs import HostError, HostFS

_START_TIME = 22 - 3
"""Index in `stat_fields` of the time when the process started."""
# libvirt lists a guest before its process is QEMU: look often at first, and then now and then, as it may be hidden.
_YOUNG_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 30.0
# A command line is read from the process' memory: behind one that holds its own memory lock, that waits for ever.
_STALL_SECONDS = 0.5
_MOST_STALLED = 4


class _Process(NamedTuple):
    pid: int
    start_time: bytes


class QemuStates:
    """States by uuid. Finding a guest's process takes a walk through /proc, so it remembers them.

    A process that other users may not see has no state. `clock` gives monotonic seconds.
    """

    def __init__(self, fs: HostFS, clock: Callable[[], float]) -> None:
        self._fs = fs
        self._clock = clock
        self._processes: dict[str, _Process] = {}
        self._missing_since: dict[str, float] = {}
        self._walked = -_LOOK_AGAIN_SECONDS
        self._reads = Bulkhead[int]("qemu-processes", stall_seconds=_STALL_SECONDS, most_at_once=_MOST_STALLED)

    def find(self, uuids: Collection[str]) -> None:
        """Look for the processes of these guests, if there is one whose process is not known; forget all others."""
        now = self._clock()
        missing = set(uuids) - self._processes.keys()
        self._missing_since = {uuid: self._missing_since.get(uuid, now) for uuid in missing}
        is_young = any(now - since < _YOUNG_SECONDS for since in self._missing_since.values())
        if missing and (is_young or now >= self._walked + _LOOK_AGAIN_SECONDS):
            self._walked = now
            self._walk()
        self._processes = {uuid: found for uuid, found in self._processes.items() if uuid in uuids}

    def state(self, uuid: str) -> str | None:
        """One letter of proc(5), of the process' main thread, now; None if there is no such process to be seen."""
        known = self._processes.get(uuid)
        if known is None:
            return None
        fields = self._stat(known.pid)
        if fields is None or fields[_START_TIME] != known.start_time:
            self._processes.pop(uuid, None)
            return None
        return fields[0].decode()

    def _walk(self) -> None:
        pids = [int(entry) for entry in self._fs.names("proc") if entry.isdecimal()]
        run = self._reads.run((pid, partial(processes.identity, self._fs, pid)) for pid in pids)
        for pid, guest in run.results.items():
            fields = self._stat(pid) if guest else None
            known = self._processes.get(guest.uuid) if guest else None
            # Of several that claim a uuid, the oldest is the guest.
            if guest and fields and (known is None or int(fields[_START_TIME]) < int(known.start_time)):
                self._processes[guest.uuid] = _Process(pid, fields[_START_TIME])

    def _stat(self, pid: int) -> list[bytes] | None:
        try:
            content = self._fs.content(f"proc/{pid}/stat")
            return None if content is None else processes.stat_fields(content)
        except (HostError, ValueError):
            return None
