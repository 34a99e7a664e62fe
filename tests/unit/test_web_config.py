"""The web configuration file: what it may say, and every mistake with its place."""

from __future__ import annotations

import re
import ssl
import subprocess
from pathlib import Path

import pytest

from kvmhost.yamltree import InvalidConfig
from kvmweb.config import HEADERS, KEYS, RateLimit, WebConfig, parse
from kvmweb.tls import CIPHERS, TLS13_CIPHERS, Tls
from kvmweb.tlsconfig import CLIENT_AUTH_TYPES, UNVERIFIED_AUTH_TYPES
from kvmweb.tlsconfig import KEYS as TLS_KEYS
from tests.web import Authority, Certificate, needs_openssl

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
DOCUMENT = (Path(__file__).parents[2] / "docs/web.md").read_text()

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ca")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Certificate:
    return authority.issue("server", "DNS:localhost")


@pytest.fixture
def directory(tmp_path: Path, authority: Authority, server: Certificate) -> Path:
    """With server.pem, server.key and ca.pem."""
    for file in (server.cert, server.key, authority.own.cert):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def read(path: Path) -> tuple[str, bool]:
    return path.read_text(), path.name.startswith("public")


def loaded(directory: Path, text: str) -> WebConfig:
    return parse(directory / "web.yml", text, read)


def problems(directory: Path, text: str) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        loaded(directory, text)
    return [str(problem).replace(f"{directory}/", "") for problem in caught.value.problems]


def warnings(config: WebConfig, directory: Path) -> list[str]:
    return [str(warning).replace(f"{directory}/", "") for warning in config.warnings]


TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key, %s}"


def tls(directory: Path, more: str = "") -> Tls:
    found = loaded(directory, TLS % more).tls
    assert found
    return found


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_an_empty_file_asks_for_nothing(directory: Path, text: str) -> None:
    assert loaded(directory, text) == WebConfig()


def test_everything_at_once(directory: Path) -> None:
    config = loaded(
        directory,
        f"""
        tls_server_config:
          cert_file: server.pem
          key_file: server.key
          client_auth_type: RequireAndVerifyClientCert
          client_ca_file: ca.pem
          client_allowed_sans: [prometheus, 10.0.0.1]
          min_version: TLS12
          max_version: TLS13
          cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]
          prefer_server_cipher_suites: true
        http_server_config:
          http2: false
          headers:
            X-Frame-Options: deny
            Strict-Transport-Security: max-age=31536000
        basic_auth_users:
          prometheus: {HASH}
        rate_limit:
          interval: 1s
          burst: 5
        """,
    )
    assert config.tls
    assert config.tls.verifies_clients
    assert config.tls.client_allowed_sans == {"prometheus", "10.0.0.1"}
    assert dict(config.headers) == {"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=31536000"}
    assert config.users == {"prometheus": HASH}
    assert config.rate_limit == RateLimit(interval_seconds=1, burst=5)
    assert config.warnings == ()
    assert config.protections == {"tls_server_config", "client_auth_type", "client_allowed_sans", "basic_auth_users"}


def test_hashes_are_not_in_what_is_printed_of_it(directory: Path) -> None:
    assert HASH not in repr(loaded(directory, f"basic_auth_users: {{u: {HASH}}}"))


def test_every_problem_is_named_with_its_place_at_once(directory: Path) -> None:
    assert problems(
        directory,
        """\
tls_server_confg:
  cert_file: a.pem
tls_server_config:
  cert_file: absent.pem
  min_version: TLS14
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA265]
  cert_file: server.pem
http_server_config:
  http2: maybe
  headers:
    X-Frame-Options: allow
    X-Powered-By: us
basic_auth_users:
  "a:b": secret
rate_limit:
  interval: 10
""",
    ) == [
        "web.yml:1:1: unknown key 'tls_server_confg' in the web configuration (did you mean 'tls_server_config'?)",
        "web.yml:4:3: tls_server_config has no key_file (or key)",
        "web.yml:4:14: cert_file absent.pem cannot be read: No such file or directory",
        "web.yml:5:16: min_version: unknown 'TLS14' (did you mean 'TLS13'?)",
        "web.yml:6:19: cipher_suites: unknown 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA265' "
        "(did you mean 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'?)",
        "web.yml:7:3: 'cert_file' stands twice in tls_server_config (first on line 4)",
        "web.yml:9:10: http2: 'maybe' is not true or false",
        "web.yml:11:22: X-Frame-Options: 'allow' is not one of: deny, sameorigin",
        "web.yml:12:5: unknown key 'X-Powered-By' in headers (known: Content-Security-Policy, "
        "Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection)",
        "web.yml:14:3: a user name has no colon: basic authentication ends it there",
        "web.yml:14:10: the password of 'a:b': not a bcrypt hash: make one with `htpasswd -nBC 10 USER`, and give what "
        "follows USER:",
        "web.yml:16:13: interval: '10' is not a duration: write it like 15s, 1m30s, 2h or 500ms",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a", "1:1: the web configuration must be a mapping"),
        ("basic_auth_users:", "1:18: basic_auth_users must be a mapping"),
        ("basic_auth_users: {u: ''}", "the password of 'u' is empty"),
        ("basic_auth_users: {u: [a]}", "the password of 'u' must be a single value"),
        ("tls_server_config: {key_file: server.key}", "tls_server_config has no cert_file (or cert)"),
        ("tls_server_config: {cert_file: server.pem}", "tls_server_config has no key_file (or key)"),
        ("tls_server_config: {cert_file: '', key_file: server.key}", "cert_file is empty"),
        ('tls_server_config: {cert_file: "a\\0b", key_file: server.key}', "is no path"),
        ("tls_server_config: {cert_file: ., key_file: server.key}", "cannot be read: Is a directory"),
        (TLS % "cert: abc", "cert and cert_file are both given: leave one out"),
        ("tls_server_config: {cert_file: server.key, key_file: server.key}", "1:32: cert_file holds no certificate in PEM"),
        ("tls_server_config: {cert_file: server.pem, key_file: server.pem}", "1:54: key_file holds no private key in PEM"),
        ("tls_server_config: {cert_file: ca.pem, key_file: server.key}", "1:50: key_file is not the key of this certificate"),
        ("tls_server_config: {cert: abc, key_file: server.key}", "1:27: cert holds no certificate in PEM format"),
        (TLS % "client_auth_type: Require", "client_auth_type: unknown 'Require'"),
        (TLS % "client_auth_type: RequireAnyClientCert", "takes any certificate and checks none"),
        (TLS % "client_auth_type: RequireClientCert", "write RequireAndVerifyClientCert, with client_ca_file"),
        (TLS % "client_ca_file: ca.pem", "client_ca_file does nothing without client_auth_type: RequireAndVerify"),
        (TLS % "client_allowed_sans: [a]", "client_allowed_sans does nothing without client_auth_type"),
        (TLS % "client_auth_type: RequireAndVerifyClientCert, client_ca_file: server.key", "holds no certificates in PEM"),
        (TLS % "client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: []", "client_allowed_sans is empty"),
        (TLS % "max_version: TLS11", "max_version: TLS11 is broken (RFC 8996) and not spoken; write TLS12 or TLS13"),
        (TLS % "min_version: TLS13, max_version: TLS12", "leave no version of TLS to speak"),
        (TLS % "cipher_suites: [TLS_AES_128_GCM_SHA256], max_version: TLS12", "leave no version of TLS to speak"),
        (TLS % "cipher_suites: []", "cipher_suites is empty: leave it out"),
        (TLS % "curve_preferences: [CurveP256]", "curve_preferences cannot be set with Python's TLS"),
        ("http_server_config: {headers: {X-XSS-Protection: \"a\\nb\"}}", "a header is one line of ASCII"),
        ("rate_limit: {interval: 1s}", "rate_limit has no 'burst'"),
        ("rate_limit: {interval: 1s, burst: 0}", "burst: '0' is not a whole number of at least 1"),
    ],
)  # fmt: skip
def test_mistakes(directory: Path, text: str, problem: str) -> None:
    (found,) = problems(directory, text)
    assert problem in found


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (f"basic_auth_users: {{u: {HASH}}}", "1:19: without tls_server_config, passwords cross the network in clear"),
        (f"basic_auth_users: {{u: {HASH.replace('$10$', '$15$')}}}", "the hash has cost 15: a check takes seconds"),
        ("http_server_config: {http2: true}", "http2: true has no effect: HTTP/1.1 is spoken"),
        (TLS % "min_version: TLS10", "TLS10 is broken (RFC 8996) and not spoken: min_version is TLS12"),
        (TLS % "client_auth_type: RequestClientCert", "RequestClientCert checks no certificate"),
        ("tls_server_config: {cert_file: server.pem, key_file: public.key}",
         "1:54: everybody on this machine can read the private key public.key: `chmod o= public.key`"),
    ],
)  # fmt: skip
def test_what_may_not_be_meant(directory: Path, text: str, warning: str) -> None:
    (directory / "public.key").write_bytes((directory / "server.key").read_bytes())
    assert any(warning in one for one in warnings(loaded(directory, text), directory))


def test_certificates_may_stand_in_the_file(directory: Path) -> None:
    def block(name: str) -> str:
        return "|\n" + re.sub("^", "    ", (directory / name).read_text(), flags=re.M)

    text = f"""\
tls_server_config:
  cert: {block("server.pem")}
  key: {block("server.key")}
  client_ca: {block("ca.pem")}
  client_auth_type: RequireAndVerifyClientCert
"""
    assert loaded(directory, text).protections == {"tls_server_config", "client_auth_type"}


def test_an_encrypted_key_is_refused_and_not_asked_for(directory: Path) -> None:
    subprocess.run(
        ["openssl", "pkey", "-in", "server.key", "-aes256", "-passout", "pass:x", "-out", "locked.key"],
        cwd=directory, check=True,
    )  # fmt: skip
    text = "tls_server_config: {cert_file: server.pem, key_file: locked.key}"
    assert "key_file is encrypted" in problems(directory, text)[0]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("NoClientCert", ssl.CERT_NONE),
        ("RequestClientCert", ssl.CERT_NONE),
        ("VerifyClientCertIfGiven", ssl.CERT_OPTIONAL),
        ("RequireAndVerifyClientCert", ssl.CERT_REQUIRED),
    ],
)
def test_client_authentication(directory: Path, name: str, mode: ssl.VerifyMode) -> None:
    assert tls(directory, f"client_auth_type: {name}").context.verify_mode == mode


def test_versions(directory: Path) -> None:
    context = tls(directory).context
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    assert tls(directory, "min_version: TLS13").context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert tls(directory, "max_version: TLS12").context.maximum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("name", CIPHERS)
def test_a_cipher_suite_is_the_only_one_below_tls_1_3(directory: Path, name: str) -> None:
    context = tls(directory, f"cipher_suites: [{name}]").context
    assert [each["name"] for each in context.get_ciphers() if each["protocol"] != "TLSv1.3"] == [CIPHERS[name]]


def test_suites_of_tls_1_3_alone_leave_only_tls_1_3(directory: Path) -> None:
    context = tls(directory, f"cipher_suites: [{', '.join(TLS13_CIPHERS)}]").context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3


def test_whose_cipher_suites_come_first(directory: Path) -> None:
    assert tls(directory).context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    theirs = tls(directory, "prefer_server_cipher_suites: false").context
    assert not theirs.options & ssl.OP_CIPHER_SERVER_PREFERENCE


@pytest.mark.parametrize(
    "text", ["rate_limit: {interval: 0, burst: 5}", "rate_limit: {interval: 0s}", "rate_limit: {burst: 5}"]
)
def test_without_an_interval_there_is_no_rate_limit(directory: Path, text: str) -> None:
    assert loaded(directory, text).rate_limit is None


@pytest.mark.parametrize("word", [*KEYS, *TLS_KEYS, *CLIENT_AUTH_TYPES, *UNVERIFIED_AUTH_TYPES, *HEADERS])
def test_every_key_is_documented(word: str) -> None:
    assert f"`{word}`" in DOCUMENT


@pytest.mark.parametrize("example", re.findall(r"^```yaml\n(# web\.yml.*?)^```", DOCUMENT, re.M | re.S))
def test_an_example_of_the_document_loads(directory: Path, example: str) -> None:
    assert loaded(directory, example) != WebConfig()
