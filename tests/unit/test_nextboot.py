"""Next-boot settings: edits of a domain's persistent XML, and on libvirt's own test driver what they lead to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from actuator import knobs
from actuator.knobs import Knob, KnobError, Libvirt, Target, Value
from actuator.knobs.nextboot import DomainHugepages, SharePages, diff, hugepages_of
from kvmhost import domainxml
from kvmhost.domains import Hugepages, MemoryBacking
from tests.host import fixture
from tests.unit.test_virt import needs_libvirt

XML = """\
<domain type='test'>
  <name>web</name>
  <uuid>5b0f3c52-7a52-4b7c-9d0e-6f1f1f8f0a01</uuid>
  <metadata>
    <ns:policy xmlns:ns='urn:x'>a &lt; b</ns:policy>
  </metadata>
  <memory unit='KiB'>1048576</memory>{backing}
  <vcpu placement='static'>1</vcpu>
  <os><type arch='x86_64'>hvm</type></os>
  <devices><memballoon model='virtio'/></devices>
</domain>"""


def xml(backing: str = "") -> str:
    return XML.replace("{backing}", f"<memoryBacking>{backing}</memoryBacking>" if backing else "")


def backing_of(text: str) -> MemoryBacking:
    return domainxml.parse(text).memory_backing


@pytest.mark.parametrize("backing", ["", "<locked/>", "<nosharepages/>", "<hugepages/><nosharepages/><locked/>"])
@pytest.mark.parametrize("value", [0, 1])
def test_share_pages(backing: str, value: int) -> None:
    edited = backing_of(SharePages.edit(xml(backing), value))
    assert edited.nosharepages is (value == 0)
    assert (edited.hugepages, edited.locked) == (backing_of(xml(backing)).hugepages, "locked" in backing)


@pytest.mark.parametrize("backing", ["", "<locked/>", "<hugepages/>", "<hugepages><page size='2048' unit='KiB'/></hugepages>"])  # fmt: skip
@pytest.mark.parametrize("value", ["none", "default", "2MiB", "1GiB"])
def test_hugepages(backing: str, value: str) -> None:
    edited = backing_of(DomainHugepages.edit(xml(backing), value))
    assert hugepages_of(edited) == value
    assert edited.locked is ("locked" in backing)


@pytest.mark.parametrize(
    ("backing", "word"),
    [
        (MemoryBacking(), "none"),
        (MemoryBacking(hugepages=(Hugepages(),)), "default"),
        (MemoryBacking(hugepages=(Hugepages(size_bytes=2**30),)), "1GiB"),
        (MemoryBacking(hugepages=(Hugepages(size_bytes=2**30, cells=frozenset({0})),)), "mixed"),
        (MemoryBacking(hugepages=(Hugepages(size_bytes=2**30), Hugepages(size_bytes=2**21))), "mixed"),
    ],
)
def test_the_word_for_what_there_is(backing: MemoryBacking, word: str) -> None:
    assert hugepages_of(backing) == word


@pytest.mark.parametrize("edited", [SharePages.edit(xml(), 0), DomainHugepages.edit(xml(), "2MiB")])
def test_everything_else_stays_as_it_is_written(edited: str) -> None:
    assert '<ns:policy xmlns:ns="urn:x">a &lt; b</ns:policy>' in edited
    root = ElementTree.fromstring(edited)
    backing = root.find("memoryBacking")
    assert backing is not None
    root.remove(backing)
    assert [child.tag for child in root] == [child.tag for child in ElementTree.fromstring(xml())]


def test_a_diff_shows_the_change_only() -> None:
    assert diff("<a>\n<b/>\n</a>", "<a>\n<c/>\n</a>") == "@@ -2 +2 @@\n-<b/>\n+<c/>"
    assert diff("<a/>", "<a/>") == ""


WEB: Target = (("domain", "web"),)


@pytest.fixture
def virt(tmp_path: Path) -> Iterator[Libvirt]:
    """A libvirt with one persistent domain, which runs."""
    (tmp_path / "node.xml").write_text(f"<node>{xml('<locked/>')}</node>")
    with Libvirt(f"test://{tmp_path}/node.xml", tmp_path, lambda: 0.0, readonly=False) as virt:
        yield virt


def knob_of(virt: Libvirt, name: str) -> Knob:
    return knobs.connect(fixture("ordinary"), virt, lambda: 0.0)[name]


@needs_libvirt
@pytest.mark.parametrize(
    ("name", "before", "after", "changed"),
    [
        ("domain.share_pages", 1, 0, "<nosharepages/>"),
        ("domain.hugepages", "none", "default", "<hugepages/>"),
        ("domain.hugepages", "none", "1GiB", "<page size='1048576' unit='KiB'/>"),
    ],
)
def test_a_change_and_its_way_back(virt: Libvirt, name: str, before: Value, after: Value, changed: str) -> None:
    knob = knob_of(virt, name)
    live = knob.live()[WEB]
    assert (live.value, live.identity) == (before, "5b0f3c52-7a52-4b7c-9d0e-6f1f1f8f0a01")
    knob.write(WEB, after)
    assert knob.live()[WEB].value == after
    assert f"+    {changed}" in knob.remark(WEB).replace("+      ", "+    ")
    knob.write(WEB, before)
    assert knob.live()[WEB].value == before
    assert f"-    {changed}" in knob.remark(WEB).replace("-      ", "-    ")


@needs_libvirt
def test_a_size_that_the_host_has_no_pool_for_is_no_word(virt: Libvirt) -> None:
    assert knob_of(virt, "domain.hugepages").live()[WEB].words == ("none", "default", "2MiB", "1GiB")


@needs_libvirt
def test_a_domain_that_is_gone(virt: Libvirt) -> None:
    knob = knob_of(virt, "domain.share_pages")
    with pytest.raises(KnobError, match="the domain web is not defined any more"):
        knob.write(WEB, 0)


@needs_libvirt
def test_a_read_only_connection_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "node.xml").write_text(f"<node>{xml()}</node>")
    with Libvirt(f"test://{tmp_path}/node.xml", tmp_path, lambda: 0.0, readonly=True) as virt:
        knob = knob_of(virt, "domain.share_pages")
        assert knob.live()[WEB].value == 1
        with pytest.raises(
            KnobError, match=r"cannot change the configuration of web: .*this needs the read-write connection"
        ):
            knob.write(WEB, 0)
