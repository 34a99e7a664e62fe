"""Domains from libvirt's stats, and libvirt's errors in our words."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from kvmhost import domainxml, virt
from kvmhost.domains import Balloon, Domain
from kvmhost.virt import VirtError, VirtTimeout, VirtUnavailable, domain_from, read_domains

needs_libvirt = pytest.mark.skipif(
    importlib.util.find_spec("libvirt") is None,
    reason="needs libvirt-python: apt install libvirt-dev pkg-config gcc, then pip install 'kvmtune[libvirt]'",
)

UUID = "6e6b96b7-657c-4836-b247-3cf002cf2ebc"


XML = f"""
    <domain type='kvm' id='3'>
      <name>web</name>
      <uuid>{UUID}</uuid>
      <vcpu>1</vcpu>
      <devices><memballoon model='virtio'><stats period='10'/></memballoon></devices>
    </domain>"""


def test_a_guest_whose_balloon_driver_answers() -> None:
    stats = {
        "state.state": 1,
        "state.reason": 1,
        "balloon.current": 6291456,
        "balloon.maximum": 8388608,
        "balloon.swap_in": 2048,
        "balloon.swap_out": 8192,
        "balloon.major_fault": 1201,
        "balloon.minor_fault": 90211233,
        "balloon.unused": 412300,
        "balloon.available": 6090112,
        "balloon.usable": 2911232,
        "balloon.last-update": 1759999996,
        "balloon.disk_caches": 2401280,
        "balloon.hugetlb_pgalloc": 12,
        "balloon.hugetlb_pgfail": 1,
        "balloon.rss": 6401024,
    }
    assert domain_from(stats, XML, 3) == Domain(
        id=3,
        state="running",
        config=domainxml.parse(XML),
        balloon=Balloon(
            actual_bytes=6 * 2**30,
            maximum_bytes=8 * 2**30,
            unused_bytes=412300 * 1024,
            available_bytes=6090112 * 1024,
            usable_bytes=2911232 * 1024,
            disk_caches_bytes=2401280 * 1024,
            swap_in_bytes=2 * 2**20,
            swap_out_bytes=8 * 2**20,
            major_faults=1201,
            minor_faults=90211233,
            hugetlb_pgalloc=12,
            hugetlb_pgfail=1,
            last_update_seconds=1759999996,
        ),
    )


def test_what_libvirt_leaves_out_is_none() -> None:
    """As from a guest whose QEMU process is stopped: the bulk call does not wait for it."""
    balloon = domain_from({"state.state": 3, "balloon.current": 1024}, XML).balloon
    assert balloon == Balloon(actual_bytes=2**20)


@pytest.mark.parametrize(
    ("number", "name"),
    [*enumerate(virt.STATES), (99, "99"), (None, "nostate")],
)
def test_states(number: int | None, name: str) -> None:
    assert domain_from({} if number is None else {"state.state": number}, XML).state == name


@pytest.mark.parametrize("error", [VirtError, VirtTimeout, VirtUnavailable])
def test_an_error_says_what_and_the_next_step(error: type[VirtError]) -> None:
    assert str(error("it broke", 38, "mend it")) == "it broke; mend it"
    assert str(error("it broke")) == "it broke"


@needs_libvirt
def test_our_numbers_are_libvirts() -> None:
    import libvirt

    assert virt.AFFECT_LIVE == libvirt.VIR_DOMAIN_AFFECT_LIVE
    assert virt.AFFECT_CONFIG == libvirt.VIR_DOMAIN_AFFECT_CONFIG
    assert virt.ERR_NO_DOMAIN == libvirt.VIR_ERR_NO_DOMAIN
    assert virt.ERR_OPERATION_INVALID == libvirt.VIR_ERR_OPERATION_INVALID
    for number, name in enumerate(virt.STATES):
        assert getattr(libvirt, f"VIR_DOMAIN_{name.upper()}") == number


TRANSIENT = "<domain type='test'><name>t</name><memory>8192</memory><os><type>hvm</type></os></domain>"


@pytest.fixture
def two_domains(tmp_path: Path) -> Any:
    """A connection to libvirt's test driver with the running domains `a` and `b`."""
    domain = "<domain type='test'><name>{}</name><memory>8192</memory><os><type>hvm</type></os></domain>"
    node = tmp_path / "node.xml"
    node.write_text(f"<node>{domain.format('a')}{domain.format('b')}</node>")
    return virt.connect(f"test://{node}", readonly=False)


class EndsAfterTheBulkCall:
    """A connection on which domain `a` ends right after it was listed."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn

    def getAllDomainStats(self, stats: int, flags: int) -> Any:  # noqa: N802 - libvirt's name
        reports = self._conn.getAllDomainStats(stats, flags)
        domain = self._conn.lookupByName("a")
        domain.destroy()
        domain.undefine()
        return reports


@needs_libvirt
def test_reads_all_active_domains(two_domains: Any) -> None:
    assert {domain.name: domain.state for domain in read_domains(two_domains)} == {"a": "running", "b": "running"}


@needs_libvirt
def test_a_domain_that_vanishes_meanwhile_is_left_out(two_domains: Any) -> None:
    assert [domain.name for domain in read_domains(EndsAfterTheBulkCall(two_domains))] == ["b"]


@needs_libvirt
def test_only_a_persistent_domain_has_persistent_xml(two_domains: Any) -> None:
    persistent = two_domains.lookupByName("a")
    transient = two_domains.createXML(TRANSIENT)
    assert "<name>a</name>" in (virt.read_persistent_xml(persistent) or "")
    assert virt.read_persistent_xml(transient) is None
    transient.destroy()
    assert virt.read_persistent_xml(transient) is None


@needs_libvirt
def test_a_refused_connection_says_where_and_the_next_step(tmp_path: Path) -> None:
    uri = f"qemu+unix:///system?socket={tmp_path}/none"
    with pytest.raises(VirtUnavailable, match=r"cannot connect to .*/none.*; is libvirtd running\?") as caught:
        virt.connect(uri, readonly=True)
    assert caught.value.code == 38
