"""What is read in the background: the newest, and nothing that is too old. Time is the test's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from exporter.background import Background
from tests.programs import wait_until


def background(read: Callable[[], int], clock: Callable[[], float] = lambda: 100.0) -> Background[int]:
    return Background("numbers", read, interval_seconds=0.001, max_age_seconds=60, clock=clock)


def test_there_is_nothing_before_the_first_read() -> None:
    assert background(lambda: 1).newest(100.0) is None


@pytest.mark.parametrize(("now", "found"), [(100.0, 1), (160.0, 1), (160.1, None), (50.0, None)])
def test_what_is_too_old_is_withheld(now: float, found: int | None) -> None:
    reader = background(lambda: 1)
    reader.read()
    assert reader.newest(now) == found


def test_a_failure_keeps_what_was_read_before_and_is_logged_when_it_comes_and_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    answers: Iterator[int | Exception] = iter([1, ValueError("bad"), ValueError("bad"), 2])

    def read() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    reader = background(read)
    seen = []
    for _ in range(4):
        reader.read()
        seen.append(reader.newest(100.0))
    assert seen == [1, 1, 1, 2]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "ValueError: bad" in caplog.records[0].message


def test_it_reads_again_and_again_and_ends_with_its_block() -> None:
    reads: list[int] = []
    threads = threading.active_count()
    with background(lambda: reads.append(1) or len(reads)) as reader:  # type: ignore[func-returns-value]
        wait_until(lambda: (reader.newest(100.0) or 0) > 3, "several reads")
    assert threading.active_count() <= threads
