"""The file that says how to reach a peer: Prometheus' `http_config`, read with every problem named by its place.

What it can say and this client cannot do is refused, with the way around.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from actuator.data.httpconfig import PLAIN, ClientTls, HttpConfig, HttpConfigError, Secret
from kvmhost import textfile
from kvmhost.yamltree import InvalidConfig, Node, Tree
from kvmweb.tlsconfig import boolean, version

KEYS = (
    "basic_auth", "authorization", "bearer_token", "bearer_token_file", "tls_config", "http_headers",
    "follow_redirects", "enable_http2",
)  # fmt: skip
REFUSED: Mapping[str, str] = {
    "oauth2": "oauth2 is not supported: have something else renew a token, and name its file as "
    "authorization: {credentials_file: ...}",
    **dict.fromkeys(
        ("proxy_url", "no_proxy", "proxy_from_environment", "proxy_connect_header"),
        "proxies are not supported: give a URL that is reached directly",
    ),
}
TLS_KEYS = (
    "ca", "ca_file", "cert", "cert_file", "key", "key_file", "server_name", "insecure_skip_verify", "min_version",
    "max_version",
)  # fmt: skip
# Set by the client itself, or by basic_auth and authorization: those of prometheus/common/config/headers.go, and one.
_OWN_HEADERS = frozenset({
    "accept", "accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type",
    "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "transfer-encoding", "user-agent",
    "www-authenticate",
})  # fmt: skip


def load(path: Path | None) -> HttpConfig:
    """Read the file, if there is one; `InvalidConfig` names every problem of it and of the files that it names."""
    if path is None:
        return PLAIN
    reader = _Reader(Tree(str(path), textfile.read_config(path), may_be_empty=True), path.parent)
    config = reader.config()
    if reader.tree.problems:
        raise InvalidConfig(reader.tree.problems)
    return config


class _Reader:
    def __init__(self, tree: Tree, directory: Path) -> None:
        self.tree = tree
        self._directory = directory

    def config(self) -> HttpConfig:
        tree = self.tree
        if tree.root is None:
            return PLAIN
        for name, (key, _) in tree.entries(tree.root, "the HTTP configuration").items():
            if name in REFUSED:
                tree.error(key, REFUSED[name])
        known = tree.fields(tree.root, "the HTTP configuration", (), (*KEYS, *REFUSED))
        self._alone(known, "basic_auth", "authorization", "bearer_token", "bearer_token_file")
        if tree.scalar(known.get("follow_redirects"), "follow_redirects", boolean):
            tree.error(known["follow_redirects"], "redirects are not followed: give the URL that they lead to")
        if tree.scalar(known.get("enable_http2"), "enable_http2", boolean):
            tree.warn(known["enable_http2"], "enable_http2: true has no effect: HTTP/1.1 is spoken")
        username, password = self._basic_auth(known.get("basic_auth"))
        kind, credentials = self._authorization(known.get("authorization"))
        config = HttpConfig(
            username=username,
            password=password,
            credentials_type=kind,
            credentials=credentials or self._secret(known, "bearer_token"),
            headers=self._headers(known.get("http_headers")),
            tls=self._tls(known.get("tls_config")),
            warnings=tuple(sorted(tree.warnings)),
        )
        if not tree.problems:
            self._noting(tree.root, config.request_headers)
        return config

    def _basic_auth(self, node: Node | None) -> tuple[Secret | None, Secret]:
        if node is None:
            return None, Secret()
        keys = ("username", "username_file", "password", "password_file")
        fields = self.tree.fields(node, "basic_auth", (), keys)
        username = self._secret(fields, "username")
        if username is None and not {"username", "username_file"} & fields.keys():
            self.tree.error(node, "basic_auth has no 'username' (or 'username_file')")
        return username, self._secret(fields, "password") or Secret()

    def _authorization(self, node: Node | None) -> tuple[str, Secret | None]:
        if node is None:
            return "Bearer", None
        fields = self.tree.fields(node, "authorization", (), ("type", "credentials", "credentials_file"))
        kind = self.tree.scalar(fields.get("type"), "'type'", _authorization_type) or "Bearer"
        if not {"credentials", "credentials_file"} & fields.keys():
            self.tree.error(node, "authorization has no 'credentials_file' (or 'credentials')")
        return kind, self._secret(fields, "credentials")

    def _headers(self, node: Node | None) -> tuple[tuple[str, tuple[Secret, ...]], ...]:
        if node is None:
            return ()
        headers = []
        for name, (key, value) in self.tree.entries(node, "http_headers").items():
            if name.lower() in _OWN_HEADERS:
                self.tree.error(key, f"the header {name} is set by kvmtune itself; passwords belong to basic_auth")
                continue
            if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                self.tree.error(key, f"{name!r} is not the name of a header")
                continue
            fields = self.tree.fields(value, f"http_headers: {name}", (), ("values", "secrets", "files"))
            secrets = [self._item(item, kind) for kind in fields for item in self.tree.items(fields[kind], kind)]
            headers.append((name, tuple(secret for secret in secrets if secret is not None)))
        return tuple(headers)

    def _item(self, node: Node, kind: str) -> Secret | None:
        text = self.tree.scalar(node, kind, str)
        if text is None:
            return None
        return self._file(node, kind, text) if kind == "files" else Secret(text=text)

    def _tls(self, node: Node | None) -> ClientTls:
        if node is None:
            return ClientTls()
        before = len(self.tree.problems)
        fields = self.tree.fields(node, "tls_config", (), TLS_KEYS)
        given = {key.removesuffix("_file") for key in fields}
        if ("cert" in given) != ("key" in given):
            self.tree.error(node, "tls_config needs both cert_file and key_file for a client certificate, or none")
        tls = ClientTls(
            ca=self._secret(fields, "ca"),
            cert=self._secret(fields, "cert"),
            key=self._secret(fields, "key"),
            server_name=self.tree.scalar(fields.get("server_name"), "server_name", str),
            insecure_skip_verify=bool(
                self.tree.scalar(fields.get("insecure_skip_verify"), "insecure_skip_verify", boolean)
            ),
            min_version=self.tree.scalar(fields.get("min_version"), "min_version", version) or ssl.TLSVersion.TLSv1_2,
            max_version=self.tree.scalar(fields.get("max_version"), "max_version", version) or ssl.TLSVersion.TLSv1_3,
        )
        if tls.min_version > tls.max_version:
            self.tree.error(fields["min_version"], "this and max_version leave no version of TLS to speak")
        if tls.insecure_skip_verify:
            why = "anybody on the way can read and change what is asked and answered: give a ca_file instead"
            self.tree.warn(fields["insecure_skip_verify"], why)
        if len(self.tree.problems) == before:
            self._noting(node, tls.context)
        return tls

    def _secret(self, fields: Mapping[str, Node], name: str) -> Secret | None:
        """What `name` holds, or the file that `name`_file names."""
        self._alone(fields, name, f"{name}_file")
        if name in fields:
            text = self.tree.scalar(fields[name], name, str)
            return None if text is None else Secret(text=text)
        node = fields.get(f"{name}_file")
        text = self.tree.scalar(node, f"{name}_file", str)
        return None if text is None or node is None else self._file(node, f"{name}_file", text)

    def _file(self, node: Node, what: str, text: str) -> Secret | None:
        secret = Secret(file=self._directory / text)
        try:
            secret.read()
        except (HttpConfigError, ValueError) as error:
            self.tree.error(node, f"{what}: {error}")
            return None
        return secret

    def _alone(self, fields: Mapping[str, Node], *names: str) -> None:
        given = [name for name in names if name in fields]
        for name in given[1:]:
            self.tree.error(fields[name], f"{given[0]} and {name} are both given: leave one out")

    def _noting(self, node: Node, check: Callable[[], object]) -> None:
        try:
            check()
        except HttpConfigError as error:
            self.tree.error(node, str(error))


def _authorization_type(text: str) -> str:
    if text.lower() == "basic":
        raise ValueError("Basic is what basic_auth: {username: ..., password_file: ...} is for")
    if not text.isascii() or not text.isalnum():
        raise ValueError(f"{text!r} is not a type of credentials such as Bearer")
    return text
