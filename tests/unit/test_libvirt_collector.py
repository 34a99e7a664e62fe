"""What is shown of libvirt itself, and of guests whose balloon was not read."""

from __future__ import annotations

import pytest

from exporter.collectors import libvirt
from exporter.scrape import Scrape
from kvmhost.fs import HostError, HostFS
from kvmhost.guests import GuestsSample
from kvmhost.libvirt.messages import UNREAD, Calls
from kvmhost.libvirt.snapshot import Snapshot
from kvmhost.virtconnection import Guest
from tests.lines import samples_of

NOW = 1000.0
WEB = Guest(uuid="6e6b96b7-657c-4836-b247-3cf002cf2ebc", id=1, name="web")
NOTHING_YET = {
    "kvm_libvirt_calls_hanging": 0,
    "kvm_libvirt_connections_total": 0,
    "kvm_libvirt_processes_total": 0,
    **{f"kvm_libvirt_calls_total{{{call}}}": 0 for call in ("list", "xml", "balloon")},
    **{f"kvm_libvirt_call_seconds_total{{{call}}}": 0 for call in ("list", "xml", "balloon")},
    **{f"kvm_libvirt_call_failures_total{{{call}}}": 0 for call in ("list", "xml", "balloon")},
}
ALL_READ = {f"kvm_libvirt_domains_unread{{{reason}}}": 0 for reason in UNREAD}


def shown(snapshot: Snapshot) -> dict[str, float]:
    scrape = Scrape(fs=HostFS("/nonexistent"), now=NOW, libvirt=snapshot, guests=GuestsSample())
    facts = [fact for fact in libvirt.collect(scrape) if not isinstance(fact, HostError)]
    return samples_of(facts, without=("domain", "uuid"))


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (Snapshot(up=False), {"kvm_libvirt_up": 0}),
        (Snapshot(up=False, read_seconds=NOW - 40), {"kvm_libvirt_up": 0, "kvm_libvirt_data_age_seconds": 40}),
        (
            Snapshot(up=True, read_seconds=NOW - 1, domains=(), listed=0),
            {"kvm_libvirt_up": 1, "kvm_libvirt_data_age_seconds": 1, "kvm_libvirt_domains": 0, **ALL_READ},
        ),
        (
            Snapshot(up=True, read_seconds=NOW + 9, domains=(), listed=2),
            {"kvm_libvirt_up": 1, "kvm_libvirt_data_age_seconds": 0, "kvm_libvirt_domains": 2, **ALL_READ},
        ),
    ],
    ids=["never answered", "withheld", "no domains", "the clock was set back"],
)
def test_libvirt_itself_is_always_shown(snapshot: Snapshot, expected: dict[str, float]) -> None:
    assert shown(snapshot) == NOTHING_YET | expected


def test_a_guest_that_was_not_read_is_counted_and_named() -> None:
    samples = shown(Snapshot(up=True, read_seconds=NOW, domains=(), unread={WEB: "stopped"}, calls_hanging=2))
    assert samples["kvm_libvirt_domains_unread{stopped}"] == 1
    assert samples["kvm_libvirt_domains_unread{busy}"] == 0
    assert samples["kvm_domain_balloon_unread_info{stopped}"] == 1
    assert samples["kvm_libvirt_calls_hanging"] == 2


def test_calls_are_counted_by_kind() -> None:
    samples = shown(
        Snapshot(up=True, calls={"xml": Calls(count=3, seconds=0.5, failures=1)}, connections=4, processes=5)
    )
    assert samples["kvm_libvirt_calls_total{xml}"] == 3
    assert samples["kvm_libvirt_call_seconds_total{xml}"] == 0.5
    assert samples["kvm_libvirt_call_failures_total{xml}"] == 1
    assert samples["kvm_libvirt_calls_total{list}"] == 0
    assert (samples["kvm_libvirt_connections_total"], samples["kvm_libvirt_processes_total"]) == (4, 5)
