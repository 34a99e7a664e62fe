"""The balloon knob: how much memory a running guest may use (libvirt virDomainSetMemoryFlags)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from actuator.knobs.knob import Knob, KnobError, Live, Target, Unit, Value
from kvmhost.domains import Domain
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
    Only the host's `actual` is always of now; `available - usable` are of one report and so never too small
    while the balloon moves.
    """
    balloon = domain.balloon
    if balloon.actual_bytes is None or balloon.usable_bytes is None:
        return None
    used = max(balloon.actual_bytes, balloon.available_bytes or 0) - balloon.usable_bytes
    return used + max(round(used * _MARGIN_RATIO), _MARGIN_MIN_BYTES)


def refusal(domain: Domain, written: float, now: float) -> str | None:
    """Why this guest's balloon must not be touched now, or None.

    `written`: when we last wrote it, `now`: both unix seconds.
    """
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
    # libvirt cuts the time to whole seconds.
    if balloon.last_update_seconds <= written + 1:
        return "the guest has not reported its memory since the last write"
    return None


def live_of(domain: Domain, written: float, now: float) -> Live:
    """What the actuator has to know of one guest's balloon."""
    balloon = domain.balloon
    return Live(
        value=balloon.actual_bytes or 0,
        low=floor_bytes(domain),
        high=balloon.maximum_bytes,
        low_because="what the guest uses plus a margin",
        refusal=refusal(domain, written, now),
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
        self._written: dict[str, float] = {}

    def live(self) -> Mapping[Target, Live]:
        """Every active guest that has a balloon."""
        try:
            domains = self._virt.call(read_domains, timeout_s=_CALL_SECONDS)
        except VirtError as error:
            raise KnobError(f"cannot read the guests' balloons: {error}") from error
        now = self._clock()
        found: dict[Target, Live] = {
            (("domain", domain.name),): live_of(domain, self._written.get(domain.uuid, 0.0), now)
            for domain in domains
            if domain.balloon.actual_bytes is not None
        }
        self._uuids = {target: live.identity for target, live in found.items()}
        return found

    def write(self, target: Target, value: Value) -> None:
        """Ask for `value` bytes; the guest gives them back or takes them over the next seconds."""
        uuid = self._uuids[target]
        self._written[uuid] = self._clock()
        try:
            self._virt.call(_set_memory, uuid, int(value) // _KIB, timeout_s=_CALL_SECONDS)
        except VirtError as error:
            raise KnobError(
                f"cannot set the balloon of {target[0][1]} to {format_bytes(int(value))}: {error}"
            ) from error

    def is_ours(self, live: Value, written: tuple[Value, ...]) -> bool:
        """A balloon on its way is between the values we wrote; it may also stop a page short of them."""
        sizes = [int(value) for value in written]
        return min(sizes) - self.quantum <= int(live) <= max(sizes) + self.quantum
