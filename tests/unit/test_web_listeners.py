"""Where the server listens: addresses, and the sockets that systemd passes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvmweb import listeners
from kvmweb.address import Address, parse
from kvmweb.arguments import WebFlags
from kvmweb.listeners import WebError
from kvmweb.server import serve
from tests.web import ask, endpoint, one_page, serving

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6 on this host")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9752", Address("127.0.0.1", 9752)),
        ("localhost:65535", Address("localhost", 65535)),
        ("[::1]:9752", Address("::1", 9752)),
        (":9752", Address("", 9752)),
        ("[::]:0", Address("::", 0)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not an address: write it like"),
        ("9752", "is not an address: write it like"),
        ("::1:9752", "is not an address: write it like"),
        ("[::1:9752", "is not an address: write it like"),
        ("localhost:", "has no valid port"),
        ("localhost:http", "has no valid port"),
        ("localhost:65536", "has no valid port"),
        ("localhost:-1", "has no valid port"),
        ("localhost:٣", "has no valid port"),
        ("a..b:9752", "has no valid host name"),
        (f"{'a' * 64}:9752", "has no valid host name"),
    ],
)
def test_what_is_not_an_address(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem), serving(address=text):
        pass


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:0",
        "localhost:0",
        ":0",
        pytest.param("[::1]:0", marks=needs_ipv6),
        pytest.param("[::]:0", marks=needs_ipv6),
    ],
)
def test_the_url_leads_to_the_server(address: str) -> None:
    with serving(address=address) as url:
        assert ask(url, "/-/healthy").status == 200


def test_all_addresses_include_those_of_ipv4() -> None:
    with serving(address=":0") as url:
        assert ask(f"http://127.0.0.1:{endpoint(url)[1]}", "/-/healthy").status == 200


def test_several_addresses() -> None:
    flags = WebFlags(listen_addresses=("127.0.0.1:0", "127.0.0.2:0"))
    with serve(flags, one_page, title="t", version="1") as urls:
        assert [endpoint(url)[0] for url in urls] == ["127.0.0.1", "127.0.0.2"]
        assert [ask(url).status for url in urls] == [200, 200]


def test_a_port_in_use_is_an_error_with_the_next_step() -> None:
    with serving() as url:
        host, port = endpoint(url)
        next_step = rf"stop what uses it \(`ss -ltnp sport = :{port}`\) or choose another --web.listen-address"
        with (
            pytest.raises(WebError, match=f"cannot listen on {host}:{port}: Address already in use; {next_step}"),
            serving(address=f"{host}:{port}"),
        ):
            pass


def test_an_address_of_another_machine_is_an_error() -> None:
    with (
        pytest.raises(WebError, match=r"cannot listen on 192.0.2.1:9752: .*; choose another"),
        serving(address="192.0.2.1:9752"),
    ):
        pass


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(WebError, match=r"cannot listen on nobody.invalid:9752: .*; choose another"):
        listeners.bound(["nobody.invalid:9752"])


def test_of_several_addresses_all_are_listened_on_or_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(WebError, match=r"192\.0\.2\.1"):
        listeners.bound([f"127.0.0.1:{port}", "192.0.2.1:9752"])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


# systemd's sockets, each time in a real child: the descriptors have fixed numbers.

_CHILD = """
import os, signal, sys
os.environ["LISTEN_PID"] = sys.argv[1] or str(os.getpid())
os.execvp(sys.argv[2], sys.argv[2:])
"""
EXPORTER = (sys.executable, "-m", "exporter", "--libvirt.uri=test:///nowhere", "--web.systemd-socket")


@contextmanager
def activated(*sockets: socket.socket, count: str | None = None, process: str = "") -> Iterator[subprocess.Popen[str]]:
    """The exporter with the sockets as descriptors 3, 4, ... as systemd starts it; `process` instead of its own id."""
    kept = [os.dup(one.fileno()) for one in sockets]

    def place() -> None:  # in the child
        for number, descriptor in enumerate(kept, start=3):
            os.dup2(descriptor, number)

    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, process, *EXPORTER],
        preexec_fn=place,
        pass_fds=range(3, 3 + len(sockets)),
        env={**os.environ, "LISTEN_FDS": str(len(sockets)) if count is None else count},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()
            for descriptor in kept:
                os.close(descriptor)


def said_by(child: subprocess.Popen[str]) -> str:
    assert child.stdout
    return child.stdout.readline()


def test_sockets_of_systemd() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        urls = [f"http://127.0.0.1:{one.getsockname()[1]}" for one in (first, second)]
        with activated(first, second) as child:
            assert said_by(child).endswith(f"metrics on {urls[0]}/metrics, {urls[1]}/metrics\n")
            assert [ask(url).status for url in urls] == [200, 200]
            child.terminate()
            assert child.wait(timeout=10) == 0


def test_a_local_socket_of_systemd(tmp_path: Path) -> None:
    path = str(tmp_path / "web.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with activated(listener) as child:
            assert said_by(child).endswith(f"metrics on http://unix:{path}:/metrics\n")
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                client.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
                assert client.makefile("rb").read().endswith(b"Healthy\n")


@pytest.mark.parametrize(("count", "process"), [("0", ""), ("", ""), ("x", ""), ("1", "1")])
def test_without_sockets_of_systemd_it_says_how_to_be_started(count: str, process: str) -> None:
    with activated(count=count, process=process) as child:
        _, said = child.communicate(timeout=30)
    assert child.returncode == 1
    assert "systemd passes no sockets to this process; start the socket unit and not the service" in said


def test_what_is_no_listening_socket_is_refused() -> None:
    with socket.socket() as unbound, activated(unbound) as child:
        _, said = child.communicate(timeout=30)
    assert child.returncode == 1
    assert "descriptor 3 from systemd is no socket that connections can be accepted from" in said


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate")
def test_started_by_systemd_socket_activate() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ("systemd-socket-activate", f"--listen=127.0.0.1:{port}", *EXPORTER)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stderr
            assert "Listening on" in child.stderr.readline()
            assert ask(f"http://127.0.0.1:{port}").status == 200
            child.terminate()
            assert child.wait(timeout=10) == 0
        finally:
            child.kill()


def test_addresses_and_sockets_of_systemd_exclude_each_other() -> None:
    done = subprocess.run(
        [*EXPORTER, "--web.listen-address=:0"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "not allowed with argument" in done.stderr
