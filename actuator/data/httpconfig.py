"""How to reach a peer: passwords, tokens, headers and TLS, in the format of Prometheus' `http_config`.

Files that it names are relative to it. They are read again for each request or connection, as Prometheus does, so that
passwords and certificates can be changed while the actuator runs.
"""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from kvmhost import textfile
from kvmhost.yamltree import Problem
from kvmweb.tls import Pem, TlsError, load_authorities, load_certificate


class HttpConfigError(Exception):
    """A file that the configuration names cannot be used any more; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A text, or the file that holds it."""

    text: str = field(default="", repr=False)
    file: Path | None = None

    def read(self) -> str:
        """The text now, without white space at its ends if it is from a file; raises HttpConfigError."""
        if self.file is None:
            return self.text
        try:
            return textfile.read_text(self.file).strip()
        except OSError as error:
            raise HttpConfigError(f"{self.file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise HttpConfigError(f"{self.file} is not UTF-8") from None


@dataclass(frozen=True, kw_only=True)
class ClientTls:
    """What to show a server and what to ask of it."""

    ca: Secret | None = None
    """Whose certificates count; None for the authorities that the system trusts."""
    cert: Secret | None = None
    key: Secret | None = None
    server_name: str | None = None
    """Whose certificate the server must have; None for the host of the URL."""
    insecure_skip_verify: bool = False
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    max_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3

    def context(self) -> ssl.SSLContext:
        """Reads the files; raises HttpConfigError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version, context.maximum_version = self.min_version, self.max_version
        context.set_alpn_protocols(["http/1.1"])
        try:
            if self.insecure_skip_verify:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            else:
                load_authorities(context, _pem(self.ca), ssl.Purpose.SERVER_AUTH)
            cert, key = _pem(self.cert), _pem(self.key)
            if cert is not None and key is not None:
                load_certificate(context, cert, key)
        except TlsError as error:
            part, secret = {"cert": ("cert", self.cert), "key": ("key", self.key)}.get(error.part, ("ca", self.ca))
            name = secret.file if secret and secret.file else f"the text of {part}"
            raise HttpConfigError(f"tls_config: {name} {error}") from None
        return context


@dataclass(frozen=True, kw_only=True)
class HttpConfig:
    """What the file says; an empty one asks for nothing."""

    username: Secret | None = None
    password: Secret = field(default_factory=Secret)
    credentials_type: str = "Bearer"
    credentials: Secret | None = None
    headers: tuple[tuple[str, tuple[Secret, ...]], ...] = ()
    tls: ClientTls = field(default_factory=ClientTls)
    warnings: tuple[Problem, ...] = ()

    def request_headers(self) -> dict[str, str]:
        """The headers of a request now; raises HttpConfigError."""
        headers = {name: ", ".join(value.read() for value in values) for name, values in self.headers}
        if self.username is not None:
            pair = f"{self.username.read()}:{self.password.read()}"
            try:
                headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            except UnicodeEncodeError:
                raise HttpConfigError("basic_auth: the username or password is not valid Unicode") from None
        elif self.credentials is not None:
            headers["Authorization"] = f"{self.credentials_type} {self.credentials.read()}"
        for name, value in headers.items():
            if not (value.isascii() and value.isprintable()):
                raise HttpConfigError(f"the header {name} is not one line of ASCII; look at the file that it is from")
        return headers


PLAIN = HttpConfig()
"""Asks for nothing, and trusts whom the system trusts."""


def _pem(secret: Secret | None) -> Pem | None:
    return None if secret is None else Pem(text=secret.read(), file=secret.file)
