"""libvirt itself: whether it answers, how old its answers are, what asking costs, and which guests hang."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from exporter.scrape import Scrape
from exporter.table import Family, Row, counter, families, gauge, info
from kvmhost.fs import HostError
from kvmhost.libvirt.messages import CALLS, UNREAD, Calls


def _data_age_seconds(scrape: Scrape) -> float | None:
    read = scrape.libvirt.read_seconds
    # The clock may have been set back since.
    return None if read is None else max(scrape.now - read, 0.0)


TABLE: tuple[Row[Scrape], ...] = (
    gauge(
        "kvm_libvirt_up",
        "1 if the latest attempt to list the domains worked.",
        lambda scrape: int(scrape.libvirt.up),
    ),
    gauge(
        "kvm_libvirt_data_age_seconds",
        "How long ago libvirt last listed the domains; all that it told is withheld when this is too old.",
        _data_age_seconds,
    ),
    gauge(
        "kvm_libvirt_domains",
        "Active domains in the newest list.",
        lambda scrape: scrape.libvirt.listed,
    ),
    gauge(
        "kvm_libvirt_calls_hanging",
        "Calls about single domains that are, or may be, under way for too long: each keeps a worker of libvirtd."
        " With 3, no balloon is read any more.",
        lambda scrape: scrape.libvirt.calls_hanging,
    ),
    counter(
        "kvm_libvirt_connections_total",
        "Connections to libvirt that succeeded: a new one when the last one broke, or a call hangs in it."
        " While none can be made, kvm_libvirt_up is 0.",
        lambda scrape: scrape.libvirt.connections,
    ),
    counter(
        "kvm_libvirt_processes_total",
        "Processes that were started to talk to libvirt: a new one when one hangs in a libvirtd that is frozen.",
        lambda scrape: scrape.libvirt.processes,
    ),
)

CALLS_TABLE: tuple[Row[Calls], ...] = (
    counter(
        "kvm_libvirt_calls_total",
        "Calls to libvirt that have returned: list (all domains and their states), xml (one domain's configuration),"
        " balloon (one domain's memory statistics, which QEMU is asked for).",
        lambda calls: calls.count,
    ),
    counter(
        "kvm_libvirt_call_seconds_total",
        "Time that these calls took.",
        lambda calls: calls.seconds,
    ),
    counter(
        "kvm_libvirt_call_failures_total",
        "Those of these calls that ended with an error.",
        lambda calls: calls.failures,
    ),
)

UNREAD_TABLE: tuple[Row[int], ...] = (
    gauge(
        "kvm_libvirt_domains_unread",
        "Active domains whose balloon was not read when it should have been: waiting (not asked yet), stopped (the QEMU"
        " process, by a signal), uninterruptible (the QEMU process waits, as for storage), timed_out (the call takes"
        " too long), limit (too many calls hang), busy (libvirt is, with another job), failed (an error).",
        lambda count: count,
    ),
)

WHY_TABLE: tuple[Row[str], ...] = (
    info(
        "kvm_domain_balloon_unread_info",
        "A domain whose balloon was not read when it should have been, and why: see kvm_libvirt_domains_unread.",
        ("reason",),
        lambda reason: (reason,),
    ),
)


def collect(scrape: Scrape) -> Iterator[Family | HostError]:
    """libvirt as a whole, then each domain."""
    snapshot = scrape.libvirt
    yield from families(TABLE, [((), scrape)])
    yield from families(CALLS_TABLE, [((kind,), snapshot.calls.get(kind, Calls())) for kind in CALLS], labels=("call",))
    if snapshot.domains is None:
        return
    counts = Counter(snapshot.unread.values())
    yield from families(UNREAD_TABLE, [((reason,), counts[reason]) for reason in UNREAD], labels=("reason",))
    unread = [((guest.name, guest.uuid), reason) for guest, reason in snapshot.unread.items()]
    yield from families(WHY_TABLE, unread, labels=("domain", "uuid"))
