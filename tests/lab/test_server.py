"""A real Prometheus that scrapes the real exporter, both with TLS and passwords, and the actuator that asks it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time

import bcrypt
import pytest

from actuator import promql
from actuator.data import httpconfigfile
from actuator.data.query import QueryError
from actuator.data.server import ServerQuery
from tests.programs import Program, run, wait_until
from tests.web import Authority

from . import packages
from .lab import CACHE

SCRAPE_INTERVAL_SECONDS = 1
RULES = """
groups:
  - name: g
    rules:
      - tune: test
        because: "It is a test."
        when: kvm_ksm_pages_to_scan > 0
        set:
          ksm.pages_to_scan: kvm_ksm_pages_to_scan + 100
"""


@dataclass(frozen=True)
class Site:
    """Where both are; `config` says how to reach them."""

    directory: Path
    exporter_url: str
    server_url: str
    config: Path

    def asks_the_server(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(
            "kvmtune-actuator", "query", "--query.url", self.server_url, "--query.config.file", self.config, *arguments
        )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    authority = Authority(directory, "authority")
    served = authority.issue("served", "DNS:host.test", "IP:127.0.0.1")
    password = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (directory / "web.yml").write_text(
        f"tls_server_config: {{cert_file: {served.cert}, key_file: {served.key}}}\n"
        f"basic_auth_users: {{kvm: {password}}}\n"
    )
    client = (
        "basic_auth: {username: kvm, password_file: password}\n"
        "tls_config: {ca_file: authority.pem, server_name: host.test}\n"
    )
    (directory / "password").write_text("secret\n")
    (directory / "http.yml").write_text(client)
    web = ("--web.config.file", directory / "web.yml")
    exporter = Program(
        directory / "exporter.log", "kvmtune-exporter", "--web.listen-address", "127.0.0.1:0", *web,
        "--libvirt.uri", "test:///nowhere",
    )  # fmt: skip
    url = exporter.wait_for(r"https://\S+/metrics")[0]
    port = url.split("/")[2].rsplit(":", 1)[1]
    with running(exporter), prometheus(directory, f"127.0.0.1:{port}", client, web) as server_url:
        yield Site(directory, f"https://127.0.0.1:{port}/metrics", server_url, directory / "http.yml")


@contextmanager
def running(program: Program) -> Iterator[None]:
    try:
        yield
    finally:
        if program.process.poll() is None:
            program.end(signal.SIGTERM)


@contextmanager
def prometheus(directory: Path, target: str, client: str, web: tuple[str, Path]) -> Iterator[str]:
    """A Prometheus that has scraped `target`; its URL, with a path."""
    (directory / "prometheus.yml").write_text(
        f"global: {{scrape_interval: {SCRAPE_INTERVAL_SECONDS}s}}\n"
        "scrape_configs:\n  - job_name: kvm\n    scheme: https\n"
        + "".join(f"    {line}\n" for line in client.splitlines())
        + f"    static_configs: [{{targets: ['{target}']}}]\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    program = Program(
        directory / "prometheus.log", packages.program("prometheus", "prometheus", CACHE),
        f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address={address}", f"--web.config.file={web[1]}", "--web.route-prefix=/prometheus",
    )  # fmt: skip
    url = f"https://{address}/prometheus"
    config = httpconfigfile.load(directory / "http.yml")

    def has_scraped_twice() -> bool:
        with closing(ServerQuery(url, config)) as query:
            try:
                (count,) = query.instant(promql.compile("sum(count_over_time(kvm_ksm_run[1m])) or vector(0)"), time())
            except QueryError:
                return False
            return count.value >= 2

    with running(program):
        wait_until(has_scraped_twice, "Prometheus has scraped the exporter")
        yield url


@pytest.mark.parametrize(
    "expression",
    [
        "kvm_ksm_max_page_sharing",
        "sum by (job) (kvm_memory_total_bytes) / 3",
        'topk(2, {__name__=~"kvm_ksm_(max_page_sharing|sleep_millisecs)"})',
        "kvm_ksm_run > 7",
        "scalar(kvm_memory_total_bytes) * 1e30",
        "1e-9 * kvm_ksm_max_page_sharing",
    ],
)
def test_answers_are_printed_as_promtool_prints_them(site: Site, promtool: Path, expression: str) -> None:
    ours = site.asks_the_server("-o", "promtool", expression)
    theirs = subprocess.run(
        [promtool, "query", "instant", site.server_url.replace("//", "//kvm:secret@"), expression],
        env={"SSL_CERT_FILE": str(site.directory / "authority.pem")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ours.returncode, theirs.returncode) == (0, 0)
    without_times = [re.sub(r"@\[[0-9.]+\]", "@", output.strip()) for output in (ours.stdout, theirs.stdout)]
    assert without_times[0] == without_times[1]


def test_an_error_points_into_the_expression(site: Site) -> None:
    done = site.asks_the_server("sum(kvm_ksm_run")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == ["  sum(kvm_ksm_run", "                 ^"]


def test_the_exporter_and_the_server_agree(site: Site) -> None:
    expression = "sum without (job, instance) (kvm_memory_total_bytes)"
    flags = ("--scrape.url", site.exporter_url, "--scrape.config.file", site.config)
    live = run("kvmtune-actuator", "query", *flags, expression)
    assert (live.returncode, live.stderr) == (0, "")
    assert live.stdout == site.asks_the_server(expression).stdout


def test_without_the_password_it_says_what_to_do(site: Site) -> None:
    (site.directory / "tls.yml").write_text("tls_config: {ca_file: authority.pem, server_name: host.test}\n")
    flags = ("--query.url", site.server_url, "--query.config.file", site.directory / "tls.yml")
    done = run("kvmtune-actuator", "query", *flags, "up")
    assert done.returncode == 1
    assert "it answered 401 Unauthorized; Unauthorized; give basic_auth or authorization" in done.stderr


@pytest.mark.parametrize(
    ("text", "is_present"),
    [
        ("kvm_ksm_run > 7", True),
        ("missing > 7", False),
        ("kvm_ksm_run > 7 or missing", True),
        ("rate(kvm_ksm_full_scans_total[1m]) < 0", True),
        ("max_over_time((kvm_memory_total_bytes > 0)[10s:1s] @ end()) < 0", True),
        ("max_over_time((missing > 0)[10s:1s]) < 0", False),
        ("kvm_ksm_run offset 1h", False),
        ("absent(kvm_ksm_run)", True),
        ('{__name__=~"kvm_ksm_run|kvm_ksm_pages_.*"} < 0', True),
        ('label_replace(kvm_ksm_run, "a", "$1", "job", "(.*)") * on(a) group_left() missing', False),
    ],
)
def test_present(site: Site, text: str, is_present: bool) -> None:
    with closing(ServerQuery(site.server_url, httpconfigfile.load(site.config))) as query:
        expr, now = promql.compile_for_server(text), time()
        assert query.instant(expr, now) == ()
        assert query.present(expr, now) is is_present
        assert 0 <= now - query.as_of(expr, now) < 2 * SCRAPE_INTERVAL_SECONDS + 1


def test_rules_are_asked_of_the_server(site: Site) -> None:
    (site.directory / "rules.yml").write_text(RULES)
    actuator = Program(
        site.directory / "actuator.log", "kvmtune-actuator", "run", "--rules", site.directory / "rules.yml",
        "--query.url", site.server_url, "--query.config.file", site.config, "--interval", "200ms",
        "--web.listen-address", "127.0.0.1:0", "--libvirt.uri", "test:///nowhere",
    )  # fmt: skip
    with running(actuator):
        actuator.wait_for("the server answers")
        actuator.wait_for(r"would write test: host ksm.pages_to_scan \d+ -> \d+ \| It is a test.")
