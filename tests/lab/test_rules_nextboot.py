"""Rules that change what a domain is started with next, on real domains. The witnesses: virsh, and the QEMU process."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import wait_until

from . import smallhost
from .lab import Lab
from .programs import Programs
from .specs import GuestSpec

# With something in it that others have put there, which must stay as they wrote it.
METADATA = """<metadata><other:thing xmlns:other="urn:other" a='1'>a &amp; b</other:thing></metadata>"""
DOMAIN = GuestSpec(name="kvmtune-lab-next", memory_mib=32, boots=False, about=METADATA)
RULES = f"""
    - tune: next_boot
      because: "a test"
      when: kvm_domain_info{{domain="{DOMAIN.name}"}}
      every: 1s
      set: {{domain.share_pages: 0, domain.hugepages: 2MiB}}
"""


@pytest.fixture
def domain(lab: Lab) -> Iterator[str]:
    """A domain that is defined and runs."""
    file = lab.directory / f"{DOMAIN.name}.xml"
    file.write_text(DOMAIN.xml(Path("/run/lab")))
    lab.virsh("define", str(file))
    lab.virsh("start", DOMAIN.name)
    yield DOMAIN.name
    lab.destroy(DOMAIN.name)


def next_xml(lab: Lab, domain: str) -> str:
    return lab.virsh("dumpxml", "--inactive", "--security-info", domain)


def qemu(lab: Lab) -> Path:
    """The domain's QEMU process."""
    (guest,) = lab._guests([DOMAIN])
    return Path(f"/proc/{lab.qemu_pid(guest)}")


def hugetlb_kib(process: Path) -> int:
    return sum(int(kib) for kib in re.findall(r"_Hugetlb: +(\d+) kB", (process / "smaps").read_text()))


def test_the_next_start_is_changed_and_put_back(lab: Lab, domain: str, kvmtune: Programs) -> None:
    running, before = lab.virsh("dumpxml", domain), next_xml(lab, domain)
    actuator = kvmtune.acting(RULES)
    changed = re.compile(r"<memoryBacking>\s*<nosharepages/>\s*<hugepages>\s*<page size='2048' unit='KiB'/>")
    reordered = re.compile(
        r"<memoryBacking>\s*<hugepages>\s*<page size='2048' unit='KiB'/>\s*</hugepages>\s*<nosharepages/>"
    )

    def is_changed() -> bool:
        now = next_xml(lab, domain)
        return bool(changed.search(now) or reordered.search(now))

    wait_until(is_changed, "its configuration is changed")
    assert lab.virsh("dumpxml", domain) == running
    assert hugetlb_kib(qemu(lab)) == 0
    wait_until(lambda: "+    <nosharepages/>" in ledger(kvmtune), "the ledger has the change")
    wait_until(lambda: "+      <page size='2048' unit='KiB'/>" in ledger(kvmtune), "and the other")

    assert actuator.end(signal.SIGTERM) == 0
    assert next_xml(lab, domain) == before
    assert lab.virsh("dumpxml", domain) == running


def test_the_next_start_is_as_it_says(lab: Lab, domain: str, kvmtune: Programs) -> None:
    """First on hugepages; then without them, but left alone by KSM."""
    assert is_mergeable(qemu(lab))
    before = next_xml(lab, domain)
    actuator = kvmtune.acting(RULES, "--on-stop", "keep")
    wait_until(lambda: "<nosharepages/>" in next_xml(lab, domain) and "<hugepages>" in next_xml(lab, domain), "changed")
    with smallhost.hugepages(64 * 2**20):
        restart(lab, domain)
        assert hugetlb_kib(qemu(lab)) > 0
        kvmtune.write_rules(RULES.replace("2MiB", "none"))
        actuator.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "<hugepages>" not in next_xml(lab, domain), "the hugepages are gone again")
        restart(lab, domain)
    assert hugetlb_kib(qemu(lab)) == 0
    assert not is_mergeable(qemu(lab))
    assert actuator.end(signal.SIGTERM) == 0
    restored = kvmtune.restore()
    assert restored.returncode == 0, restored.stdout
    assert next_xml(lab, domain) == before
    restart(lab, domain)
    assert is_mergeable(qemu(lab))


def restart(lab: Lab, domain: str) -> None:
    lab.virsh("destroy", domain)
    lab.virsh("start", domain)


def is_mergeable(process: Path) -> bool:
    """Whether QEMU has asked KSM to look at the guest's memory."""
    # mg: one of the mapping's flags (Documentation/filesystems/proc.rst).
    return re.search(r"^VmFlags:.* mg\b", (process / "smaps").read_text(), re.MULTILINE) is not None


def ledger(kvmtune: Programs) -> str:
    return (kvmtune.directory / "state/ledger.jsonl").read_text().replace("\\n", "\n")
