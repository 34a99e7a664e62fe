"""The pages: what each path answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus

from kvmweb.messages import Request, Response
from kvmweb.negotiation import accepts_gzip
from kvmweb.page import Render, request_of

Ready = Callable[[], str | None]
"""What the program still waits for before its metrics are whole, None when it is ready."""

_LOG = logging.getLogger(__name__)

_HEALTHY = Response(status=HTTPStatus.OK, body=b"Healthy\n")
_READY = Response(status=HTTPStatus.OK, body=b"Ready\n")
_NOT_FOUND = Response(status=HTTPStatus.NOT_FOUND, body=b"Not found: try /metrics\n")
_WRONG_METHOD = Response(
    status=HTTPStatus.METHOD_NOT_ALLOWED, body=b"Use GET or HEAD\n", headers=(("Allow", "GET, HEAD"),)
)
_FAILED = Response(
    status=HTTPStatus.INTERNAL_SERVER_ERROR, body=b"Cannot collect metrics: the log of the program says why\n"
)

_VARY = ("Vary", "Accept, Accept-Encoding")


class Site:
    """`/metrics`, `/-/healthy`, `/-/ready`, the landing page, and nothing else."""

    def __init__(self, *, landing: bytes, render: Render, ready: Ready) -> None:
        self._landing = Response(status=HTTPStatus.OK, body=landing, content_type="text/html; charset=utf-8")
        self._render = render
        self._ready = ready
        self._fails = False

    def answer(self, request: Request) -> Response:
        """The response to a request; a HEAD gets that of a GET."""
        if request.method not in ("GET", "HEAD"):
            return _WRONG_METHOD
        match request.path:
            case "/metrics":
                return self._metrics(request)
            case "/":
                return self._landing
            case "/-/healthy":
                return _HEALTHY
            case "/-/ready":
                return self._readiness()
            case _:
                return _NOT_FOUND

    def _readiness(self) -> Response:
        reason = self._ready()
        if reason is None:
            return _READY
        return Response(status=HTTPStatus.SERVICE_UNAVAILABLE, body=f"Not ready: {reason}\n".encode())

    def _metrics(self, request: Request) -> Response:
        try:
            page = self._render(request_of(request.headers))
        except TimeoutError as error:
            return Response(status=HTTPStatus.SERVICE_UNAVAILABLE, body=f"Cannot collect metrics: {error}\n".encode())
        except Exception as error:  # noqa: BLE001 - the scraper must get an answer, and the log the cause
            if not self._fails:
                _LOG.error("cannot collect metrics, scrapes are answered with status 500", exc_info=error)
            self._fails = True
            return _FAILED
        if self._fails:
            _LOG.info("metrics can be collected again")
            self._fails = False
        response = Response(status=HTTPStatus.OK, body=page.content, content_type=page.content_type, headers=(_VARY,))
        if accepts_gzip(request.headers.get("accept-encoding", "")):
            return replace(response, body=page.gzipped()).adding((("Content-Encoding", "gzip"),))
        return response
