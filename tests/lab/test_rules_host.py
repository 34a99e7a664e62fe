"""What a rule does besides writing, on this kernel's own knobs: verify, on_clear, keep_firing_for, mode; and pools.

`/sys/kernel/mm/ksm/sleep_millisecs` is the condition, since a test can change it as it likes; `pages_to_scan` is moved.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import wait_until

from . import hoststate
from .fragmented import fragmented
from .hoststate import KSM
from .programs import Programs
from .smallhost import available_bytes, small_host

POOL = Path("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages")
GIB = 2**30
BEFORE, OFF, ON = 100, 20, 21


@pytest.fixture(autouse=True)
def still() -> Iterator[None]:
    """KSM that does nothing."""
    for file, value in (("run", 0), ("pages_to_scan", BEFORE), ("sleep_millisecs", OFF)):
        (KSM / file).write_text(str(value))
    yield


def condition(value: int) -> None:
    (KSM / "sleep_millisecs").write_text(str(value))


def pages_to_scan() -> int:
    return hoststate.ksm("pages_to_scan")


def rule(more: str, name: str = "faster", pages: str = "300") -> str:
    return f"""
        - tune: {name}
          because: "a test"
          when: kvm_ksm_sleep_seconds > {(OFF + ON) / 2000}
          set: {{ksm.pages_to_scan: {pages}}}
          {more}
    """


def test_a_write_that_does_not_help_is_reverted_and_not_made_again(kvmtune_alone: Programs) -> None:
    actuator = kvmtune_alone.acting(rule("verify: {expr: kvm_ksm_pages_to_scan > 1000, within: 2s, else: revert}"))
    condition(ON)
    wait_until(lambda: pages_to_scan() == 300, "it is written")
    wait_until(lambda: pages_to_scan() == BEFORE, "it is taken back")
    actuator.wait_for(r"ksm.pages_to_scan of host is in quarantine: verify did not hold within 2s after the write")
    time.sleep(3)
    assert pages_to_scan() == BEFORE
    assert actuator.scrape()["kvmtune_actuator_quarantined_targets"] == 1


def test_a_write_that_helps_stays(kvmtune_alone: Programs) -> None:
    actuator = kvmtune_alone.acting(rule("verify: {expr: kvm_ksm_pages_to_scan > 200, within: 2s, else: revert}"))
    condition(ON)
    wait_until(lambda: pages_to_scan() == 300, "it is written")
    time.sleep(4)
    assert pages_to_scan() == 300
    assert "quarantine" not in actuator.output
    assert actuator.end(signal.SIGTERM) == 0
    assert pages_to_scan() == BEFORE


def test_on_clear_restore_waits_for_keep_firing_for(kvmtune_alone: Programs) -> None:
    kvmtune_alone.acting(rule("on_clear: restore\n          keep_firing_for: 4s"))
    condition(ON)
    wait_until(lambda: pages_to_scan() == 300, "it is written")
    began = time.monotonic()
    condition(OFF)
    wait_until(lambda: pages_to_scan() == BEFORE, "it is put back")
    assert time.monotonic() - began > 2.5  # at once would be within a second


def test_a_rule_in_dry_run_writes_nothing_while_others_do(kvmtune_alone: Programs) -> None:
    dry = rule("mode: dry-run\n          priority: 9", "dry", "700")
    actuator = kvmtune_alone.acting(rule("") + dry)
    condition(ON)
    actuator.wait_for(r"would write dry: host ksm.pages_to_scan (100|300) -> 700")
    wait_until(lambda: pages_to_scan() == 300, "the other rule writes")
    time.sleep(2)
    assert pages_to_scan() == 300


def pool_rule(pages: str, more: str) -> str:
    return f"""
        - tune: pool
          because: "a test"
          when: kvm_ksm_sleep_seconds > {(OFF + ON) / 2000}
          set: {{hugepages.pool: 'kvm_hugepages_node_nr{{node="0",size="2MiB"}} + {pages}'}}
          {more}
    """


def test_a_pool_grows_by_what_the_kernel_finds_and_is_put_back(kvmtune_alone: Programs) -> None:
    before = int(POOL.read_text())
    with small_host(4 * GIB), fragmented(available_bytes() - GIB // 2):
        reserved = int(POOL.read_text())
        wanted = reserved + 500
        actuator = kvmtune_alone.acting(pool_rule("500", "every: 1h"))
        condition(ON)
        actuator.wait_for(rf"written +pool: node 0/size 2MiB hugepages.pool {reserved} -> {wanted}")
        wait_until(lambda: "fell short" in actuator.output, "it is told what became of it", 60)
        got = int(POOL.read_text())
        assert reserved < got < wanted
        actuator.wait_for(rf"fell short +pool: .* \(asked for {wanted}, it reads {got}\)")
        assert actuator.end(signal.SIGTERM) == 0
        assert int(POOL.read_text()) == reserved
    assert int(POOL.read_text()) == before


def test_a_pool_takes_no_memory_that_the_host_needs(kvmtune_alone: Programs) -> None:
    before = int(POOL.read_text())
    actuator = kvmtune_alone.acting(pool_rule("10^9", "limits: {max: " + str(before + 8) + "}"))
    condition(ON)
    wait_until(lambda: int(POOL.read_text()) == before + 8, "it grows as far as the rule lets it")
    assert actuator.end(signal.SIGTERM) == 0
    assert int(POOL.read_text()) == before
