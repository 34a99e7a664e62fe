"""The balloon knob: how much memory a running guest may use (libvirt virDomainSetMemoryFlags)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from actuator.knobs.knob import Knob, KnobError, Live, Metric, Target, Unit, Value
from actuator.knobs.libvirt import Libvirt, untouchable
from actuator.knobs.privilege import GUEST
from kvmhost.domains import Balloon, DeclaredPolicy, Domain
from kvmhost.units import format_bytes
from kvmhost.virt import AFFECT_LIVE, VirtError, free_domain

_KIB = 1024
_MIB = 1024 * _KIB
STATS_FRESH_SECONDS = 30.0
# A guest squeezed below what it uses does not return the memory: it swaps, kills or reboots.
_MARGIN_RATIO = 0.10
_MARGIN_MIN_BYTES = 16 * _MIB


def floor_bytes(domain: Domain) -> int | None:
    """The smallest balloon that leaves the guest what it uses plus a margin, or all; None if it does not say.

    What it uses is `actual - usable`: the guest kernel's own memory, which `available` leaves out, counts.
    This holds only for a report that was made while the balloon was as it is now.
    """
    balloon = domain.balloon
    if balloon.actual_bytes is None or balloon.usable_bytes is None:
        return None
    floor = floor_above(balloon.actual_bytes - balloon.usable_bytes)
    return floor if balloon.maximum_bytes is None else min(floor, balloon.maximum_bytes)


def _margin_bytes(used: int) -> int:
    return max(round(used * _MARGIN_RATIO), _MARGIN_MIN_BYTES)


def trouble(balloon: Balloon, swapped_out_before: int | None) -> str:
    """Why the guest must get back what a decrease that is on its way has taken; or nothing.

    `swapped_out_before`: bytes that it had ever swapped out when that began. Some are on every way down: the guest's
    kernel finds room among its caches and among what no program has used for long.
    """
    if balloon.actual_bytes is None or balloon.usable_bytes is None:
        return ""
    margin = _margin_bytes(balloon.actual_bytes - balloon.usable_bytes)
    if balloon.usable_bytes < margin // 2:
        return f"the guest needs its memory by now, {format_bytes(balloon.usable_bytes)} are left"
    swapped_out = (balloon.swap_out_bytes or 0) - (swapped_out_before or 0)
    if swapped_out_before is not None and swapped_out > margin:
        return f"the guest has swapped {format_bytes(swapped_out)} out meanwhile"
    return ""


def floor_above(used_bytes: int) -> int:
    """What must be left to a guest that uses so much."""
    return used_bytes + _margin_bytes(used_bytes)


def refusal(domain: Domain, unread: str | None, now: float) -> str | None:
    """Why this guest's balloon must not be touched now, or None. `unread`: why libvirt could not read it lately.

    `now`: unix seconds.
    """
    balloon = domain.balloon
    if unread is not None:
        return unread
    if domain.state != "running":
        return f"the guest is {domain.state}"
    if balloon.actual_bytes is None or balloon.maximum_bytes is None:
        return "libvirt reports no balloon"
    device = domain.config.balloon_device
    if device is None:
        return "the guest has no balloon device"
    if not device.stats_period_seconds:
        return (
            "the guest reports no memory statistics: "
            f"virsh dommemstat {domain.name} --period 5 --live, and load virtio_balloon in the guest"
        )
    if balloon.usable_bytes is None or not balloon.last_update_seconds:
        return "the balloon driver in the guest does not answer"
    age = now - balloon.last_update_seconds
    if age > STATS_FRESH_SECONDS + device.stats_period_seconds:
        return f"the balloon driver in the guest has not answered for {age:.0f} s"
    if age < -STATS_FRESH_SECONDS:
        return "the guest's last report is of a time yet to come: the clock was set back, and it has not answered since"
    return None


@dataclass(frozen=True, slots=True)
class Rest:
    """A balloon that has had this size since we looked; `report`: the guest's report (unix seconds) at the time.

    A report of 0 is none yet.
    """

    actual_bytes: int | None
    report: int | None

    def is_reported(self, balloon: Balloon) -> bool:
        """Whether a newer report tells of the guest at this size. libvirt cuts times to whole seconds."""
        if self.report is None or not balloon.last_update_seconds:
            return False
        return abs(balloon.last_update_seconds - self.report) > 1


def declared(domain: Domain) -> DeclaredPolicy:
    """The policy in the guest's metadata, where oVirt may have its own word for a guarantee."""
    policy = domain.config.policy
    guarantees = (policy.min_guarantee_bytes, domain.config.memory_min_guarantee_bytes)
    return replace(policy, min_guarantee_bytes=max((one for one in guarantees if one is not None), default=None))


@dataclass(frozen=True, slots=True)
class Past:
    """What was known of a guest before. `floor_bytes`: its floor when it last had reported at its size.

    `swapped_out_bytes`: all that it had swapped out by our last write.
    """

    floor_bytes: int | None = None
    swapped_out_bytes: int | None = None


def live_of(domain: Domain, rest: Rest, past: Past, unread: str | None, now: float) -> Live:
    """What the actuator has to know of one guest's balloon; `unread` and `now` as for `refusal`."""
    balloon = domain.balloon
    low, because, soon = floor_bytes(domain), "what the guest uses plus a margin", None
    if not rest.is_reported(balloon):
        soon = low if past.floor_bytes is None else past.floor_bytes
        low, because = balloon.actual_bytes, "as long as the guest has not reported its memory at this size"
    return Live(
        value=balloon.actual_bytes or 0,
        low=low,
        high=balloon.maximum_bytes,
        low_because=because,
        refusal=refusal(domain, unread, now),
        identity=domain.uuid,
        declared=declared(domain),
        trouble=trouble(balloon, past.swapped_out_bytes),
        low_soon=soon,
        run=str(domain.id),
    )


def _set_memory(conn: Any, uuid: str, kib: int) -> None:
    free_domain(conn, uuid).setMemoryFlags(kib, AFFECT_LIVE)


def _memory_kib(conn: Any, uuid: str) -> int:
    # virDomainGetInfo: what QEMU's last event said, so that QEMU is not asked.
    return int(conn.lookupByUUIDString(uuid).info()[2])


class BalloonTarget(Knob):
    """Never below what the guest uses plus a tenth of it, or 16 MiB: a guest that is squeezed further swaps or dies.

    Refused for guests that are paused, have no balloon device, or whose driver has not told its memory lately. The
    guest needs seconds to follow. Where a decrease is after 10 s, it ends: what was reached becomes the target, and is
    told. It is undone when half of that margin is gone meanwhile, or more than that margin is swapped out.
    """

    name = "balloon.target"
    unit = Unit.BYTES
    summary = "Memory that the guest's balloon leaves to the guest; the rest goes back to the host."
    keys = ("domain",)
    # What the guest uses stays as it is, so what it could give away shrinks with its balloon.
    metric = Metric(
        "kvm_domain_balloon_actual_bytes",
        along=("kvm_domain_balloon_usable_bytes", "kvm_domain_balloon_available_bytes"),
    )
    privilege = GUEST
    quantum = _MIB
    settle_seconds = 10.0
    takes_back = True

    def __init__(self, libvirt: Libvirt, clock: Callable[[], float]) -> None:
        self._libvirt = libvirt
        self._clock = clock
        self._uuids: dict[Target, str] = {}
        self._rests: dict[str, Rest] = {}
        self._pasts: dict[str, Past] = {}
        self._domains: dict[str, Domain] = {}

    def live(self) -> Mapping[Target, Live]:
        """Every active guest that has a balloon."""
        unread, now = self._libvirt.unread(), self._clock()
        domains = [domain for domain in self._libvirt.domains() if domain.balloon.actual_bytes is not None]
        found: dict[Target, Live] = {
            (("domain", domain.name),): live_of(
                domain, self._rest(domain), self._past(domain.uuid), unread.get(domain.uuid), now
            )
            for domain in domains
        }
        self._uuids = {target: live.identity for target, live in found.items()}
        self._domains = {domain.uuid: domain for domain in domains}
        self._rests = {uuid: rest for uuid, rest in self._rests.items() if uuid in self._domains}
        self._pasts = {uuid: past for uuid, past in self._pasts.items() if uuid in self._domains}
        return found

    def doubt(self, target: Target) -> str | None:
        """Its guest may be one that hangs."""
        return self._libvirt.doubt(target)

    def glance(self, target: Target) -> Value | None:
        """As libvirt knows it, without asking QEMU."""
        try:
            return self._libvirt.glance(_memory_kib, self._uuids[target]) * _KIB
        except KeyError:
            return None
        except VirtError as error:
            raise KnobError(f"cannot read the balloon of {target[0][1]}: {error}") from error

    def write(self, target: Target, value: Value) -> None:
        """Ask for `value` bytes; the guest gives them back or takes them over the next seconds."""
        try:
            uuid = self._uuids[target]
            swapped_out = self._domains[uuid].balloon.swap_out_bytes
            self._pasts[uuid] = replace(self._past(uuid), swapped_out_bytes=swapped_out)
            self._libvirt.change(_set_memory, uuid, -(-int(value) // _KIB))
        except KeyError:
            raise KnobError(f"the guest {target[0][1]} is gone") from None
        except VirtError as error:
            wanted = f"the balloon of {target[0][1]} to {format_bytes(int(value))}"
            raise KnobError(f"cannot set {wanted}: {self.privilege.refused(error)}") from error

    def _rest(self, domain: Domain) -> Rest:
        balloon = domain.balloon
        known = self._rests.get(domain.uuid)
        if known is None or known.actual_bytes != balloon.actual_bytes:
            known = self._rests[domain.uuid] = Rest(balloon.actual_bytes, balloon.last_update_seconds)
        if known.is_reported(balloon):
            self._pasts[domain.uuid] = replace(self._past(domain.uuid), floor_bytes=floor_bytes(domain))
        return known

    def _past(self, uuid: str) -> Past:
        return self._pasts.get(uuid, Past())

    def is_ours(self, live: Value, written: tuple[Value, ...]) -> bool:
        """A balloon on its way is between the values we wrote; it may also stop a page short of them."""
        sizes = [int(value) for value in written]
        return min(sizes) - self.quantum <= int(live) <= max(sizes) + self.quantum


def set_stats_period(conn: Any, uuid: str, seconds: int) -> None:
    free_domain(conn, uuid).setMemoryStatsPeriod(seconds, AFFECT_LIVE)


class BalloonStatsPeriod(Knob):
    """0 is never, as is libvirt's default: nothing is known of the guest then, and `balloon.target` is refused."""

    name = "balloon.stats_period"
    unit = Unit.SECONDS
    summary = "How often the guest's balloon driver is asked for its memory statistics."
    keys = ("domain",)
    lowest, highest = 0, 3600
    metric = Metric("kvm_domain_balloon_stats_period_seconds")
    privilege = GUEST
    settle_seconds = 5.0

    def __init__(self, libvirt: Libvirt) -> None:
        self._libvirt = libvirt
        self._uuids: dict[Target, str] = {}

    def live(self) -> Mapping[Target, Live]:
        """Every active guest that has a balloon device."""
        hanging = self._libvirt.hanging()
        found: dict[Target, Live] = {
            (("domain", domain.name),): Live(
                value=domain.config.balloon_device.stats_period_seconds,
                low=self.lowest,
                high=self.highest,
                refusal=untouchable(domain, hanging),
                identity=domain.uuid,
                declared=domain.config.policy,
                run=str(domain.id),
            )
            for domain in self._libvirt.domains()
            if domain.config.balloon_device is not None
        }
        self._uuids = {target: live.identity for target, live in found.items()}
        return found

    def doubt(self, target: Target) -> str | None:
        """Its guest may be one that hangs."""
        return self._libvirt.doubt(target)

    def write(self, target: Target, value: Value) -> None:
        """Set it for the running guest; the next start has what is configured."""
        try:
            self._libvirt.change(set_stats_period, self._uuids[target], int(value))
        except KeyError:
            raise KnobError(f"the guest {target[0][1]} is gone") from None
        except VirtError as error:
            why = self.privilege.refused(error)
            raise KnobError(f"cannot set the statistics period of {target[0][1]}: {why}") from error
