"""One actuator at a time: a lock on a directory, which needs no rights beyond reading and ends with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from kvmhost.fs import HostError, HostFS

_OF_HOST = "sys/kernel/mm"


class LockError(Exception):
    """Another actuator has what we want, or it cannot be locked; says what to do."""


@contextlib.contextmanager
def host(root: Path) -> Iterator[None]:
    """Be the only actuator on the host whose /sys is below `root`, whatever its state directory."""
    directory = root / _OF_HOST
    # Without /sys there is nothing of the host itself to be changed; its guests may be.
    descriptor = take(directory if directory.is_dir() else root)
    try:
        yield
    finally:
        os.close(descriptor)


def take(directory: Path) -> int:
    """Lock a directory until the descriptor that is returned is closed, or this process has ended."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LockError(f"cannot lock {directory}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = _holder(descriptor)
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            raise LockError(f"cannot lock {directory}: {error.strerror}") from error
        who = f"pid {holder} has locked {directory}" if holder else f"{directory} is locked"
        raise LockError(f"another kvmtune-actuator is at work ({who}): stop it first") from None
    return descriptor


def _holder(descriptor: int) -> int | None:
    """Who has the lock, of the processes that this one may see (proc_locks(5)); None if that is not known."""
    file = os.fstat(descriptor)
    name = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    try:
        lines = (HostFS().text("proc/locks") or "").splitlines()
    except HostError:
        return None
    # `7: FLOCK  ADVISORY  WRITE 1234 00:15:4711 0 EOF`; who waits has `->` after the number
    locks = (line.split() for line in lines)
    return next((int(lock[4]) for lock in locks if len(lock) > 5 and (lock[1], lock[5]) == ("FLOCK", name)), None)
