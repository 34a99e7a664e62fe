"""The command kvmtune-exporter, as a process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.arguments import VERSION
from tests.golden import normalised
from tests.host import FIXTURES
from tests.programs import wait_until
from tests.unit.test_virt import needs_libvirt

COMMAND = (sys.executable, "-m", "exporter")
# No libvirtd of this machine takes part in these tests.
NO_LIBVIRT = "--libvirt.uri=qemu+unix:///system?socket=/nonexistent/socket"


@contextmanager
def running(host: Path, libvirt: str = NO_LIBVIRT) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """An exporter of a fixture host, and the URL of its metrics."""
    arguments = (*COMMAND, "--web.listen-address=127.0.0.1:0", f"--path.rootfs={host}", libvirt)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.kill()


def fetched(url: str, timeout_seconds: float = 10) -> str:
    with urllib.request.urlopen(url, timeout=timeout_seconds) as response:
        text: str = response.read().decode()
        return text


def status_of(url: str, method: str = "GET") -> int:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def refused(*arguments: str) -> tuple[int, str]:
    """Exit status and the last line that it says."""
    done = subprocess.run((*COMMAND, *arguments), capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr.splitlines()[-1]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_serves_a_host_and_stops_cleanly(stop: signal.Signals) -> None:
    host = FIXTURES / "old-kernel"
    with running(host) as (process, url):
        wait_until(lambda: "\nkvm_tuner_active{" in fetched(url), "other tuners have been looked for")
        page = normalised(fetched(url)).replace(f'version="{VERSION}"', 'version="0"')
        process.send_signal(stop)
        assert process.wait(timeout=10) == 0
    assert page == (host / "expected.prom").read_text()


def test_says_once_what_is_missing_and_how_to_get_it() -> None:
    missing = ("no kvm_pressure_*: the kernel has no PSI; boot with psi=1", "no data of guests from libvirt: ")
    with running(FIXTURES / "old-kernel") as (process, url):
        assert process.stderr
        said = [process.stderr.readline() for _ in missing]
        for _ in range(3):
            fetched(url)
        process.terminate()
        said += process.stderr
    assert len(said) == len(missing)
    for start in missing:
        assert any(start in line for line in said)


def test_its_pages() -> None:
    with running(FIXTURES / "ordinary") as (_, url):
        top = url.removesuffix("metrics")
        assert "kvmtune-exporter" in fetched(top)
        assert fetched(f"{top}-/healthy") == "Healthy\n"
        assert status_of(f"{top}-/ready") == 503  # libvirt does not answer
        assert status_of(f"{top}favicon.ico") == 404
        assert status_of(url, method="POST") == 405


def test_a_collector_can_be_switched_off() -> None:
    with running(FIXTURES / "ordinary", "--no-collector.ksm") as (_, url):
        page = fetched(url)
    assert "\nkvm_ksm_" not in page
    assert 'kvm_collector_success{collector="ksm"}' not in page
    assert "\nkvm_memory_total_bytes " in page


@needs_libvirt
def test_guests_are_shown_as_soon_as_libvirt_has_answered() -> None:
    with running(FIXTURES / "ordinary", "--libvirt.uri=test:///default") as (process, url):
        assert process.stderr
        assert any("libvirt answers: active domains: 1" in line for line in process.stderr)
        page = fetched(url)
        assert fetched(f"{url.removesuffix('metrics')}-/ready") == "Ready\n"
    assert "\nkvm_libvirt_up 1\n" in page
    assert 'kvm_domain_info{domain="test",' in page


@needs_libvirt
def test_a_libvirt_that_never_answers_delays_neither_a_scrape_nor_the_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(tmp_path / "socket"))
        daemon.listen()
        daemon.settimeout(30)
        uri = f"--libvirt.uri=qemu+unix:///system?socket={tmp_path}/socket"
        with running(FIXTURES / "ordinary", uri) as (process, url):
            client, _ = daemon.accept()
            with client:
                # The call is given up after 5 s: whoever waited for it would be too late.
                page = fetched(url, timeout_seconds=4)
                process.terminate()
                assert process.wait(timeout=4) == 0
    assert "\nkvm_libvirt_up 0\n" in page
    assert "\nkvm_memory_total_bytes " in page


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--libvirt.interval=5", "'5' is not a duration: write it like 15s, 1m30s, 2h or 500ms"),
        ("--libvirt.interval=-1s", "'-1s' is not a duration"),
        ("--libvirt.interval=0s", "'0s' is no pause"),
        ("--libvirt.interval=99999d", "'99999d' is too long"),
        ("--libvirt.stats-interval=500ms", "--libvirt.stats-interval must not be less than --libvirt.interval"),
        ("--libvirt.max-age=5s", "--libvirt.max-age must be more than --libvirt.stats-interval"),
        ("--web.listen-address=9752", "'9752' is not an address: write it like 127.0.0.1:9752"),
        ("--web.listen-address=localhost:99999", "'localhost:99999' has no valid port"),
        ("--web.listen-address=a..b:9752", "'a..b:9752' has no valid host name"),
        ("--path.rootfs=/nonexistent", "'/nonexistent' is not a directory"),
        ("--path.rootfs=", "'' is not a directory"),
        ("--path.rootfs=/etc", "'/etc' has no proc: give the directory where the host's / is mounted"),
        ("--path.root=/", "unrecognized arguments: --path.root=/"),
        ("--no-collector.nonsense", "unrecognized arguments: --no-collector.nonsense"),
        ("--no-such-flag", "unrecognized arguments: --no-such-flag"),
    ],
)
def test_a_bad_flag_is_refused(flag: str, says: str) -> None:
    status, message = refused(flag)
    assert status == 2
    assert says in message


def test_a_bad_web_configuration_is_refused_with_all_its_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("basic_auth_users: {a: b}\nrate_limits: {}\n")
    done = subprocess.run(
        (*COMMAND, "--web.config.file", file, NO_LIBVIRT), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [f"{file}:1:23", f"{file}:2:1", "problems"]


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, message = refused(f"--web.listen-address=127.0.0.1:{port}", NO_LIBVIRT)
    assert status == 1
    assert message.startswith(f"kvmtune-exporter: cannot listen on 127.0.0.1:{port}: Address already in use; ")
    assert "--web.listen-address" in message


@pytest.mark.parametrize(("flag", "says"), [("--help", "--libvirt.max-age"), ("--version", VERSION)])
def test_help_and_version(flag: str, says: str) -> None:
    done = subprocess.run((*COMMAND, flag), capture_output=True, text=True, timeout=30, check=True)
    assert says in done.stdout
