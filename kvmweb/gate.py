"""Who may ask, and how often: what the web configuration says of requests."""

from __future__ import annotations

import base64
import binascii
import threading
import time
from http import HTTPStatus
from pathlib import Path

from kvmweb.config import RateLimit, WebConfig
from kvmweb.configfile import ConfigFile
from kvmweb.messages import Request, Response
from kvmweb.passwords import Busy, Passwords

_TOO_MANY = Response(status=HTTPStatus.TOO_MANY_REQUESTS, body=b"Too many requests: rate_limit\n")
_UNAUTHORIZED = Response(
    status=HTTPStatus.UNAUTHORIZED,
    body=b"User and password, please\n",
    headers=(("WWW-Authenticate", 'Basic realm="kvmtune", charset="UTF-8"'),),
)
_BUSY = Response(
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    body=b"Too many other passwords from this address are being checked\n",
    headers=(("Retry-After", "1"),),
)


class Gate:
    """Decides about requests; safe to use from several threads."""

    def __init__(self, file: Path | None) -> None:
        """`InvalidConfig` if the file is not good; None lets everybody in."""
        self._file = None if file is None else ConfigFile(file)
        self._passwords = Passwords()
        self._bucket: _Bucket | None = None

    @property
    def config(self) -> WebConfig:
        """What holds now."""
        return _NO_CONFIG if self._file is None else self._file.current()

    def refusal(self, config: WebConfig, request: Request, client: str) -> Response | None:
        """The answer to a request that may not go on, None for one that may; `client` is its address."""
        if config.rate_limit is not None and not self._bucket_of(config.rate_limit).take(time.monotonic()):
            return _TOO_MANY
        if not config.users:
            return None
        given = _credentials(request.headers.get("authorization", ""))
        if given is None:
            return _UNAUTHORIZED
        try:
            is_right = self._passwords.are_right(config.users, *given, client)
        except Busy:
            return _BUSY
        return None if is_right else _UNAUTHORIZED

    def _bucket_of(self, limit: RateLimit) -> _Bucket:
        bucket = self._bucket
        if bucket is None or bucket.limit != limit:
            bucket = self._bucket = _Bucket(limit)
        return bucket


class _Bucket:
    """Tokens that come one each interval, up to the burst. A request takes one."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._tokens = float(limit.burst)
        self._filled = -float("inf")

    def take(self, now: float) -> bool:
        """Whether there was a token."""
        with self._lock:
            came = (now - self._filled) / self.limit.interval_seconds
            self._tokens = min(self._tokens + came, self.limit.burst)
            self._filled = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


def _credentials(authorization: str) -> tuple[str, str] | None:
    """User and password of basic authentication (RFC 7617), None if that is not what was sent."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


_NO_CONFIG = WebConfig()
