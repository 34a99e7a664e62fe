"""A libvirt connection in a process of its own: a call can hang for ever, and ends only with its process.

A request to the child is the pickled `(fn, args)`, a reply the pickled `(ok, value or exception)`.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from kvmhost import childprocess, virt
from kvmhost.childprocess import ChildProcess
from kvmhost.virt import VirtError, VirtTimeout, VirtUnavailable

T = TypeVar("T")

_READONLY = "readonly"
_BUSY_HINT = "libvirtd or a guest's QEMU process may be stuck: try `virsh list`"


class VirtProcess:
    """One libvirt connection, made at the first call and made again when it broke. Threads may share it.

    `uri` None is the system's QEMU. Close it, or use it as a context manager; its child process also ends
    when this process does, however that ends.
    """

    def __init__(self, uri: str | None = None, *, readonly: bool) -> None:
        self.uri = uri or virt.SYSTEM_URI
        self.readonly = readonly
        self._one_call = threading.Lock()
        self._child: ChildProcess | None = None
        self._closed = False

    def call(self, fn: Callable[..., T], *args: object, timeout_s: float) -> T:
        """`fn(conn, *args)` in the child, one call at a time; returns or raises within about `timeout_s`.

        `fn` is a function at the top of a module, and safe to run twice: it runs again if the connection
        turns out to be broken, as after a restart of libvirtd. Raises `VirtTimeout` (the child was killed),
        `VirtUnavailable` (no library, no connection, or closed), `VirtError` for a libvirtError, and whatever
        else `fn` raised.
        """
        deadline = time.monotonic() + timeout_s
        request = pickle.dumps((fn, args))
        if not self._one_call.acquire(timeout=timeout_s):
            raise VirtTimeout(f"{self.uri} was busy with another call for {timeout_s:g} s", hint=_BUSY_HINT)
        try:
            reply = self._ask(request, deadline)
        except TimeoutError as error:
            raise VirtTimeout(f"{self.uri} did not answer within {timeout_s:g} s", hint=_BUSY_HINT) from error
        finally:
            self._one_call.release()
        ok, answer = pickle.loads(reply)  # noqa: S301 - from our own child
        if ok:
            return answer  # type: ignore[no-any-return]
        raise answer

    def warm_up(self, timeout_s: float) -> None:
        """Have a child that is connected, so that the next call takes no longer than libvirt does; as `call`."""
        if self._child is None or not self._child.is_running():
            self.call(virt.is_alive, timeout_s=timeout_s)

    def close(self) -> None:
        """End the child at once. A call in flight, and any later one, raises `VirtUnavailable`."""
        self._closed = True
        child = self._child
        if child:
            child.kill()
        with self._one_call:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: bytes, deadline: float) -> bytes:
        if self._child and not self._child.is_running():
            self._drop()
        if self._child is None and not self._closed:
            self._child = self._start()
        if self._child is None or self._closed:
            raise VirtUnavailable(f"the connection to {self.uri} is closed")
        try:
            # Nearly no time is left after a wait for another call, but 0 would mean not to wait at all.
            self._child.channel.send(request, max(deadline - time.monotonic(), 0.001))
            return self._child.channel.receive(max(deadline - time.monotonic(), 0.001))
        except (EOFError, ConnectionError) as error:
            self._drop()
            raise VirtUnavailable(
                f"the connection to {self.uri} ended with its process", hint="the next call starts a new one"
            ) from error
        except BaseException:
            # Whatever interrupted us, a reply that still comes must not be taken for that of the next call.
            self._drop()
            raise

    def _start(self) -> ChildProcess:
        mode = _READONLY if self.readonly else "readwrite"
        try:
            return ChildProcess("kvmhost.virtprocess", self.uri, mode)
        except OSError as error:
            raise VirtUnavailable(f"cannot start a process to talk to {self.uri}: {error}") from error

    def _drop(self) -> None:
        if self._child:
            self._child.close()
        self._child = None


class _Connection:
    """The child's side: the connection, and what to do when it is lost."""

    def __init__(self, uri: str, *, readonly: bool) -> None:
        self._uri = uri
        self._readonly = readonly
        self._conn: Any = None

    def run(self, fn: Callable[..., object], args: tuple[object, ...]) -> object:
        if self._conn is None:
            self._conn = virt.connect(self._uri, readonly=self._readonly)
        try:
            with virt.translated():
                return fn(self._conn, *args)
        except VirtError:
            if virt.is_alive(self._conn):
                raise
        self._conn = None
        self._conn = virt.connect(self._uri, readonly=self._readonly)
        with virt.translated():
            return fn(self._conn, *args)


def _answer(connection: _Connection, request: bytes) -> bytes:
    try:
        fn, args = pickle.loads(request)  # noqa: S301 - from our own parent
        return pickle.dumps((True, connection.run(fn, args)))
    except Exception as error:  # noqa: BLE001 - the parent raises it again
        if not isinstance(error, VirtError):
            error.add_note(f"In the libvirt process:\n{traceback.format_exc()}")
        return _failure(error)


def _failure(error: Exception) -> bytes:
    try:
        reply = pickle.dumps((False, error))
        pickle.loads(reply)  # noqa: S301 - our own; an exception may pickle, and only fail here
    except Exception:  # noqa: BLE001 - whatever its own code raises, its text is all that can be sent
        return pickle.dumps((False, VirtError(f"{type(error).__name__}: {error}")))
    return reply


def _serve(uri: str, *, readonly: bool) -> None:
    """Answer requests until the parent closes the channel."""
    channel = childprocess.parent()
    connection = _Connection(uri, readonly=readonly)
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has ended, and so do we
        while True:
            channel.send(_answer(connection, channel.receive()))


if __name__ == "__main__":
    _serve(sys.argv[1], readonly=sys.argv[2] == _READONLY)
