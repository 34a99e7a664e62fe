"""The balloon knob: how much memory a running guest may use (libvirt virDomainSetMemoryFlags)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from actuator.knobs.knob import Knob, KnobError, Live, Target, Unit, Value
from kvmhost.domains import Balloon, Domain
from kvmhost.units import format_bytes
from kvmhost.virt import AFFECT_LIVE, VirtError, read_domains
from kvmhost.virtprocess import VirtProcess

_KIB = 1024
_MIB = 1024 * _KIB
_CALL_SECONDS = 5.0
_STATS_FRESH_SECONDS = 30.0
# A guest squeezed below what it uses does not return the memory: it swaps, kills or reboots.
_MARGIN_RATIO = 0.10
_MARGIN_MIN_BYTES = 16 * _MIB


def floor_bytes(domain: Domain) -> int | None:
    """The smallest balloon that leaves the guest what it uses plus a margin; None if it does not say.

    What it uses is `actual - usable`: the guest kernel's own memory, which `available` leaves out, counts.
    This holds only for a report that was made while the balloon was as it is now.
    """
    balloon = domain.balloon
    if balloon.actual_bytes is None or balloon.usable_bytes is None:
        return None
    used = balloon.actual_bytes - balloon.usable_bytes
    return used + max(round(used * _MARGIN_RATIO), _MARGIN_MIN_BYTES)


def refusal(domain: Domain, now: float) -> str | None:
    """Why this guest's balloon must not be touched now, or None. `now`: unix seconds."""
    balloon = domain.balloon
    if domain.state != "running":
        return f"the guest is {domain.state}"
    if balloon.actual_bytes is None or balloon.maximum_bytes is None:
        return "libvirt reports no balloon"
    if not balloon.stats_period_seconds:
        return (
            "the guest reports no memory statistics: "
            f"virsh dommemstat {domain.name} --period 5 --live, and load virtio_balloon in the guest"
        )
    if balloon.usable_bytes is None or balloon.last_update_seconds is None:
        return "the balloon driver in the guest does not answer"
    age = now - balloon.last_update_seconds
    if age > _STATS_FRESH_SECONDS + balloon.stats_period_seconds:
        return f"the balloon driver in the guest has not answered for {age:.0f} s"
    return None


@dataclass(frozen=True, slots=True)
class Rest:
    """A balloon that has had this size since we looked; `report`: the guest's report (unix seconds) at the time."""

    actual_bytes: int | None
    report: int | None

    def is_reported(self, balloon: Balloon) -> bool:
        """Whether a newer report tells of the guest at this size. libvirt cuts times to whole seconds."""
        if self.report is None or balloon.last_update_seconds is None:
            return False
        return abs(balloon.last_update_seconds - self.report) > 1


def live_of(domain: Domain, rest: Rest, now: float) -> Live:
    """What the actuator has to know of one guest's balloon."""
    balloon = domain.balloon
    if rest.is_reported(balloon):
        low, because = floor_bytes(domain), "what the guest uses plus a margin"
    else:
        low, because = balloon.actual_bytes, "as long as the guest has not reported its memory at this size"
    return Live(
        value=balloon.actual_bytes or 0,
        low=low,
        high=balloon.maximum_bytes,
        low_because=because,
        refusal=refusal(domain, now),
        identity=domain.uuid,
    )


def _set_memory(conn: Any, uuid: str, kib: int) -> None:
    conn.lookupByUUIDString(uuid).setMemoryFlags(kib, AFFECT_LIVE)


class BalloonTarget(Knob):
    """`balloon.target` of each running guest."""

    name = "balloon.target"
    unit = Unit.BYTES
    summary = "Memory that the guest's balloon leaves to the guest; the rest goes back to the host."
    keys = ("domain",)
    quantum = _MIB
    settle_seconds = 10.0

    def __init__(self, virt: VirtProcess, clock: Callable[[], float]) -> None:
        self._virt = virt
        self._clock = clock
        self._uuids: dict[Target, str] = {}
        self._rests: dict[str, Rest] = {}

    def live(self) -> Mapping[Target, Live]:
        """Every active guest that has a balloon."""
        try:
            domains = self._virt.call(read_domains, timeout_s=_CALL_SECONDS)
        except VirtError as error:
            raise KnobError(f"cannot read the guests' balloons: {error}") from error
        now = self._clock()
        found: dict[Target, Live] = {
            (("domain", domain.name),): live_of(domain, self._rest(domain), now)
            for domain in domains
            if domain.balloon.actual_bytes is not None
        }
        self._uuids = {target: live.identity for target, live in found.items()}
        return found

    def write(self, target: Target, value: Value) -> None:
        """Ask for `value` bytes; the guest gives them back or takes them over the next seconds."""
        try:
            self._virt.call(_set_memory, self._uuids[target], -(-int(value) // _KIB), timeout_s=_CALL_SECONDS)
        except KeyError:
            raise KnobError(f"the guest {target[0][1]} is gone") from None
        except VirtError as error:
            raise KnobError(
                f"cannot set the balloon of {target[0][1]} to {format_bytes(int(value))}: {error}"
            ) from error

    def _rest(self, domain: Domain) -> Rest:
        balloon = domain.balloon
        known = self._rests.get(domain.uuid)
        if known is None or known.actual_bytes != balloon.actual_bytes:
            known = self._rests[domain.uuid] = Rest(balloon.actual_bytes, balloon.last_update_seconds)
        return known

    def is_ours(self, live: Value, written: tuple[Value, ...]) -> bool:
        """A balloon on its way is between the values we wrote; it may also stop a page short of them."""
        sizes = [int(value) for value in written]
        return min(sizes) - self.quantum <= int(live) <= max(sizes) + self.quantum
