"""TLS as the web configuration file asks for it, with Python's ssl."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Go's names, which are IANA's, and OpenSSL's, of the suites up to TLS 1.2 that crypto/tls.CipherSuites lists.
CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
TLS13_CIPHERS = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


class TlsError(Exception):
    """What was given cannot be used; `part` is `cert`, `key`, `client_ca` or `cipher_suites`."""

    def __init__(self, part: str, why: str) -> None:
        super().__init__(why)
        self.part = part


@dataclass(frozen=True, kw_only=True)
class Pem:
    """PEM text, and the file that it is from, None if it stands in the configuration itself."""

    text: str
    file: Path | None


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """What the configuration says."""

    cert: Pem
    key: Pem
    client_ca: Pem | None
    client_auth: ssl.VerifyMode
    client_allowed_sans: frozenset[str]
    min_version: ssl.TLSVersion
    max_version: ssl.TLSVersion
    cipher_suites: tuple[str, ...]
    """OpenSSL's names; () for its own choice."""
    prefers_own_ciphers: bool


@dataclass(frozen=True, kw_only=True)
class Tls:
    """How to speak TLS with a client."""

    context: ssl.SSLContext
    client_allowed_sans: frozenset[str]

    @property
    def verifies_clients(self) -> bool:
        """Whether a client needs a certificate, or has the one that it gives checked."""
        return self.context.verify_mode != ssl.CERT_NONE

    def admits(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether the subject alternative names of a verified client certificate, None without, are allowed."""
        if not self.client_allowed_sans:
            return True
        names = (certificate or {}).get("subjectAltName", ())
        return any(_name(kind, value) in self.client_allowed_sans for kind, value in names)


def tls(settings: TlsSettings) -> Tls:
    """Read the certificate, key and authorities; `TlsError` says which of them cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.minimum_version, context.maximum_version = settings.min_version, settings.max_version
    context.set_alpn_protocols(["http/1.1"])
    if not settings.prefers_own_ciphers:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if settings.cipher_suites:
        try:
            context.set_ciphers(":".join(settings.cipher_suites))
        except ssl.SSLError:
            raise TlsError("cipher_suites", "the OpenSSL of this system allows none of these") from None
    load_certificate(context, settings.cert, settings.key)
    context.verify_mode = settings.client_auth
    if settings.client_auth != ssl.CERT_NONE:
        load_authorities(context, settings.client_ca, ssl.Purpose.CLIENT_AUTH)
    return Tls(context=context, client_allowed_sans=settings.client_allowed_sans)


def load_certificate(context: ssl.SSLContext, cert: Pem, key: Pem) -> None:
    """Show this certificate to peers; `TlsError` says why it cannot be used."""
    if "-----BEGIN CERTIFICATE-----" not in cert.text:
        raise TlsError("cert", "holds no certificate in PEM format (-----BEGIN CERTIFICATE-----)")
    if "PRIVATE KEY-----" not in key.text:
        raise TlsError("key", "holds no private key in PEM format (-----BEGIN PRIVATE KEY-----)")
    with _path(cert) as cert_path, _path(key) as key_path:
        try:
            # OpenSSL would ask for the passphrase of an encrypted key on the terminal.
            context.load_cert_chain(cert_path, key_path, password=_no_passphrase)
        except _EncryptedKeyError:
            why = "is encrypted, and nobody is there to type its passphrase: `openssl pkey -in OLD -out NEW` decrypts"
            raise TlsError("key", why) from None
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise TlsError("key", "is not the key of this certificate") from None
            raise TlsError("cert", f"cannot be used with its key: {error.reason or error}") from None
        except OSError as error:
            raise TlsError("cert", f"cannot be read with its key: {error.strerror}") from None


def load_authorities(context: ssl.SSLContext, authorities: Pem | None, purpose: ssl.Purpose) -> None:
    """Take certificates of these authorities, None for those that the system trusts; raises `TlsError`."""
    # As Go does, trust what is given, also where it is no root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if authorities is None:
        context.load_default_certs(purpose)
        return
    with _path(authorities) as path:
        try:
            context.load_verify_locations(path)
        except ssl.SSLError:
            raise TlsError("client_ca", "holds no certificates in PEM format (-----BEGIN CERTIFICATE-----)") from None
        except OSError as error:
            raise TlsError("client_ca", f"cannot be read: {error.strerror}") from None


class _EncryptedKeyError(Exception):
    pass


def _no_passphrase() -> str:
    raise _EncryptedKeyError


@contextlib.contextmanager
def _path(pem: Pem) -> Iterator[Path]:
    """A file with the text, since Python's ssl takes no other; that of a text without one is never on a disk."""
    if pem.file is not None:
        yield pem.file
        return
    descriptor = os.memfd_create("pem")
    with open(descriptor, "w") as file:  # noqa: PTH123 - a descriptor has no path
        file.write(pem.text)
        file.flush()
        yield Path(f"/proc/self/fd/{descriptor}")


def _name(kind: str, value: str) -> str:
    """As Go writes it: Python has IPv6 addresses in full."""
    return str(ipaddress.ip_address(value.strip())) if kind == "IP Address" else value
