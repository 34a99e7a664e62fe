"""The section tls_server_config of the web configuration file."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from kvmhost.yamltree import Node, Tree, suggestion
from kvmweb.tls import CIPHERS, TLS13_CIPHERS, Pem, Tls, TlsError, TlsSettings, tls

T = TypeVar("T")

KEYS = (
    "cert", "cert_file", "key", "key_file", "client_ca", "client_ca_file", "client_auth_type", "client_allowed_sans",
    "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites", "curve_preferences",
)  # fmt: skip
CLIENT_AUTH_TYPES = {
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
UNVERIFIED_AUTH_TYPES = ("RequireAnyClientCert", "RequireClientCert")

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_BROKEN_VERSIONS = ("TLS10", "TLS11")

ReadFile = Callable[[Path], tuple[str, bool]]
"""Gives the text of a file, and whether everybody can read it; raises `OSError`."""


def read(tree: Tree, node: Node, directory: Path, read_file: ReadFile) -> Tls | None:
    """The section at `node`, with the files that it names relative to `directory`; None if it has problems."""
    before = len(tree.problems)
    reader = _Reader(tree, tree.fields(node, "tls_server_config", (), KEYS), directory, read_file)
    settings = reader.settings(node)
    if settings is None or len(tree.problems) > before:
        return None
    try:
        return tls(settings)
    except TlsError as error:
        name = error.part if error.part in reader.fields else f"{error.part}_file"
        tree.error(reader.fields[name], f"{name} {error}")
        return None


def boolean(text: str) -> bool:
    """`ValueError` if it is not true or false."""
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is not true or false")
    return text == "true"


class _Reader:
    def __init__(self, tree: Tree, fields: Mapping[str, Node], directory: Path, read_file: ReadFile) -> None:
        self.fields = fields
        self._tree = tree
        self._directory = directory
        self._read_file = read_file

    def settings(self, section: Node) -> TlsSettings | None:
        """None without certificate or key; it may also have noted other problems."""
        cert, key, client_ca = (self._pem(name) for name in ("cert", "key", "client_ca"))
        for name in ("cert", "key"):
            if not {name, f"{name}_file"} & self.fields.keys():
                self._tree.error(section, f"tls_server_config has no {name}_file (or {name})")
        if "curve_preferences" in self.fields:
            why = "curve_preferences cannot be set with Python's TLS: leave it out for OpenSSL's (X25519, P-256, ...)"
            self._tree.error(self.fields["curve_preferences"], why)
        suites = self._texts("cipher_suites", _cipher)
        least, most = self._versions(suites)
        client_auth = self._client_auth()
        sans = frozenset(self._texts("client_allowed_sans", str))
        own_first = self._scalar("prefer_server_cipher_suites", boolean)
        if cert is None or key is None:
            return None
        return TlsSettings(
            cert=cert,
            key=key,
            client_ca=client_ca,
            client_auth=client_auth,
            client_allowed_sans=sans,
            min_version=least,
            max_version=most,
            cipher_suites=tuple(filter(None, suites)),
            prefers_own_ciphers=own_first is not False,
        )

    def _pem(self, name: str) -> Pem | None:
        """What `name` holds, or the file that `name`_file names."""
        if name in self.fields:
            if f"{name}_file" in self.fields:
                self._tree.error(self.fields[name], f"{name} and {name}_file are both given: leave one out")
            text = self._scalar(name, str)
            return None if text is None else Pem(text=text, file=None)
        path = self._scalar(f"{name}_file", _path)
        if path is None:
            return None
        node, path = self.fields[f"{name}_file"], self._directory / path
        try:
            text, is_public = self._read_file(path)
        except OSError as error:
            self._tree.error(node, f"{name}_file {path} cannot be read: {error.strerror}")
            return None
        if name == "key" and is_public:
            self._tree.warn(node, f"everybody on this machine can read the private key {path}: `chmod o= {path}`")
        return Pem(text=text, file=path)

    def _client_auth(self) -> ssl.VerifyMode:
        name = self._scalar("client_auth_type", _client_auth_type) or "NoClientCert"
        mode = CLIENT_AUTH_TYPES[name]
        if mode == ssl.CERT_NONE:
            for key in {"client_ca", "client_ca_file", "client_allowed_sans"} & self.fields.keys():
                why = f"{key} does nothing without client_auth_type: RequireAndVerifyClientCert"
                self._tree.error(self.fields[key], why)
        if name == "RequestClientCert":
            why = "RequestClientCert checks no certificate: it is the same as NoClientCert"
            self._tree.warn(self.fields["client_auth_type"], why)
        return mode

    def _versions(self, suites: list[str]) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
        node = self.fields.get("min_version")
        if node is not None and node.value in _BROKEN_VERSIONS:
            self._tree.warn(node, f"{node.value} is broken (RFC 8996) and not spoken: min_version is TLS12")
            least = ssl.TLSVersion.TLSv1_2
        else:
            least = self._scalar("min_version", version) or ssl.TLSVersion.TLSv1_2
        if suites and not any(suites):  # none is left for TLS 1.2, and those of 1.3 are always on
            node, least = self.fields["cipher_suites"], ssl.TLSVersion.TLSv1_3
        most = self._scalar("max_version", version) or ssl.TLSVersion.TLSv1_3
        if node is not None and least > most:
            self._tree.error(node, "this and max_version leave no version of TLS to speak")
        return least, most

    def _scalar(self, name: str, parse: Callable[[str], T]) -> T | None:
        return self._tree.scalar(self.fields.get(name), name, parse)

    def _texts(self, name: str, parse: Callable[[str], str]) -> list[str]:
        """The items of a list; an empty one is a problem, since nobody can mean it."""
        node = self.fields.get(name)
        if node is None:
            return []
        items = self._tree.items(node, name)
        if node.value == []:
            self._tree.error(node, f"{name} is empty: leave it out")
        values = (self._tree.scalar(item, name, parse) for item in items)
        return [value for value in values if value is not None]


def _path(text: str) -> Path:
    if "\0" in text:
        raise ValueError(f"{text!r} is no path")
    return Path(text)


def _client_auth_type(text: str) -> str:
    if text in UNVERIFIED_AUTH_TYPES:
        raise ValueError(
            f"{text} takes any certificate and checks none, which Python's TLS cannot do and which keeps nobody out; "
            "write RequireAndVerifyClientCert, with client_ca_file"
        )
    if text not in CLIENT_AUTH_TYPES:
        raise ValueError(f"unknown {text!r}{suggestion(text, CLIENT_AUTH_TYPES)}")
    return text


def version(text: str) -> ssl.TLSVersion:
    """`ValueError` if it is not a version of TLS that is spoken."""
    if text in _BROKEN_VERSIONS:
        raise ValueError(f"{text} is broken (RFC 8996) and not spoken; write TLS12 or TLS13")
    if text not in _VERSIONS:
        raise ValueError(f"unknown {text!r}{suggestion(text, _VERSIONS)}")
    return _VERSIONS[text]


def _cipher(text: str) -> str:
    """OpenSSL's name, empty for those of TLS 1.3: as in Go, these are always on."""
    if text not in CIPHERS and text not in TLS13_CIPHERS:
        raise ValueError(f"unknown {text!r}{suggestion(text, (*CIPHERS, *TLS13_CIPHERS))}")
    return CIPHERS.get(text, "")
