"""The calls about single guests: each may hang with the guest's QEMU, and then costs that guest only.

A call that hangs is left behind with its thread and its connection, and the others go on with new ones. Nothing can
cancel it, not even the end of this process, and it keeps one of libvirtd's workers, some twenty for all clients. So
there are never more than four, whatever becomes of connections and processes, and none is made to a QEMU process that
is seen not to run.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from kvmhost import domainxml, virt
from kvmhost.bulkhead import Bulkhead
from kvmhost.domains import Balloon, DomainConfig
from kvmhost.domainxml import DomainXMLError
from kvmhost.libvirt.messages import (
    BALLOON,
    LIMIT,
    MOST_AT_ONCE,
    MOST_BALLOONS_AT_ONCE,
    STOPPED,
    UNINTERRUPTIBLE,
    XML,
)
from kvmhost.libvirt.report import Report
from kvmhost.libvirt.schedule import Ask, Schedule
from kvmhost.qemustate import QemuStates
from kvmhost.virt import VirtError
from kvmhost.virtconnection import Connection, Guest

# By the state of the QEMU process (proc(5)): stopped by a signal or a debugger, or in an uninterruptible wait.
_OBSTACLES = {"T": STOPPED, "t": STOPPED, "D": UNINTERRUPTIBLE}


@dataclass(kw_only=True)
class _Turn:
    """What the calls of one tick share."""

    connection: Connection
    handles: Mapping[Guest, Any]
    began: float
    ends: float
    """When no more of them may start."""
    balloons_left: int
    lost: frozenset[Guest]


class GuestCalls:
    """Asks libvirt what is due by `schedule`, and gives what it hears to `report`, both in the thread of `ask`.

    `clock` gives monotonic seconds, `unix` the time of day.
    """

    def __init__(
        self,
        schedule: Schedule,
        report: Report,
        qemus: QemuStates,
        *,
        interval_seconds: float,
        stall_seconds: float,
        clock: Callable[[], float],
        unix: Callable[[], float],
    ) -> None:
        self._schedule = schedule
        self._report = report
        self._qemus = qemus
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._unix = unix
        self._calls = Bulkhead[Guest]("libvirt-call", stall_seconds=stall_seconds, most_at_once=MOST_AT_ONCE)
        self._xml_hashes: dict[Guest, int] = {}
        # Guests whose call ended with its connection, until the schedule knows.
        self._cut_off: set[Guest] = set()
        # What the threads of the calls found.
        self._found: SimpleQueue[Callable[[], None]] = SimpleQueue()

    @property
    def hanging(self) -> frozenset[Guest]:
        """Guests that libvirt is still asking, or may be."""
        return self._calls.stalled | self._cut_off | self._schedule.lost

    def ask(self, connection: Connection, handles: Mapping[Guest, Any], began: float) -> bool:
        """Make the calls that are due at `began`. Takes an interval, and the time to see that one hangs.

        False if one does: the others wait for another connection.
        """
        self._xml_hashes = {guest: known for guest, known in self._xml_hashes.items() if guest in handles}
        self.take_in()
        turn = _Turn(
            connection=connection,
            handles=handles,
            began=began,
            ends=began + self._interval_seconds,
            balloons_left=self._schedule.balloons_per_tick,
            lost=self._schedule.lost,
        )
        asks = self._schedule.due(began)
        if not asks:
            return True
        run = self._calls.run((ask.guest, partial(self._ask_one, ask, turn)) for ask in asks)
        for guest in run.stalled:
            self._schedule.stalled(guest, self._clock())
        self.take_in()
        return connection.is_free

    def take_in(self) -> None:
        """Have schedule and report know what was found so far, also by calls that were late."""
        with suppress(Empty):
            while True:
                self._found.get_nowait()()

    def _config_read(self, guest: Guest, asked: float, config: DomainConfig | None) -> None:
        self._schedule.config_read(guest, asked)
        if config:
            self._report.configs[guest] = config

    def _balloon_read(self, guest: Guest, asked: float, balloon: Balloon | None) -> None:
        if balloon:
            self._schedule.balloon_read(guest, asked)
            self._report.balloons[guest] = balloon
        else:
            self._schedule.busy(guest, asked)

    def _failed(self, guest: Guest, asked: float, why: str) -> None:
        self._schedule.failed(guest, asked)
        self._report.faults[guest] = why

    def _was_cut_off(self, guest: Guest) -> None:
        self._schedule.cut_off(guest)
        self._cut_off.discard(guest)

    # From here on in the thread of a call.

    def _ask_one(self, ask: Ask, turn: _Turn) -> None:
        if self._clock() >= turn.ends or not turn.connection.is_open or not turn.connection.take():
            return
        try:
            self._ask_what_may_be(ask, turn)
        except VirtError as error:
            if turn.connection.is_open:
                self._found.put(partial(self._failed, ask.guest, turn.began, str(error)))
            else:
                # Before the bulkhead forgets the call: each is counted at any time.
                self._cut_off.add(ask.guest)
                self._found.put(partial(self._was_cut_off, ask.guest))
        except DomainXMLError as error:
            self._found.put(partial(self._failed, ask.guest, turn.began, str(error)))
        except Exception:  # noqa: BLE001 - a defect that one guest brings out must not cost the others
            self._found.put(partial(self._failed, ask.guest, turn.began, traceback.format_exc().rstrip()))
        finally:
            turn.connection.give_back()

    def _ask_what_may_be(self, ask: Ask, turn: _Turn) -> None:
        guest = ask.guest
        others = len((self._calls.stalled | self._cut_off | turn.lost) - {guest})
        obstacle = _OBSTACLES.get(self._qemus.state(guest.uuid) or "")
        # Without its configuration a guest cannot be shown, and QEMU has no part in that call.
        if ask.config and others < MOST_AT_ONCE and not (obstacle and ask.is_known):
            self._read_config(guest, turn)
        if not ask.balloon or guest in self._calls.stalled:
            return
        if others >= MOST_BALLOONS_AT_ONCE:
            obstacle = LIMIT
        if obstacle:
            self._found.put(partial(self._schedule.skipped, guest, obstacle))
        elif turn.balloons_left > 0:
            turn.balloons_left -= 1
            self._read_balloon(guest, turn)

    def _read_config(self, guest: Guest, turn: _Turn) -> None:
        with self._report.counted(XML):
            xml = virt.read_xml(turn.handles[guest])
            persistent = virt.read_persistent_xml(turn.handles[guest])
        if xml is None:
            return  # it has ended, and the next list is without it
        config = None
        if self._xml_hashes.get(guest) != hash((xml, persistent)):
            config = domainxml.parse(xml, persistent)
            self._xml_hashes[guest] = hash((xml, persistent))
        self._found.put(partial(self._config_read, guest, turn.began, config))

    def _read_balloon(self, guest: Guest, turn: _Turn) -> None:
        now = self._unix()
        with self._report.counted(BALLOON):
            balloon = turn.connection.balloon(turn.handles[guest], now)
        self._found.put(partial(self._balloon_read, guest, turn.began, balloon))
