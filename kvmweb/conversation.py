"""What happens on a connection: TLS, requests and their answers, one after another."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from kvmweb.connection import Connection
from kvmweb.gate import Gate
from kvmweb.messages import BadRequest, Response, parse
from kvmweb.site import Site
from kvmweb.tls import Tls

_NO_TLS = Response(status=HTTPStatus.BAD_REQUEST, body=b"HTTPS is spoken here, and this was HTTP: use https://\n")
_WRONG_NAME = Response(
    status=HTTPStatus.FORBIDDEN, body=b"None of the client certificate's names is in client_allowed_sans\n"
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What clients may cost."""

    connections: int = 128
    """At a time; each takes a thread. Past that, the client that has kept us waiting longest is cut off."""
    request_seconds: float = 10.0
    """From connecting, or from a request's first byte, to its last one; and again for taking the answer."""
    idle_seconds: float = 300.0
    """From an answer to the next request: Prometheus keeps a connection for 5 minutes."""


class Conversation:
    """How the server speaks with clients, each in a thread of its own."""

    def __init__(self, gate: Gate, site: Site, limits: Limits) -> None:
        self._gate = gate
        self._site = site
        self._limits = limits

    def hold(self, connection: Connection) -> None:
        """Answer until one side ends it; `OSError` if the client is gone or too slow."""
        connection.expect(self._limits.request_seconds)
        tls = self._gate.config.tls
        refusal = None
        if tls is not None:
            try:
                certificate = connection.secure(tls.context)
            except ssl.SSLError as error:
                if error.reason == "HTTP_REQUEST":
                    connection.send_bare(_bytes(_NO_TLS))
                connection.linger()  # so that an alert arrives
                return
            refusal = None if tls.admits(certificate) else _WRONG_NAME
        while (head := connection.head()) is not None:
            connection.rest()
            if not self._answer(connection, head, tls, refusal):
                connection.linger()
                return
            connection.expect(self._limits.idle_seconds)
            if not connection.has_more():
                return
            connection.expect(self._limits.request_seconds)

    def _answer(self, connection: Connection, head: bytes, tls: Tls | None, refusal: Response | None) -> bool:
        """Whether the connection may stay open after it."""
        config = self._gate.config
        is_head = stays_open = False
        try:
            request = parse(head)
        except BadRequest as error:
            response = error.response
        else:
            response = refusal or self._gate.refusal(config, request, connection.client) or self._site.answer(request)
            is_head = request.method == "HEAD"
            # With a new certificate or new authorities on disk, the handshake is due anew.
            stays_open = request.stays_open and refusal is None and config.tls is tls
        response = response.adding(config.headers)
        connection.expect(self._limits.request_seconds)
        connection.send(response.head(date=formatdate(usegmt=True), stays_open=stays_open))
        if not is_head:
            connection.send(response.body)
        return stays_open


def _bytes(response: Response) -> bytes:
    return response.head(date=formatdate(usegmt=True), stays_open=False) + response.body
