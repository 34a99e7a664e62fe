"""Scrapes a page steadily, in bursts and slowly, and tells what became of each scrape.

`python -m tests.lab.load URL` is a process of its own, so that what the tests do meanwhile does not show in its times.
It writes one line for each scrape that was answered or given up: when it began (seconds of the monotonic clock), the
seconds until its last byte (0 if it was given up), and its HTTP status (0 if there was none). A number that it reads
is how many scrapes to make per second from now on.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

PER_SECOND = 20
BURST, BURST_EVERY_SECONDS = 50, 10.0
LIMIT_SECONDS = 0.2  # a scrape that takes longer is a slow one
_GIVEN_UP_SECONDS = 10.0  # Prometheus' default
_READING_SECONDS = 1.0  # pause of the slow reader after each byte


@dataclass(frozen=True)
class Answer:
    """What became of one scrape."""

    began_seconds: float
    took_seconds: float
    status: int

    @property
    def fast(self) -> bool:
        return self.status == 200 and self.took_seconds < LIMIT_SECONDS


@dataclass(frozen=True)
class Distribution:
    """What became of all scrapes of a while."""

    answers: Sequence[Answer]
    aside: Sequence[Answer] = ()
    """Those while the machine was busy with the test itself: none may fail, and their times tell nothing."""

    @property
    def failed(self) -> list[Answer]:
        return [answer for answer in (*self.answers, *self.aside) if answer.status != 200]

    @property
    def fast_ratio(self) -> float:
        """Of no answers, none was slow."""
        return sum(answer.fast for answer in self.answers) / len(self.answers) if self.answers else 1.0

    def __str__(self) -> str:
        times = sorted(answer.took_seconds * 1000 for answer in self.answers if answer.status == 200) or [0.0]
        p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
        return (
            f"{len(self.answers)} scrapes, {self.fast_ratio:.2%} under {LIMIT_SECONDS * 1000:.0f} ms, "
            f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {times[-1]:.0f} ms, {len(self.aside)} aside, failed {len(self.failed)}"
        )


class Load:
    """Scrapes that go on, and what became of those that ended so far."""

    def __init__(self, results: Path, pace: IO[str]) -> None:
        self._results = results
        self._pace = pace
        self._aside: list[tuple[float, float]] = []

    def pace(self, per_second: float) -> None:
        """Make so many scrapes per second from now on."""
        print(per_second, file=self._pace, flush=True)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """In the block, the test itself keeps the machine busy, and scrapes take their time."""
        began = time.monotonic()
        yield
        self._aside.append((began, time.monotonic()))

    def since(self, began_seconds: float = 0.0) -> Distribution:
        """The scrapes that began at `began_seconds` of the monotonic clock or later."""
        lines = (line.split() for line in self._results.read_text().splitlines(keepends=True) if line.endswith("\n"))
        answers = [Answer(float(began), float(took), int(status)) for began, took, status in lines]
        counted: list[Answer] = []
        aside: list[Answer] = []
        for answer in answers:
            if answer.began_seconds >= began_seconds:
                (aside if self._is_aside(answer) else counted).append(answer)
        return Distribution(counted, aside)

    def _is_aside(self, answer: Answer) -> bool:
        ended_seconds = answer.began_seconds + answer.took_seconds
        return any(answer.began_seconds < end and ended_seconds > begin for begin, end in self._aside)


@contextmanager
def on(url: str, results: Path) -> Iterator[Load]:
    """Within the block, `url` is scraped; what became of it stands in the file `results`."""
    command = (sys.executable, "-m", "tests.lab.load", url)
    with (
        results.open("w") as file,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=file, text=True, cwd=Path(__file__).parents[2]
        ) as process,
    ):
        assert process.stdin is not None
        yield Load(results, process.stdin)
        process.communicate()  # closes its standard input, on which it ends


class _Scrape(asyncio.Protocol):
    """One request, as Prometheus makes it, but with a connection of its own."""

    def __init__(self, host: str, path: str, *, compressed: bool) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        accepted = "gzip" if compressed else "identity"
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: {accepted}\r\nConnection: close\r\n\r\n"
        )
        self._head = b""
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request.encode())

    def data_received(self, data: bytes) -> None:
        if b"\r\n\r\n" not in self._head:
            self._head += data
        self._size += len(data)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(0 if error else self._status())

    def _status(self) -> int:
        """The HTTP status; 0 without all of the body."""
        head, _, _ = self._head.partition(b"\r\n\r\n")
        found = re.fullmatch(rb"HTTP/1\.[01] (\d{3}) .*Content-Length: (\d+)\b.*", head, re.DOTALL | re.IGNORECASE)
        complete = found and self._size == len(head) + 4 + int(found[2])
        return int(found[1]) if found and complete else 0


async def _scrape(host: str, port: int, path: str, *, compressed: bool) -> None:
    began = time.monotonic()
    status = 0
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_GIVEN_UP_SECONDS):
            transport, scrape = await asyncio.get_running_loop().create_connection(
                lambda: _Scrape(host, path, compressed=compressed), host, port
            )
            try:
                status = await scrape.ended
            finally:
                transport.close()
    took = time.monotonic() - began if status else 0.0
    print(f"{began:.6f} {took:.6f} {status}", flush=True)


async def _read_slowly(host: str, port: int, path: str) -> None:
    """For ever: ask for the page, and read it byte by byte until the server has enough of that."""
    while True:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # else the kernel would take it all at once
        connection.setblocking(False)
        with connection, suppress(OSError):
            await asyncio.get_running_loop().sock_connect(connection, (host, port))
            request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
            await asyncio.get_running_loop().sock_sendall(connection, request.encode())
            while await asyncio.get_running_loop().sock_recv(connection, 1):
                await asyncio.sleep(_READING_SECONDS)
        await asyncio.sleep(_READING_SECONDS)


async def _load(url: str) -> None:
    address = urlsplit(url)
    host, port, path = address.hostname or "", address.port or 80, address.path
    loop = asyncio.get_running_loop()
    reader = loop.create_task(_read_slowly(host, port, path))
    order = loop.run_in_executor(None, sys.stdin.readline)
    running: set[asyncio.Task[None]] = set()
    per_second: float = PER_SECOND
    beats = 0
    due = loop.time()
    burst_due = due + BURST_EVERY_SECONDS / 2
    # Each scrape has its time, also when those before it have not ended: else a stall would hide the scrapes it delays.
    while not order.done() or order.result():
        if order.done():
            per_second = float(order.result())
            order = loop.run_in_executor(None, sys.stdin.readline)
        burst = due >= burst_due
        burst_due += BURST_EVERY_SECONDS * burst
        for _ in range(BURST if burst else 1):
            task = loop.create_task(_scrape(host, port, path, compressed=burst or beats % 2 == 0))
            running.add(task)
            task.add_done_callback(running.discard)
        beats += 1
        due += 1 / per_second
        await asyncio.sleep(due - loop.time())
    reader.cancel()
    await asyncio.gather(*running)


if __name__ == "__main__":
    asyncio.run(_load(sys.argv[1]))
