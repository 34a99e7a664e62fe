"""The file that says how to reach a peer: what it gives, its mistakes by line and column, and TLS on real sockets."""

import ssl
from contextlib import closing
from pathlib import Path

import pytest

from actuator.data import httpconfigfile
from actuator.data.httpclient import Client, parse_url
from actuator.data.httpconfig import PLAIN, HttpConfig, HttpConfigError
from actuator.data.scrape import Scraper
from actuator.data.store import Store
from kvmhost.yamltree import InvalidConfig
from tests.target import Target
from tests.web import Authority, needs_openssl, serving

WEB_PASSWORD = "basic_auth_users:\n  kvm: $2b$04$K99ZSQ53zSiVDDGSaxjZCeqK1hKAfM0ogaeg.6ujRfhbOdu8y0Y8S\n"  # "secret"


def load(directory: Path, text: str) -> HttpConfig:
    (directory / "http.yml").write_text(text)
    return httpconfigfile.load(directory / "http.yml")


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("", {}),
        ("# nothing\n", {}),
        ("basic_auth: {username: a, password: 'b:c'}", {"Authorization": "Basic YTpiOmM="}),
        ("basic_auth: {username_file: user, password_file: pw}", {"Authorization": "Basic a3ZtOnNlY3JldA=="}),
        ("basic_auth: {username: a}", {"Authorization": "Basic YTo="}),
        ("authorization: {credentials: token}", {"Authorization": "Bearer token"}),
        ("authorization: {type: ApiKey, credentials_file: pw}", {"Authorization": "ApiKey secret"}),
        ("bearer_token: token", {"Authorization": "Bearer token"}),
        ("bearer_token_file: pw", {"Authorization": "Bearer secret"}),
        ("http_headers: {X-Scope-OrgID: {values: [a, b]}, X-Key: {secrets: [c], files: [pw]}}", {"X-Scope-OrgID": "a, b", "X-Key": "c, secret"}),
        ("follow_redirects: false\nenable_http2: false", {}),
    ],
)  # fmt: skip
def test_request_headers(tmp_path: Path, text: str, headers: dict[str, str]) -> None:
    (tmp_path / "user").write_text("kvm\n")
    (tmp_path / "pw").write_text("secret\n")
    assert load(tmp_path, text).request_headers() == headers


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("basic_auht: {}", "1:1: unknown key 'basic_auht' in the HTTP configuration (did you mean 'basic_auth'?)"),
        ("[]", "1:1: the HTTP configuration must be a mapping of keys to values"),
        ("basic_auth: {password: x}", "1:13: basic_auth has no 'username' (or 'username_file')"),
        ("basic_auth: {username: a, password: x, password_file: y}", "1:55: password and password_file are both given: leave one out"),
        ("basic_auth: {username: a, password_file: absent}", "1:42: password_file: {0}/absent cannot be read: No such file or directory"),
        ("basic_auth: {username: a}\nauthorization: {credentials: b}", "2:16: basic_auth and authorization are both given: leave one out"),
        ("authorization: {type: Basic, credentials: b}", "1:23: 'type': Basic is what basic_auth: {username: ..., password_file: ...} is for"),
        ("authorization: {}", "1:16: authorization has no 'credentials_file' (or 'credentials')"),
        ("bearer_token: \"a\\nb\"", "1:1: the header Authorization is not one line of ASCII; look at the file that it is from"),
        ("oauth2: {client_id: x}", "1:1: oauth2 is not supported: have something else renew a token, and name its file"),
        ("proxy_url: http://p:1", "1:1: proxies are not supported: give a URL that is reached directly"),
        ("follow_redirects: true", "1:19: redirects are not followed: give the URL that they lead to"),
        ("http_headers: {Host: {values: [x]}}", "1:16: the header Host is set by kvmtune itself"),
        ("http_headers: {Transfer-Encoding: {values: [chunked]}}", "1:16: the header Transfer-Encoding is set by kvmtune itself"),
        ('basic_auth: {username: "\\ud800"}', "1:1: basic_auth: the username or password is not valid Unicode"),
        ("http_headers: {'a b': {values: [x]}}", "1:16: 'a b' is not the name of a header"),
        ("http_headers: {X-A: x}", "1:21: http_headers: X-A must be a mapping"),
        ("tls_config: {cert_file: http.yml}", "1:13: tls_config needs both cert_file and key_file for a client certificate"),
        ("tls_config: {cert: x, key: y}", "1:13: tls_config: the text of cert holds no certificate in PEM format"),
        ("tls_config: {ca: x}", "1:13: tls_config: the text of ca holds no certificates in PEM format"),
        ("tls_config: {ca_file: http.yml}", "1:13: tls_config: {0}/http.yml holds no certificates in PEM format"),
        ("tls_config: {min_version: TLS13, max_version: TLS12}", "1:27: this and max_version leave no version of TLS to speak"),
        ("tls_config: {min_version: TLS10}", "1:27: min_version: TLS10 is broken (RFC 8996) and not spoken"),
        ("tls_config: {insecure_skip_verify: yes}", "1:36: insecure_skip_verify: 'yes' is not true or false"),
    ],
)  # fmt: skip
def test_a_problem_is_named_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InvalidConfig) as error:
        load(tmp_path, text)
    assert f"{tmp_path}/http.yml:{problem.replace('{0}', str(tmp_path))}" in str(error.value)


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig) as error:
        load(tmp_path, "proxy_url: x\nbasic_auth: {}\ntls_config: {ca: }\nunknown: 1\n")
    assert [problem.line for problem in error.value.problems] == [1, 2, 3, 4]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"absent:1:1: cannot be read: No such file or directory"):
        httpconfigfile.load(tmp_path / "absent")
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(InvalidConfig, match=r"binary:1:1: cannot be read: not UTF-8"):
        httpconfigfile.load(tmp_path / "binary")


def test_what_is_risky_is_a_warning(tmp_path: Path) -> None:
    config = load(tmp_path, "tls_config: {insecure_skip_verify: true}\nenable_http2: true\n")
    assert [warning.line for warning in config.warnings] == [1, 2]
    assert "give a ca_file instead" in config.warnings[0].message


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    assert "geheim" not in repr(load(tmp_path, "basic_auth: {username: a, password: geheim}"))


def test_a_secret_that_is_gone_is_named_when_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("x")
    config = load(tmp_path, "bearer_token_file: pw")
    (tmp_path / "pw").unlink()
    with pytest.raises(HttpConfigError, match="pw cannot be read: No such file"):
        config.request_headers()


def scrape_error(url: str, config: HttpConfig) -> str | None:
    return Scraper(f"{url}/metrics", Store(60), config=config).scrape(100.0).error


def test_a_scrape_with_a_password(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text(WEB_PASSWORD)
    with serving(config=tmp_path / "web.yml") as url:
        error = scrape_error(url, PLAIN)
        assert error is not None
        assert "answered 401 Unauthorized; give a password with --scrape.config.file" in error
        assert scrape_error(url, load(tmp_path, "basic_auth: {username: kvm, password: secret}")) is None


@needs_openssl
def test_a_scrape_with_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    served = authority.issue("server", "DNS:exporter.test")
    client = authority.issue("client")
    (tmp_path / "web.yml").write_text(
        f"tls_server_config: {{cert_file: {served.cert}, key_file: {served.key}, "
        "client_auth_type: RequireAndVerifyClientCert, client_ca_file: authority.pem}\n"
    )
    ours = f"cert_file: {client.cert.name}, key_file: {client.key.name}"
    outcomes = {
        f"ca_file: authority.pem, server_name: exporter.test, {ours}": None,
        f"insecure_skip_verify: true, {ours}": None,
        f"ca_file: authority.pem, {ours}": "its certificate is refused: IP address mismatch",
        f"server_name: exporter.test, {ours}": "its certificate is refused: self-signed certificate in certificate chain",
        "ca_file: authority.pem, server_name: exporter.test": "it refuses our certificate",
    }
    with serving(config=tmp_path / "web.yml") as url:
        for section, why in outcomes.items():
            error = scrape_error(url, load(tmp_path, f"tls_config: {{{section}}}"))
            assert (error is None) == (why is None), (section, error)
            assert why is None or why in str(error), (section, error)


def test_tls_where_there_is_none() -> None:
    with closing(Target()) as target:
        target.answer = b"HTTP/1.1 400 Bad Request\r\n\r\n"
        error = scrape_error(f"https://{target.address}", PLAIN)
    assert "it does not speak TLS there: write http://" in str(error)


@needs_openssl
def test_certificates_may_change_while_it_runs(tmp_path: Path) -> None:
    Authority(tmp_path, "authority")
    config = load(tmp_path, "tls_config: {ca_file: authority.pem}")
    (tmp_path / "authority.pem").write_text("")
    client = Client(parse_url("https://127.0.0.1:1", ""), config)
    with pytest.raises(Exception, match=r"authority.pem holds no certificates"):
        client.get("/", {}, 0.0)
    assert config.tls.min_version is ssl.TLSVersion.TLSv1_2
