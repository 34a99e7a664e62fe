"""Data that are missing, late or wrong change nothing: real processes, on what exporters and servers may answer.

Of what each answer tells, the rules would act on every word if it were the truth.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from actuator.data.exposition import Parser
from actuator.data.store import Store
from actuator.promql.labels import Labels
from tests.filehost import SCAN_FASTER, Host, host_in
from tests.programs import Program
from tests.promserver import PromServer
from tests.target import OK, Target, after, hang

Answer = bytes | Callable[[socket.socket], None]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path) as host:
        host.rules.write_text(SCAN_FASTER)
        yield host


@pytest.fixture
def page(host: Host) -> bytes:
    """What the real exporter says of the host, in a whole answer."""
    with urllib.request.urlopen(host.exporter(), timeout=30) as response:
        body: bytes = response.read()
    return OK + body


@pytest.fixture
def target() -> Iterator[Target]:
    target = Target()
    yield target
    target.close()


def slowly(answer: bytes) -> Callable[[socket.socket], None]:
    """A byte at a time, each well within any timeout of a single read."""

    def trickle(connection: socket.socket) -> None:
        for byte in answer:
            connection.sendall(bytes([byte]))
            time.sleep(0.005)

    return trickle


def in_turn(*answers: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    turns = cycle(answers)
    return lambda connection: next(turns)(connection)


def ten_million_lines(connection: socket.socket) -> None:
    connection.sendall(OK)
    for start in range(0, 10_000_000, 100_000):
        connection.sendall(b"".join(b'load{n="%d"} 1\n' % n for n in range(start, start + 100_000)))


def instead(page: bytes, line: bytes, other: bytes) -> bytes:
    assert line in page
    return page.replace(line, other)


LIES: dict[str, tuple[Callable[[bytes], Answer], str]] = {
    "down": (lambda _: b"", "without response"),
    "an error": (lambda _: b"HTTP/1.1 500 Oops\r\n\r\nkvm_ksm_run 0\n", "answered 500 Oops"),
    "half a body": (lambda page: after(page[: len(page) // 2], lambda _: None), "the body is cut off"),
    "a shorter body than it says": (
        lambda page: instead(page, b"\r\n\r\n", b"\r\nContent-Length: 999999\r\n\r\n"),
        "bytes early",
    ),
    "a longer body than it says": (
        lambda page: instead(page, b"\r\n\r\n", b"\r\nContent-Length: 5000\r\n\r\n"),
        "the body is cut off|not a valid HTTP answer",
    ),
    "a duplicate series": (lambda page: page + b"kvm_ksm_run 0\n", "kvm_ksm_run"),
    "a value that is none": (lambda page: instead(page, b"kvm_ksm_run 0", b"kvm_ksm_run zero"), "zero"),
    "not UTF-8": (lambda page: page + b'\nx{a="\xff"} 1\n', "not UTF-8"),
    "NaN in the condition": (lambda page: instead(page, b"kvm_ksm_run 0", b"kvm_ksm_run NaN"), ""),
    "NaN in the setpoint": (
        lambda page: instead(page, b"kvm_ksm_pages_to_scan 100", b"kvm_ksm_pages_to_scan NaN"),
        "the setpoint for host is nan",
    ),
    "infinity in the setpoint": (
        lambda page: instead(page, b"kvm_ksm_pages_to_scan 100", b"kvm_ksm_pages_to_scan +Inf"),
        "the setpoint for host is inf",
    ),
    "nothing at all": (lambda _: OK, "waits for data of kvm_ksm_run"),
    "ten million lines": (lambda _: ten_million_lines, "larger than"),
    "a byte at a time, or none": (lambda page: in_turn(slowly(page), hang), "no complete answer in time"),
}


def test_whatever_an_exporter_answers_nothing_is_changed_until_it_answers_well(
    host: Host, target: Target, page: bytes
) -> None:
    url = f"http://{target.address}/metrics"
    actuator = host.actuator(url, "--apply")
    for lie, (answer, told) in LIES.items():
        target.answer = answer(page)
        since = len(actuator.output)
        ticks(target, 2)
        assert host.rate == "100", lie
        assert re.search(told, actuator.output[since:]), f"{lie}: {actuator.output[since:]}"
        target.answer = instead(page, b"kvm_ksm_run 0", b"kvm_ksm_run 1")  # well, and there is nothing to do
        ticks(target, 1)
    assert most_memory_mib(actuator) < 200
    target.answer = page
    host.wait_for_rate("190")
    assert actuator.end(signal.SIGTERM) == 0
    assert host.rate == "100"


def test_the_clock_of_an_exporter_does_not_count(host: Host, target: Target, page: bytes) -> None:
    stamp = b" %d\n" % ((time.time() - 3600) * 1000)
    target.answer = OK + re.sub(rb"(?m)^([^#].*)\n", rb"\1" + stamp, page.removeprefix(OK))
    actuator = host.actuator(f"http://{target.address}/metrics", "--apply")
    host.wait_for_rate("190")
    assert actuator.end(signal.SIGTERM) == 0


def ticks(target: Target, count: int) -> None:
    """Let so many more requests come in, the first of which may have been under way; and the last one end."""
    for _ in range(count + 1):
        target.request = b""
        deadline = time.monotonic() + 30
        while not target.request:
            assert time.monotonic() < deadline, "it asks no more"
            time.sleep(0.01)


def most_memory_mib(actuator: Program) -> int:
    status = Path(f"/proc/{actuator.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) // 1024


class Server:
    """A Prometheus server that tells the truth of a page."""

    def __init__(self, page: bytes) -> None:
        self._store = Store(300.0)
        self._prometheus = PromServer(self._store)
        self._values = Parser[Labels](lambda labels: labels).parse(page.removeprefix(OK).decode(), openmetrics=False)

    def answer(self, request: bytes, **other: object) -> bytes:
        """To the query in `request`; `other`: members of the envelope that are not as they would be."""
        form = {name: values[0] for name, values in parse_qs(request.partition(b"\r\n\r\n")[2].decode()).items()}
        for labels, value in self._values.items():
            self._store.append((*labels, ("instance", "here")), float(form["time"]), value)
        status, envelope = self._prometheus.answer(form)
        assert isinstance(envelope, dict)
        content = json.dumps(envelope | other).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        return f"{head}Connection: close\r\n\r\n".encode() + content


def error_of_server(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


FAULTS: dict[str, tuple[Answer, str]] = {
    "down": (b"", "without response"),
    "overloaded": (error_of_server(503, b"busy"), "503"),
    "an error": (error_of_server(422, b'{"status":"error","errorType":"execution","error":"no room"}'), "no room"),
    "a page of a proxy": (OK + b"<html>Log in</html>", "JSON|text/html|no content type|answer"),
    "half an answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{", "bytes early"),
    "silence": (hang, "no complete answer within 300ms"),
    "a byte at a time": (slowly(error_of_server(200, b" " * 1000)), "no complete answer (within 300ms|in time)"),
}


def test_whatever_a_server_answers_nothing_is_changed_until_it_answers_well(
    host: Host, target: Target, page: bytes
) -> None:
    server, nothing_to_do = Server(page), Server(instead(page, b"kvm_ksm_run 0", b"kvm_ksm_run 1"))
    actuator = host.start(
        "kvmtune-actuator", "run", "--rules", host.rules, "--query.url", f"http://{target.address}", "--apply",
        "--interval", "100ms", "--query.timeout", "300ms", "--web.listen-address", "127.0.0.1:0", *host.options,
    )  # fmt: skip

    def with_warnings(connection: socket.socket) -> None:
        connection.sendall(server.answer(target.request, warnings=["a store did not answer"]))

    faults = {**FAULTS, "part of the data": (with_warnings, "a store did not answer")}
    for fault, (answer, told) in faults.items():
        target.answer = answer
        since = len(actuator.output)
        ticks(target, 6)
        assert host.rate == "100", fault
        assert re.search(told, actuator.output[since:]), f"{fault}: {actuator.output[since:]}"
        target.answer = lambda connection: connection.sendall(nothing_to_do.answer(target.request))
        ticks(target, 12)  # several questions each
    target.answer = lambda connection: connection.sendall(server.answer(target.request))
    host.wait_for_rate("190")
    assert actuator.end(signal.SIGTERM) == 0
    assert host.rate == "100"
