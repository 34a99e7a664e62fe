"""Runs jobs so that one that hangs costs only itself.

A read of /proc or a libvirt call can block without limit, and a thread cannot be cancelled. So jobs run one after
another in a thread, and when one stalls, the thread is left behind with it and the others go on in a new one. What was
left behind keeps its key: no second job of that key starts before the first has returned.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, kw_only=True)
class Run(Generic[K, V]):
    """What became of the jobs of one run."""

    results: dict[K, V]
    """Of the jobs that returned in time."""
    stalled: frozenset[K]
    """Still running, from this run or from an earlier one: not started again."""
    skipped: frozenset[K]
    """Not started, for lack of time or because as many jobs as may be are stalled."""


class Bulkhead(Generic[K]):
    """One run at a time. A job that runs longer than `stall_seconds` is left behind.

    At most `most_at_once` jobs are under way at any time, those left behind included.
    """

    def __init__(self, name: str, *, stall_seconds: float, most_at_once: int) -> None:
        self._name = name
        self._stall_seconds = stall_seconds
        self._most_at_once = most_at_once
        self._left_behind: set[K] = set()
        self._lock = threading.Lock()
        self._lane: _Lane | None = None

    @property
    def stalled(self) -> frozenset[K]:
        """The keys of the jobs that were left behind and have not returned yet."""
        with self._lock:
            return frozenset(self._left_behind)

    def run(self, jobs: Iterable[tuple[K, Callable[[], V]]], *, within_seconds: float = math.inf) -> Run[K, V]:
        """Run the jobs in their order; returns when all have ended, stalled or been skipped.

        A job that raises ends this run with its exception: catch in the job what shall cost that job only.
        """
        deadline = time.monotonic() + within_seconds
        stalled = self.stalled
        waiting = deque((key, job) for key, job in jobs if key not in stalled)
        results: dict[K, V] = {}
        while waiting and time.monotonic() < deadline and len(self.stalled) < self._most_at_once:
            self._run_until_stall(_Batch(self._lock, waiting, results, self._left_behind), deadline)
        return Run(results=results, stalled=self.stalled, skipped=frozenset(key for key, _ in waiting))

    def _run_until_stall(self, batch: _Batch[K, V], deadline: float) -> None:
        if self._lane is None:
            self._lane = _Lane(self._name)
        self._lane.batches.put(batch)
        while True:
            _, began = at = batch.at
            give_up = min(began + self._stall_seconds, deadline)
            if batch.ended.acquire(timeout=max(give_up - time.monotonic(), 0)):
                if batch.error:
                    raise batch.error
                return
            with self._lock:
                if batch.at == at and time.monotonic() >= give_up:
                    batch.leave()
                    self._lane = None
                    return

    def __del__(self) -> None:
        if self._lane:
            self._lane.batches.put(None)


class _Lane(threading.Thread):
    """The thread that takes batch after batch, until it is left behind or there shall be none any more.

    It is kept from run to run: to start one takes five times as long as to wake one.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.batches: SimpleQueue[_Batch[Any, Any] | None] = SimpleQueue()
        self.start()

    def run(self) -> None:
        while (batch := self.batches.get()) and batch.run():
            del batch  # or its results would be kept until the next


class _Batch(Generic[K, V]):
    """The jobs that one lane does of a run, one after another, until there is none or it is left behind in one."""

    def __init__(
        self,
        lock: threading.Lock,
        waiting: deque[tuple[K, Callable[[], V]]],
        results: dict[K, V],
        left_behind: set[K],
    ) -> None:
        self.ended = threading.Lock()
        """Free when it has."""
        self.ended.acquire()
        self.error: BaseException | None = None
        self.at: tuple[K | None, float] = (None, time.monotonic())
        """The key of the job under way, None before the first, and when it began."""
        self._lock = lock
        self._waiting = waiting
        self._results = results
        self._left_behind = left_behind
        self._left = False

    def leave(self) -> None:
        """Have it take nothing more; the result of the job under way is nobody's. The caller holds the lock."""
        self._left = True
        key, _ = self.at
        if key is not None:
            self._left_behind.add(key)

    def run(self) -> bool:
        """Whether it came to its end, and was not left behind."""
        try:
            while job := self._next():
                self._keep(job())
        except BaseException as error:  # noqa: BLE001 - raised again where the run was asked for
            self.error = error
        return self._end()

    def _next(self) -> Callable[[], V] | None:
        with self._lock:
            if self._left or not self._waiting:
                return None
            key, job = self._waiting.popleft()
            self.at = (key, time.monotonic())
            return job

    def _keep(self, result: V) -> None:
        with self._lock:
            key, _ = self.at
            if key is not None and not self._left:
                self._results[key] = result

    def _end(self) -> bool:
        with self._lock:
            key, _ = self.at
            if self._left and key is not None:
                self._left_behind.discard(key)
            self.ended.release()
            return not self._left
