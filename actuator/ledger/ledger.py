"""The ledger: each write's intent before it and its outcome after it, on disk.

One JSON object a line, appended and fsynced, so that what was changed can be put back after a crash at any
point, and read by a person with `tail`. Once it is long, it is written anew with what still matters.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from actuator import statefile
from actuator.ledger import files, lock
from actuator.ledger.records import (
    HEAD,
    Connected,
    Held,
    Intent,
    Key,
    Record,
    Released,
    decode,
    encode,
    is_of_guest,
)
from actuator.ledger.standing import Owning, Settings, Standing

log = logging.getLogger("kvmtune-actuator")

NAME = "ledger.jsonl"
LONG_BYTES = 2**20
"""It is written anew when it is longer, and twice as long as it has to be: some 2,000 writes."""


class LedgerError(Exception):
    """The ledger cannot be read or written; says why and what to do."""


class NextBoot(Protocol):
    """Who has the next boot set what is kept."""

    def keep(self, settings: Settings) -> str:
        """Keep these and no others; returns what went wrong, or nothing."""


_READ_ONLY = "its file system was read-only when it was opened; start again when it can be written"


class Ledger:
    """The ledger file of a state directory, which is locked.

    Lines that are not ours are skipped, and kept in the file or, when that is written anew, beside it; `doubts` names
    them. `boot_problem`: why what is to be kept for the next boot is not, or nothing.
    """

    def __init__(self, directory: Path, boot: NextBoot | None = None, *, long_bytes: int = LONG_BYTES) -> None:
        self.path = directory / NAME
        self.boot_problem = ""
        self._boot = boot
        self._long_bytes = self._limit_bytes = long_bytes
        self._unread: list[bytes] = []
        self._standing = Standing()
        self._uri = ""
        with contextlib.ExitStack() as undo:
            try:
                directory.mkdir(parents=True, exist_ok=True)
                self._lock = lock.take(directory)
                undo.callback(os.close, self._lock)
                self._fd = _open(self.path)
                self.size_bytes = os.fstat(self._fd).st_size
                self._read()
            except lock.LockError as error:
                raise LedgerError(str(error)) from None
            except OSError as error:
                raise LedgerError(f"cannot open {self.path}: {error.strerror}; {statefile.hint(error)}") from error
            undo.pop_all()
        if self.size_bytes > self._limit_bytes:
            self._compact()
        self._keep(self._standing)

    def _read(self) -> None:
        data = self.path.read_bytes()
        for number, line, record in _records(data):
            if isinstance(record, str):
                self._standing.damaged.append((number, record))
                self._unread.append(line)
            else:
                self._standing.take(record)
        end = data[data.rfind(b"\n") + 1 :]
        with contextlib.suppress(OSError):  # so that the next record stands alone
            if _is_torn(end):
                log.info("%s ends in a record that a crash has cut short: it counts as not made", self.path)
                os.ftruncate(self._fd, self.size_bytes - len(end))
                self.size_bytes -= len(end)
            elif end:
                self.size_bytes += os.write(self._fd, b"\n")

    def connect(self, uri: str) -> None:
        """From here on guests are those of this libvirt; `LedgerError` while guests of another have changes.

        Of which they are is not known of ledgers of earlier versions: they count as guests of this one.
        """
        known = self._standing.libvirt
        if known not in ("", uri) and self.owned_of_guests:
            restore = f"kvmtune-actuator restore --state-dir {self.path.parent}"
            raise LedgerError(
                f"{self.path} has changes to guests of {known}, and to {uri} they would be gone: put them back by "
                f"'{restore}', which asks {known}; if that is gone for good, '{restore} --forget-guests' gives them up"
            )
        self._uri = uri
        if not known and self.owned_of_guests:
            with contextlib.suppress(LedgerError):  # it may be read-only, which the first write will tell
                self._append(Connected(time=self._standing.time, uri=uri))

    def append(self, record: Record) -> None:
        """Write one record and wait until it is on disk; `LedgerError` if it is not.

        What the next boot sets is brought in line before: it must never be what the ledger knows nothing of.
        """
        is_new = self._uri not in ("", self._standing.libvirt)
        if is_new and isinstance(record, Intent) and is_of_guest(record.target):
            self._append(Connected(time=record.time, uri=self._uri))
        self._append(record)

    def _append(self, record: Record) -> None:
        following = self._standing.after(record)
        if following.settings != self._standing.settings:
            self._keep(following)
        line = encode(record)
        try:
            files.write_all(self._fd, line)
            os.fsync(self._fd)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size_bytes)  # no half a record may stand before the next one
            # One that was opened to be read (see `_open`) is a bad descriptor to write to.
            problem = _READ_ONLY if error.errno == errno.EBADF else error.strerror
            raise LedgerError(f"cannot write {self.path}: {problem}") from error
        self.size_bytes += len(line)
        self._standing = following
        if self.size_bytes > self._limit_bytes and not isinstance(record, Intent):  # a write waits for an intent
            self._compact()

    def _keep(self, standing: Standing) -> None:
        if self._boot is None:
            return
        problem = self._boot.keep(standing.settings)
        if problem and problem != self.boot_problem:
            log.error("%s", problem)
        self.boot_problem = problem

    def _compact(self) -> None:
        """Write it anew, as what still matters. What goes wrong costs nothing: the old file goes on."""
        data = b"".join(map(encode, self._standing.records()))
        self._limit_bytes = 2 * max(len(data), self.size_bytes)
        try:
            self._set_aside()
            descriptor = files.replace(self.path, data, 0o600)
        except OSError as error:
            log.warning("%s cannot be written anew, and goes on growing: %s", self.path, error.strerror)
            return
        os.close(self._fd)
        self._fd = descriptor
        self.size_bytes = len(data)
        self._limit_bytes = max(self._long_bytes, 2 * self.size_bytes)

    def _set_aside(self) -> None:
        """Keep the old file under another name, until the next time, and damaged lines for good."""
        old, damaged = _beside(self.path, "old"), _beside(self.path, "damaged")
        with contextlib.suppress(OSError):  # it is for people only
            old.unlink(missing_ok=True)
            old.hardlink_to(self.path)
        if self._unread:
            descriptor = os.open(damaged, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                files.write_all(descriptor, b"".join(line + b"\n" for line in self._unread))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            log.warning("damaged lines of %s are in %s now: %d", self.path, damaged, len(self._unread))
            self._unread = []
            self._standing.damaged = []

    @property
    def doubts(self) -> list[str]:
        """See `doubts`."""
        return doubts(self.path.parent, self._standing)

    @property
    def next_id(self) -> int:
        """An id that no intent has yet."""
        return self._standing.last_id + 1

    @property
    def owned(self) -> Owning:
        """What we changed and have not released, in the order of the first changes."""
        return dict(self._standing.owned)

    @property
    def owned_of_guests(self) -> Owning:
        """The same, of guests only."""
        return {key: owned for key, owned in self._standing.owned.items() if is_of_guest(key[1])}

    @property
    def libvirt(self) -> str:
        """The URI of the libvirt that the guests are of, or nothing while that is not known."""
        return self._standing.libvirt

    @property
    def held(self) -> dict[tuple[str, Key], Held]:
        """What is held against a rule and a target: a write on trial, or one that failed it."""
        return dict(self._standing.held)

    @property
    def hands_off(self) -> dict[Key, Released]:
        """What others have taken over, also if we may touch it again by now."""
        return dict(self._standing.hands_off)

    def close(self) -> None:
        """Close the file and release the lock."""
        os.close(self._fd)
        os.close(self._lock)


def read(directory: Path) -> Standing:
    """What the ledger of a state directory says, without its lock; `LedgerError`."""
    path = directory / NAME
    standing = Standing()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return standing
    except OSError as error:
        raise LedgerError(statefile.cannot("read", path, error)) from error
    for number, _, record in _records(data):
        if isinstance(record, str):
            standing.damaged.append((number, record))
        else:
            standing.take(record)
    return standing


def doubts(directory: Path, standing: Standing) -> list[str]:
    """Of each damaged record, that it is not known what it changed, and where it is."""
    path = directory / NAME
    found = [
        f"{path}:{number}: {problem}: what this record changed is not known" for number, problem in standing.damaged
    ]
    if _beside(path, "damaged").exists():
        found.append(f"{_beside(path, 'damaged')} has damaged records: what these changed is not known")
    return found


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name}.{name}")


def _records(data: bytes) -> Iterator[tuple[int, bytes, Record | str]]:
    """Each line with its number and record, or with what is wrong with it."""
    last = data.count(b"\n") + 1
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line and not (number == last and _is_torn(line)):
            try:
                yield number, line, decode(line)
            except (ValueError, RecursionError) as error:
                yield number, line, str(error)


def _is_torn(end: bytes) -> bool:
    """Whether what stands after the last whole line begins a record. Nothing was done on the word of it."""
    if not end or not (end.startswith(HEAD) or HEAD.startswith(end)):
        return False
    try:
        decode(end)
    except (ValueError, RecursionError):
        return True
    return False


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.EROFS and path.exists():
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)  # enough to restore by
        raise
