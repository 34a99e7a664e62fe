"""The web server of both programs: `/metrics`, a landing page, `/-/healthy`, `/-/ready`, and nothing else."""

from __future__ import annotations

import contextlib
import errno
import logging
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence

from kvmweb import landing, listeners
from kvmweb.arguments import WebFlags
from kvmweb.connection import Connection
from kvmweb.conversation import Conversation, Limits
from kvmweb.gate import Gate
from kvmweb.listeners import WebError
from kvmweb.page import Render
from kvmweb.site import Ready, Site

__all__ = ["Limits", "WebError", "serve"]

_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_LEAST_SECONDS = 0.1
"""What every client gets of our patience, also when all places are taken."""
_PAUSE_SECONDS = 0.05
_GRACE_SECONDS = 2.0

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def serve(
    flags: WebFlags,
    render: Render,
    *,
    title: str,
    version: str,
    summary: str = "",
    links: tuple[tuple[str, str], ...] = (),
    ready: Ready = lambda: None,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
) -> Iterator[tuple[str, ...]]:
    """Serve inside the `with` block, which gets the URLs of the landing page, as seen from this machine.

    `render` is called for each scrape, in several threads at once when scrapes overlap. The landing page shows title,
    version, summary and, beyond its own pages, `links` as `(url, meaning)`. Raises `WebError` if it cannot listen,
    `InvalidConfig` for a bad configuration file, and `ValueError` for an address that `kvmweb.address.parse` refuses.
    """
    gate = Gate(flags.config_file)
    page = landing.html(title=title, version=version, summary=summary, links=links)
    conversation = Conversation(gate, Site(landing=page, render=render, ready=ready), limits)
    sockets = listeners.passed() if flags.systemd_socket else listeners.bound(flags.listen_addresses)
    scheme = "http" if gate.config.tls is None else "https"
    urls = tuple(listeners.url(one, scheme) for one in sockets)
    server = _Server(sockets, conversation, limits.connections)
    server.start()
    try:
        yield urls
    finally:
        server.stop()


class _Server:
    """The thread that accepts connections, and those that serve them."""

    def __init__(self, sockets: Sequence[socket.socket], conversation: Conversation, most_connections: int) -> None:
        self._sockets = sockets
        self._conversation = conversation
        self._places = threading.Semaphore(most_connections)
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, Connection] = {}
        self._stopping = threading.Event()
        self._wakened, self._waker = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept, name="web", daemon=True)
        self._is_exhausted = False

    def start(self) -> None:
        self._acceptor.start()

    def stop(self) -> None:
        """Accept no more, cut all clients off, and wait for their threads, though not for one that hangs."""
        self._stopping.set()
        self._waker.send(b"x")
        self._acceptor.join()
        listeners.closed((*self._sockets, self._wakened, self._waker))
        with self._lock:
            connections = dict(self._connections)
        for connection in connections.values():
            connection.cut_off()
        deadline = time.monotonic() + _GRACE_SECONDS
        for thread in connections:
            thread.join(max(deadline - time.monotonic(), 0))

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wakened, selectors.EVENT_READ)
            for listener in self._sockets:
                listener.setblocking(False)
                selector.register(listener, selectors.EVENT_READ)
            while not self._stopping.is_set():
                for key, _ in selector.select():
                    if key.fileobj is not self._wakened and isinstance(key.fileobj, socket.socket):
                        self._accept_from(key.fileobj)

    def _accept_from(self, listener: socket.socket) -> None:
        try:
            accepted, address = listener.accept()
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES:
                self._complain(error)
                self._cut_off_slowest()
                self._stopping.wait(_PAUSE_SECONDS)  # since it stays ready, and this would be a busy loop
            return  # else the client went away
        try:
            self._begin(Connection(accepted, address[0] if isinstance(address, tuple) else ""))
        except OSError:  # it went away
            accepted.close()

    def _begin(self, connection: Connection) -> None:
        has_place = self._places.acquire(blocking=False)
        while not has_place:
            if self._stopping.is_set():
                connection.close()
                return
            # If all wait for us, this one does so, too: that takes no longer than a scrape may.
            self._cut_off_slowest()
            has_place = self._places.acquire(timeout=_PAUSE_SECONDS)
        thread = threading.Thread(target=self._serve, args=(connection,), name="web client", daemon=True)
        with self._lock:
            self._connections[thread] = connection
        try:
            thread.start()
        except RuntimeError as error:  # no more threads
            self._complain(error)
            self._end(thread, connection)
        else:
            self._is_exhausted = False

    def _serve(self, connection: Connection) -> None:
        try:
            self._conversation.hold(connection)
        except OSError:  # the client went away, was too slow, or was cut off
            connection.cut_off()
        except Exception as error:  # noqa: BLE001 - this client is lost, the others must not be
            _LOG.error("a request from %s failed", connection.client or "a local socket", exc_info=error)
        finally:
            self._end(threading.current_thread(), connection)

    def _end(self, thread: threading.Thread, connection: Connection) -> None:
        connection.close()
        with self._lock:
            del self._connections[thread]
        self._places.release()

    def _cut_off_slowest(self) -> None:
        with self._lock:
            slowest = min(self._connections.values(), key=lambda one: one.waits_since, default=None)
        if slowest is not None and slowest.waits_since < time.monotonic() - _LEAST_SECONDS:
            slowest.cut_off()

    def _complain(self, error: Exception) -> None:
        if not self._is_exhausted:
            _LOG.error("cannot serve more clients: %s; raise LimitNOFILE= or TasksMax= of the service", error)
        self._is_exhausted = True
