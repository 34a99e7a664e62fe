"""TLS, client certificates and passwords on real connections, and a configuration that changes under them."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import shutil
import socket
import ssl
import threading
from pathlib import Path

import bcrypt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from kvmhost.yamltree import InvalidConfig
from kvmweb.page import MetricsPage, MetricsRequest
from kvmweb.server import Limits
from tests.programs import wait_until
from tests.web import PAGE, Authority, Certificate, ask, connect, endpoint, needs_openssl, request, serving

pytestmark = needs_openssl

TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"
VERIFY = TLS.replace("}", ", client_auth_type: %s, client_ca_file: ca.pem}")
REQUIRE = VERIFY % "RequireAndVerifyClientCert"
HASH = bcrypt.hashpw(b"secret", b"$2b$04$" + b"u" * 22).decode()  # in ids of tests: the same in each process
USERS = f"basic_auth_users: {{prometheus: {HASH}}}\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ca")


@pytest.fixture(scope="module")
def certificates(authority: Authority) -> list[Certificate]:
    """Two for the server."""
    return [authority.issue(name, "DNS:localhost", "IP:127.0.0.1") for name in ("first", "second")]


@pytest.fixture(scope="module")
def scraper(authority: Authority) -> Certificate:
    """A client's."""
    return authority.issue(
        "scraper", "DNS:prometheus", "IP:10.0.0.1", "IP:fe80::1", "email:a@example.org", "URI:spiffe://x/y"
    )


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A client's of another authority."""
    return Authority(tmp_path_factory.mktemp("stranger"), "other").issue("stranger")


class Config:
    """The file, with the certificates that it names beside it."""

    def __init__(self, directory: Path, authority: Authority, certificates: list[Certificate]) -> None:
        self.path = directory / "web.yml"
        self._certificates = certificates
        shutil.copy(authority.own.cert, directory / "ca.pem")
        self.certify(0)

    def write(self, text: str) -> Path:
        self.path.write_text(text)
        return self.path

    def certify(self, number: int) -> None:
        """Give the server one of its certificates."""
        shutil.copy(self._certificates[number].cert, self.path.parent / "server.pem")
        shutil.copy(self._certificates[number].key, self.path.parent / "server.key")


@pytest.fixture
def config(tmp_path: Path, authority: Authority, certificates: list[Certificate]) -> Config:
    return Config(tmp_path, authority, certificates)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def name_of_server(url: str, context: ssl.SSLContext) -> str:
    """The common name of the certificate that a new connection gets."""
    with (
        socket.create_connection(endpoint(url), 10) as client,
        context.wrap_socket(client, server_hostname="localhost") as tls,
    ):
        certificate = tls.getpeercert()
        assert certificate
        return str(dict(pair for part in certificate["subject"] for pair in part)["commonName"])  # type: ignore[misc]


# TLS.


def test_https(config: Config, authority: Authority) -> None:
    with serving(config=config.write(TLS)) as url:
        assert url.startswith("https://")
        connection = connect(url, authority.trust())
        for _ in range(3):
            assert request(connection).body == PAGE.content
        connection.close()


def test_http_to_https_is_told_so(config: Config) -> None:
    with serving(config=config.write(TLS)) as url:
        answer = ask(url.replace("https", "http"))
    assert (answer.status, answer.body) == (400, b"HTTPS is spoken here, and this was HTTP: use https://\n")


def test_https_11_is_what_both_agree_on(config: Config, authority: Authority) -> None:
    context = authority.trust()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        serving(config=config.write(TLS)) as url,
        socket.create_connection(endpoint(url), 10) as client,
        context.wrap_socket(client, server_hostname="localhost") as tls,
    ):
        assert tls.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize(("setting", "version"), [("min_version: TLS13", "TLSv1_2"), ("max_version: TLS12", "TLSv1_3")])
def test_a_client_without_a_common_version_is_refused(
    config: Config, authority: Authority, setting: str, version: str
) -> None:
    context = authority.trust()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with (
        serving(config=config.write(TLS.replace("}", f", {setting}}}"))) as url,
        pytest.raises(ssl.SSLError, match=r"(?i)version"),
    ):
        ask(url, context=context)


# Client certificates.


def outcome(url: str, context: ssl.SSLContext) -> int | str:
    """The status of a scrape, or why TLS failed."""
    try:
        return ask(url, context=context).status
    except ssl.SSLError as error:
        return str(error.reason)


@pytest.mark.parametrize(
    ("auth_type", "nobody", "known", "unknown"),
    [
        ("RequireAndVerifyClientCert", "TLSV13_ALERT_CERTIFICATE_REQUIRED", 200, "TLSV1_ALERT_UNKNOWN_CA"),
        ("VerifyClientCertIfGiven", 200, 200, "TLSV1_ALERT_UNKNOWN_CA"),
    ],
)
def test_client_certificates(
    config: Config,
    authority: Authority,
    scraper: Certificate,
    stranger: Certificate,
    auth_type: str,
    nobody: int | str,
    known: int | str,
    unknown: int | str,
) -> None:
    with serving(config=config.write(VERIFY % auth_type)) as url:
        outcomes = [outcome(url, authority.trust(client)) for client in (None, scraper, stranger)]
    assert outcomes == [nobody, known, unknown]


@pytest.mark.parametrize(
    ("sans", "status"),
    [
        ("prometheus", 200),
        ("other, 10.0.0.1", 200),
        ("'fe80::1'", 200),
        ("a@example.org", 200),
        ("'spiffe://x/y'", 200),
        ("other", 403),
        ("scraper", 403),  # its common name, which is none of the alternative names
    ],
)
def test_names_of_client_certificates(
    config: Config, authority: Authority, scraper: Certificate, sans: str, status: int
) -> None:
    text = REQUIRE.replace("}", f", client_allowed_sans: [{sans}]}}")
    with serving(config=config.write(text)) as url:
        answer = ask(url, context=authority.trust(scraper))
    assert answer.status == status


def test_without_a_certificate_no_name_is_allowed(config: Config, authority: Authority) -> None:
    text = (VERIFY % "VerifyClientCertIfGiven").replace("}", ", client_allowed_sans: [prometheus]}")
    with serving(config=config.write(text)) as url:
        assert ask(url, context=authority.trust()).status == 403


# Passwords, headers, rate limit.


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (basic("prometheus", "secret"), 200),
        (basic("prometheus", "secret").replace("Basic", "bAsIc"), 200),
        (basic("prometheus", "wrong"), 401),
        (basic("nobody", "secret"), 401),
        (basic("nobody", "fakepassword"), 401),
        ("", 401),
        ("Basic", 401),
        ("Basic ====", 401),
        ("Basic " + base64.b64encode(b"no colon").decode(), 401),
        ("Basic " + base64.b64encode(b"\xff:\xff").decode(), 401),
        ("Bearer secret", 401),
    ],
)
@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy"])
def test_passwords(config: Config, path: str, authorization: str, status: int) -> None:
    with serving(config=config.write(USERS)) as url:
        answer = ask(url, path, authorization=authorization)
    assert answer.status == status
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="kvmtune", charset="UTF-8"'


def test_headers_are_on_every_answer(config: Config) -> None:
    text = USERS + "http_server_config: {headers: {X-Frame-Options: deny, Content-Security-Policy: default-src 'self'}}"
    with serving(config=config.write(text)) as url:
        for answer in (ask(url), ask(url, authorization=basic("prometheus", "secret"))):
            assert answer.headers["X-Frame-Options"] == "deny"
            assert answer.headers["Content-Security-Policy"] == "default-src 'self'"


def test_a_rate_limit(config: Config) -> None:
    with serving(config=config.write("rate_limit: {interval: 1h, burst: 3}")) as url:
        assert [ask(url).status for _ in range(5)] == [200, 200, 200, 429, 429]
        config.write("rate_limit: {interval: 1h, burst: 1}")
        assert [ask(url).status for _ in range(2)] == [200, 429]


# What changes on disk.


def test_a_new_certificate_is_in_the_next_handshake_and_kept_connections_end(
    config: Config, authority: Authority
) -> None:
    context = authority.trust()
    with serving(config=config.write(TLS)) as url:
        kept = connect(url, context)
        assert request(kept).headers["Connection"] is None
        assert name_of_server(url, context) == "first"
        config.certify(1)
        assert name_of_server(url, context) == "second"
        assert request(kept).headers["Connection"] == "close"
        kept.close()


def test_a_certificate_behind_a_link_is_renewed(
    config: Config, authority: Authority, certificates: list[Certificate], tmp_path: Path
) -> None:
    """As in Kubernetes' secrets and certbot's live directory."""
    for certificate in certificates:
        (tmp_path / certificate.cert.stem).mkdir()
        shutil.copy(certificate.cert, tmp_path / certificate.cert.stem / "tls.pem")
        shutil.copy(certificate.key, tmp_path / certificate.cert.stem / "tls.key")
    (tmp_path / "live").symlink_to("first")
    text = "tls_server_config: {cert_file: live/tls.pem, key_file: live/tls.key}"
    with serving(config=config.write(text)) as url:
        assert name_of_server(url, authority.trust()) == "first"
        (tmp_path / "next").symlink_to("second")
        (tmp_path / "next").rename(tmp_path / "live")
        assert name_of_server(url, authority.trust()) == "second"


def test_between_a_new_certificate_and_its_key_the_old_ones_serve(
    config: Config,
    authority: Authority,
    certificates: list[Certificate],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(config=config.write(TLS)) as url:
        shutil.copy(certificates[1].cert, tmp_path / "server.pem")
        for _ in range(3):
            assert name_of_server(url, authority.trust()) == "first"
        shutil.copy(certificates[1].key, tmp_path / "server.key")
        assert name_of_server(url, authority.trust()) == "second"
    assert caplog.text.count("key_file is not the key of this certificate") == 1


def test_a_new_password_counts_at_once(config: Config) -> None:
    with serving(config=config.write(USERS)) as url:
        assert ask(url, authorization=basic("prometheus", "secret")).status == 200
        config.write(USERS.replace(HASH, bcrypt.hashpw(b"new", bcrypt.gensalt(4)).decode()))
        assert ask(url, authorization=basic("prometheus", "secret")).status == 401
        assert ask(url, authorization=basic("prometheus", "new")).status == 200


def test_tls_can_be_turned_on(config: Config, authority: Authority) -> None:
    with serving(config=config.write("{}")) as url:
        assert ask(url).status == 200
        config.write(TLS)
        assert ask(url.replace("http", "https"), context=authority.trust()).status == 200


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("basic_auth_users: {prometheus: secret}", "web.yml:1:32: the password of 'prometheus': not a bcrypt hash"),
        ("tls_server_config: [", "web.yml:1:21: not valid YAML"),
        ("", "basic_auth_users and client_auth_type and tls_server_config would be gone: restart the program if"),
        (REQUIRE, "web.yml:1:1: basic_auth_users would be gone"),
        (TLS + USERS, "web.yml:1:1: client_auth_type would be gone"),
        (None, "web.yml:1:1: cannot be read: No such file or directory"),
    ],
)
def test_a_broken_or_half_written_file_takes_no_protection_away_and_is_told_once(
    config: Config,
    authority: Authority,
    scraper: Certificate,
    caplog: pytest.LogCaptureFixture,
    text: str | None,
    problem: str,
) -> None:
    caplog.set_level(logging.INFO)
    good = REQUIRE + USERS

    def statuses() -> list[int]:
        passwords = (basic("prometheus", password) for password in ("secret", "wrong"))
        return [ask(url, context=authority.trust(scraper), authorization=one).status for one in passwords]

    with serving(config=config.write(good)) as url:
        if text is None:
            config.path.unlink()
        else:
            config.write(text)
        for _ in range(3):
            assert statuses() == [200, 401]
        config.write(good + "# changed\n")
        assert statuses() == [200, 401]
    refused, read_again = (record.message for record in caplog.records)
    assert refused.startswith("the web configuration on disk is refused, the last good one stays in force:\n")
    assert problem in refused
    assert read_again == f"the web configuration is read again: {config.path}"


def test_a_broken_file_at_the_start_is_refused(config: Config) -> None:
    with (
        pytest.raises(InvalidConfig, match="not a bcrypt hash"),
        serving(config=config.write("basic_auth_users: {a: b}")),
    ):
        pass


def test_warnings_are_told_when_they_come(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    (config.path.parent / "server.key").chmod(0o644)
    with serving(config=config.write(TLS)) as url:
        assert caplog.text.count("everybody on this machine can read the private key") == 1
        config.write(TLS + "http_server_config: {http2: true}\n")
        ask(url.replace("https", "http"))
    assert caplog.text.count("everybody on this machine can read the private key") == 1
    assert caplog.text.count("http2: true has no effect") == 1


# Slow and hostile clients.


def client_threads() -> int:
    return sum(thread.name == "web client" for thread in threading.enumerate())


def test_a_handshake_keeps_nobody_waiting_and_ends(config: Config, authority: Authority) -> None:
    with (
        serving(config=config.write(TLS), limits=Limits(request_seconds=1)) as url,
        socket.create_connection(endpoint(url), 10) as client,
    ):
        client.sendall(b"\x16\x03\x01\x02\x00\x01")  # and the rest of a client's hello never comes
        wait_until(lambda: client_threads() == 1, "it is served")
        assert ask(url, context=authority.trust()).status == 200
        assert client.recv(1) == b""


def test_a_client_that_does_not_take_its_answer_is_cut_off(config: Config, authority: Authority) -> None:
    def render(_: MetricsRequest) -> MetricsPage:
        return MetricsPage(content=os.urandom(2**20) * 20, content_type="text/plain")

    with (
        serving(render, config=config.write(TLS), limits=Limits(request_seconds=1)) as url,
        socket.create_connection(endpoint(url), 10) as client,
        authority.trust().wrap_socket(client, server_hostname="localhost") as tls,
    ):
        tls.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        wait_until(lambda: client_threads() == 1, "it is served")
        wait_until(lambda: client_threads() == 0, "it is cut off")


@given(
    data=some.binary(max_size=300),
    prefix=some.sampled_from([b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\x05\x01", b"GET "]),
)
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_end_the_server_or_are_logged(
    config: Config, authority: Authority, caplog: pytest.LogCaptureFixture, data: bytes, prefix: bytes
) -> None:
    with (
        serving(config=config.write(TLS), limits=Limits(request_seconds=2)) as url,
        socket.create_connection(endpoint(url), 10) as client,
        contextlib.suppress(ConnectionError),  # the server has had enough
    ):
        client.sendall(prefix + data)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
