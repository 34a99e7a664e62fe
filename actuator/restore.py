"""Puts back every value that we changed and that is still ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from actuator.apply import taken_over
from actuator.knobs import Knob, Live, Value, label
from actuator.ledger import detour
from actuator.ledger.ledger import Ledger, LedgerError
from actuator.ledger.records import Intent, Key, Owned, Record, Released, is_of_guest

log = logging.getLogger("kvmtune-actuator")

_POLL_SECONDS = 0.25
_STEADY_SECONDS = 2.0
# A knob that took this long to fail hangs: its other targets would each take as long.
_HANG_SECONDS = 2.0

Result = Literal["restored", "already there", "left alone", "gone", "failed"]


@dataclass(frozen=True, slots=True)
class Restoration:
    """What became of one changed target."""

    owned: Owned
    result: Result
    detail: str = ""


class Restorer:
    """Restores through `knobs` what `ledger` says. `clock` gives seconds that never jump, `report` gets each result.

    A ledger that cannot be written does not stop it: a value that is put back and not noted is found to be there
    already the next time.
    """

    def __init__(
        self,
        knobs: Mapping[str, Knob],
        ledger: Ledger,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        report: Callable[[Restoration], None],
    ) -> None:
        self._knobs = knobs
        self._ledger = ledger
        self._clock = clock
        self._sleep = sleep
        self._report = report
        self._hanging: dict[str, str] = {}

    def run(self) -> bool:
        """The host's own values first, since they need no libvirt; then the last change first.

        What someone else has changed since is left alone and named. True when nothing failed; what did stays in
        the ledger, so that it can be asked again.
        """
        clean = True
        seen: set[Key] = set()
        while (owned := self._next(seen)) is not None:
            seen.add((owned.knob, owned.target))
            restoration = self._attempt(owned)
            if restoration.result == "failed":
                clean = False
            else:
                reason = ": ".join(part for part in (restoration.result, restoration.detail) if part)
                self._note(Released(time=self._clock(), knob=owned.knob, target=owned.target, reason=reason))
            self._report(restoration)
        return clean

    def _next(self, seen: Collection[Key]) -> Owned | None:
        """Putting one back may have changed another on its way that it did not put back."""
        last_first = [owned for key, owned in self._ledger.owned.items() if key not in seen][::-1]
        return min(last_first, key=lambda owned: is_of_guest(owned.target), default=None)

    def _attempt(self, owned: Owned) -> Restoration:
        if owned.knob not in self._knobs:
            return Restoration(owned, "failed", "this version of kvmtune has no such knob")
        if owned.knob in self._hanging:
            return Restoration(owned, "failed", self._hanging[owned.knob])
        started = self._clock()
        try:
            return self._restore(self._knobs[owned.knob], owned)
        except Exception as error:  # noqa: BLE001 (whatever it is, the other values must be put back)
            if self._clock() - started > _HANG_SECONDS:
                self._hanging[owned.knob] = str(error)
            return Restoration(owned, "failed", str(error))

    def _restore(self, knob: Knob, owned: Owned) -> Restoration:
        live = knob.live().get(owned.target)
        doubt = knob.doubt(owned.target)
        if doubt is not None and (live is None or live.refusal == doubt):  # a write would only wait for nothing
            return Restoration(owned, "failed", f"{label(owned.target)}: {doubt}; run restore again when it is back")
        if live is None or live.identity != owned.identity:
            why = live.refusal if live else None
            return Restoration(owned, "gone", why or f"{label(owned.target)} is not here any more")
        # A slow knob may show its original value and still be on the way to what we wrote: write it then, too.
        if live.value == owned.original and not knob.settle_seconds:
            return Restoration(owned, "already there")
        if not knob.is_ours(live.value, owned.ours):
            return Restoration(owned, "left alone", taken_over(knob, owned, live.value))
        goal, why = self._goal(knob, owned, live)
        intent = Intent(
            id=self._ledger.next_id,
            time=self._clock(),
            knob=owned.knob,
            target=owned.target,
            identity=owned.identity,
            before=live.value,
            after=goal,
            rule="restore",
            because="what we changed is put back",
        )
        self._note(intent)
        detour.begin(self._knobs, self._ledger, self._note, intent)
        try:
            knob.write(owned.target, goal)
            return self._await(knob, owned, goal, why)
        finally:
            detour.end(self._knobs, self._ledger, self._note, self._clock())

    def _goal(self, knob: Knob, owned: Owned, live: Live) -> tuple[Value, str]:
        """The original value; of a guest that uses more by now, what it uses."""
        deadline = self._clock() + knob.settle_seconds
        now: Live | None = live
        while now is not None and _is_below(owned.original, now) and self._clock() < deadline:
            self._sleep(_POLL_SECONDS)
            now = knob.live().get(owned.target)
        if now is None or now.low is None or not _is_below(owned.original, now):
            return owned.original, ""
        return now.low, f"only to {knob.unit.format(now.low)}, {now.low_because}"

    def _await(self, knob: Knob, owned: Owned, goal: Value, why: str) -> Restoration:
        # A write of ours that was still on its way may move the value once more before it follows the last one.
        is_moving = knob.settle_seconds > 0 and len(set(owned.written)) > 1
        steady_seconds = _STEADY_SECONDS if is_moving else 0.0
        deadline = self._clock() + knob.settle_seconds
        there_since: float | None = None
        while (live := knob.live().get(owned.target)) is not None:
            now = self._clock()
            if not knob.is_ours(live.value, (goal,)):
                there_since = None
                if now >= deadline:
                    detail = f"asked for {knob.unit.format(goal)}, it reads {knob.unit.format(live.value)}"
                    return Restoration(owned, "failed", detail)
            elif there_since is None:
                there_since = now
            if there_since is not None and now - there_since >= steady_seconds:
                break
            self._sleep(_POLL_SECONDS)
        return Restoration(owned, "restored", why)

    def _note(self, record: Record) -> None:
        try:
            self._ledger.append(record)
        except LedgerError as error:
            log.warning("restoring all the same: %s", error)


def _is_below(value: Value, live: Live) -> bool:
    return isinstance(value, int) and live.low is not None and value < live.low
