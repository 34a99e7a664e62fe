"""In which order the lab writes knobs back: the kernel refuses some of them at some times."""

from __future__ import annotations

import pytest

from tests.lab.hoststate import changes

KSM = "/sys/kernel/mm/ksm"
POOL = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"
BEFORE = {
    POOL: "0",
    f"{KSM}/advisor_mode": "none",
    f"{KSM}/max_page_sharing": "256",
    f"{KSM}/pages_to_scan": "100",
    f"{KSM}/run": "0",
    "/proc/sys/vm/dirty_bytes": "0",
    "/proc/sys/vm/dirty_ratio": "20",
}
ENDS = [(f"{KSM}/advisor_mode", "none"), (f"{KSM}/run", "0")]


@pytest.mark.parametrize(
    ("changed", "writes"),
    [
        pytest.param({}, [], id="nothing to do"),
        pytest.param({POOL: "500"}, [(POOL, "0")], id="KSM is not touched for another's sake"),
        pytest.param({f"{KSM}/run": "1"}, [ENDS[0], *ENDS], id="run only"),
        pytest.param(
            {f"{KSM}/advisor_mode": "scan-time", f"{KSM}/pages_to_scan": "900"},
            [(f"{KSM}/advisor_mode", "none"), (f"{KSM}/pages_to_scan", "100"), *ENDS],
            id="the advisor refuses a rate while it is on",
        ),
        pytest.param(
            {f"{KSM}/max_page_sharing": "64", POOL: "500"},
            [(POOL, "0"), (f"{KSM}/run", "2"), ENDS[0], (f"{KSM}/max_page_sharing", "256"), *ENDS],
            id="unmerging comes first, and before it the memory it may take",
        ),
        pytest.param(
            {"/proc/sys/vm/dirty_bytes": "4096", "/proc/sys/vm/dirty_ratio": "0"},
            [("/proc/sys/vm/dirty_ratio", "20")],
            id="of the two faces of one knob, the one that was in use",
        ),
    ],
)
def test_writes_lead_back(changed: dict[str, str], writes: list[tuple[str, str]]) -> None:
    assert changes(BEFORE, BEFORE | changed) == writes


def test_the_rate_is_left_to_an_advisor_that_was_on() -> None:
    before = BEFORE | {f"{KSM}/advisor_mode": "scan-time"}
    assert changes(before, before | {f"{KSM}/pages_to_scan": "512"}) == []
