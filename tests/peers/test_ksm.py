"""The rules of the peers that steer KSM write what the peers write, at each step of random hosts."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.peers.actuator import Actuator, of_memory
from tests.peers.ksmpeers import Advisor, Files, Harvester, Kata, Ksmtuned, KubeVirt, Memory, Mom

GIB = 2**20
"""In KiB."""

LEAST_USED = 30_000
"""KiB: of a host that is emptier, KubeVirt would have ksmd sleep for longer than the minute that the knob can be."""

# A host is seldom where it was: a part of its memory that moves about the thresholds, which are at a fifth.
PARTS = some.one_of(some.floats(0.0, 1.0), some.floats(0.15, 0.25), some.just(0.2))


@some.composite
def memories(draw: some.DrawFn, total: int) -> Memory:
    """A host with so much memory, of which the rest may be anything."""
    free, available, rss, vsz, anon = (int(total * draw(PARTS)) for _ in range(5))
    return Memory(
        total, free, min(available, total - LEAST_USED), rss if draw(some.booleans()) else total - rss, vsz * 2, anon
    )


@some.composite
def hosts(draw: some.DrawFn) -> list[Memory]:
    total = draw(some.one_of(some.integers(GIB, 512 * GIB), some.just(16 * GIB), some.just(5 * GIB)))
    return draw(some.lists(memories(total), min_size=1, max_size=25))


starts = some.builds(
    Files,
    some.sampled_from([0, 1, 2]),
    some.sampled_from([64, 100, 113, 114, 1000, 5000]),
    some.sampled_from([10, 20, 200]),
)

PEERS = {
    "ksmtuned": (Ksmtuned, 60),
    "mom-ksm": (Mom, 15),
    "kubevirt-ksm": (KubeVirt, 180),
    "harvester-ksm": (Harvester, 60),
}


@pytest.mark.parametrize("name", PEERS)
@settings(max_examples=40)
@given(host=hosts(), start=starts, guests=some.integers(1, 3))
def test_what_is_written_is_what_the_peer_writes(name: str, host: list[Memory], start: Files, guests: int) -> None:
    peer, interval = PEERS[name]
    oracle, files = peer(), Files(**vars(start))
    with Actuator(name, start) as actuator:
        for index, memory in enumerate(host):
            oracle.step(memory, files)
            actuator.step(index * interval, of_memory(memory, guests))
            assert (index, actuator.files, actuator.faults) == (index, files, {})


@settings(max_examples=10)
@given(
    starts_at=some.lists(some.integers(1, 80), max_size=4, unique=True),
    anon=some.lists(some.integers(GIB // 64, 3 * GIB), min_size=150, max_size=150),
    start=starts.filter(lambda files: files.run != 2),
)
def test_kata_scans_as_long_as_the_peer_does(starts_at: list[int], anon: list[int], start: Files) -> None:
    oracle, files = Kata(initial=start), Files(**vars(start))
    with Actuator("kata-ksm", start) as actuator:
        guests = 1
        for index, pages in enumerate(anon):
            memory = Memory(8 * GIB, GIB, GIB, GIB, GIB, pages)
            guests += index in starts_at
            pids = {f"kvm_domain_process_pid guest{number}": float(number) for number in range(guests)}
            oracle.step(index * 5, index in starts_at, memory, files)
            actuator.step(index * 5, of_memory(memory) | pids)
            assert (index, actuator.files, actuator.faults) == (index, files, {})


@settings(max_examples=15)
@given(scans=some.lists(some.tuples(some.integers(1, 30), some.integers(1, 100)), min_size=2, max_size=6))
def test_the_advisor_goes_where_the_kernels_goes(scans: list[tuple[int, int]]) -> None:
    """Each scan takes so many ticks, of which ksmd works the given percent; the end of the first is where it begins."""
    start = Files(run=1, pages_to_scan=500)
    oracle, files = Advisor(), Files(**vars(start))
    ends = dict(zip(accumulate(ticks for ticks, _ in scans), scans, strict=True))
    spent, ended = 1000, 7
    with Actuator("scan-time-advisor", start) as actuator:
        for index in range(max(ends) + 1):
            if index in ends:
                ticks, percent = ends[index]
                cpu_ms = ticks * 50 * percent
                spent += cpu_ms
                ended += 1
                if ended > 8:
                    oracle.step(ticks * 5000, cpu_ms, files)
            shown = {"kvm_ksm_full_scans_total": ended, "kvm_ksm_ksmd_cpu_seconds_total": spent / 1000}
            actuator.step(index * 5, shown)
            assert (index, actuator.files, actuator.faults) == (index, files, {})
