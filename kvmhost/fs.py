"""The only reader of /proc and /sys, below a root: a directory of files can stand in for a host."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

# The widest number in procfs and sysfs is a 64-bit one: longer digits are damage, not data.
_INTEGER = re.compile(rb"-?[0-9]{1,20}")
_CHOICES = re.compile(r"([\w+-]+ )*\[[\w+-]+\]( [\w+-]+)*")

# What the kernel answers for something that is not there: no file, no process any more (ESRCH, from an open
# /proc/PID file), no device any more (ENODEV, from an open /sys file), or a feature that is switched off (EOPNOTSUPP,
# /proc/pressure with psi=0).
_ABSENT = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EOPNOTSUPP})

# Files that are there as long as their device or the kernel is. Opening and closing one costs twice as much as to read
# it, and a scrape reads some 200.
_LASTING = ("sys/", "proc/sys/", "proc/pressure/", "proc/meminfo", "proc/vmstat")
# ... but for the control groups of guests.
_FLEETING = "sys/fs/"
_MOST_LASTING = 512
# Of one record (`single_open` in the kernel), which comes whole in one read.
_RECORDS = ("sys/", "proc/sys/")

_READ = os.O_RDONLY | os.O_CLOEXEC
_PART_BYTES = 4096
_NUMBER_BYTES = 64

_HINTS = {
    errno.EACCES: "run as a user or group that may read it, or grant CAP_DAC_READ_SEARCH",
    errno.EPERM: "the kernel or a security module refuses it to this user: look in the audit log",
}


class HostError(Exception):
    """A file of the host that is there but cannot be used: which, why, and what to do (`hint`, or ``)."""

    def __init__(self, path: Path | str, reason: str, hint: str = "") -> None:
        super().__init__(f"{path}: {reason}; {hint}" if hint else f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason
        self.hint = hint


class HostFS:
    """The files of one host below `root`. Paths are relative to it: `sys/kernel/mm/ksm/run`."""

    def __init__(self, root: Path | str = "/", *, most_kept: int = 256) -> None:
        """`most_kept` is how many descriptors `kept` may hold open at a time."""
        self.root = Path(root)
        self.is_this_system = self.root == Path("/")
        """Else its files may be another system's, or a test's: system calls know nothing of its processes."""
        self._top = str(root).rstrip("/") + "/"
        self._room = threading.Semaphore(most_kept)
        self._lasting: dict[str, _Descriptor] = {}
        # Files of a test may be replaced by others.
        self._keeps_lasting = os.path.ismount(self._top + "proc")

    def text(self, path: str) -> str | None:
        """The whole file, or None if it is absent. `HostError` if it is there and cannot be read."""
        content = self.content(path)
        return None if content is None else content.decode("utf-8", "replace")

    def content(self, path: str) -> bytes | None:
        """The bytes of the file, or None if it is absent. `HostError` if it is there and cannot be read."""
        return self._read(path, _record if path.startswith(_RECORDS) else _whole)

    def kept(self, path: str) -> KeptFile:
        """The file, for who reads it over and over."""
        return KeptFile(self, path)

    def integer(self, path: str) -> int | None:
        """The signed whole number that is the file's only content, or None if the file is absent.

        `HostError` if the file cannot be read or holds anything else.
        """
        start = self._read(path, _start)
        if start is None:
            return None
        number = start.strip()
        if _INTEGER.fullmatch(number) is None:
            raise self.malformed(path, "a whole number", start.decode("utf-8", "replace"))
        return int(number)

    def integers(self, directory: str, names: Iterable[str]) -> tuple[dict[str, int], tuple[HostError, ...]]:
        """The number in each named file of a directory, absent ones left out, and the errors of bad ones."""
        numbers, faults = {}, []
        for name in names:
            try:
                number = self.integer(f"{directory}/{name}")
            except HostError as fault:
                faults.append(fault)
            else:
                if number is not None:
                    numbers[name] = number
        return numbers, tuple(faults)

    def choices(self, path: str) -> dict[str, bool]:
        """Each word of a file such as `[none] scan-time`, True for the one in brackets; {} if the file is absent.

        `HostError` if the file cannot be read or does not have exactly one word in brackets.
        """
        text = self.text(path)
        if text is None:
            return {}
        if _CHOICES.fullmatch(text.strip()) is None:
            raise self.malformed(path, "words with the chosen one in brackets", text)
        return {word.strip("[]"): word.startswith("[") for word in text.split()}

    def names(self, path: str) -> tuple[str, ...]:
        """The names in a directory, sorted; () if it is absent. `HostError` if it cannot be listed."""
        try:
            return tuple(sorted(os.listdir(self._top + path)))  # noqa: PTH208 - a third of the cost of iterdir
        except OSError as error:
            if error.errno in _ABSENT:
                return ()
            raise _unreadable(self.root / path, error) from error

    def _read(self, path: str, read: Callable[[int], bytes]) -> bytes | None:
        file = self._lasting.get(path)
        try:
            if file is None:
                file = _Descriptor(os.open(self._top + path, _READ))
                if (
                    self._keeps_lasting
                    and path.startswith(_LASTING)
                    and not path.startswith(_FLEETING)
                    and len(self._lasting) < _MOST_LASTING
                ):
                    self._lasting[path] = file
            return read(file.number)
        except OSError as error:
            self._lasting.pop(path, None)  # in case of ENODEV, the device may come back
            if error.errno in _ABSENT:
                return None
            raise _unreadable(self.root / path, error) from error

    def malformed(self, path: str, expected: str, found: str) -> HostError:
        """The error to raise when `path` holds `found` (shown shortened) instead of `expected`."""
        return HostError(self.root / path, f"expected {expected}, found {found.strip()[:60]!r}")


class KeptFile:
    """One file of a process that is read over and over. Its descriptor stays open where there is room for that.

    That halves the cost, and the file stays that of the same process also when another gets its number. For files of
    one record (`single_open` in the kernel), which come whole in one read. Close it, or drop it.
    """

    def __init__(self, fs: HostFS, path: str) -> None:
        self.path = path
        self._fs = fs
        self._descriptor: int | None = None

    def content(self) -> bytes | None:
        """As `HostFS.content`; None, too, for a process that has ended."""
        if self._descriptor is None and not self._open():
            return self._fs.content(self.path)
        assert self._descriptor is not None
        try:
            return _record(self._descriptor)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise _unreadable(self._fs.root / self.path, error) from error

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
            self._fs._room.release()

    def _open(self) -> bool:
        if not self._fs._room.acquire(blocking=False):
            return False
        try:
            self._descriptor = os.open(self._fs._top + self.path, _READ)
        except OSError:
            self._fs._room.release()
            return False
        return True

    __del__ = close


class _Descriptor:
    """Closed when nobody has it any more: one thread may drop it while another reads."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


def _whole(descriptor: int) -> bytes:
    """The file from its start. The kernel makes the content of /proc and /sys anew for each such read."""
    # A short read is not the end: of files with many records, the kernel gives a page at a time.
    content = part = os.pread(descriptor, _PART_BYTES, 0)
    while part:
        part = os.pread(descriptor, _PART_BYTES, len(content))
        content += part
    return content


def _record(descriptor: int) -> bytes:
    """As `_whole`, of a file of one record: a short read is the end."""
    content = os.pread(descriptor, _PART_BYTES, 0)
    return content if len(content) < _PART_BYTES else _whole(descriptor)


def _start(descriptor: int) -> bytes:
    """As much of the file as any number fills, and then some. What holds one number, the kernel gives in one piece."""
    return os.pread(descriptor, _NUMBER_BYTES, 0)


def _unreadable(path: Path, error: OSError) -> HostError:
    reason = error.strerror or type(error).__name__
    return HostError(path, reason, _HINTS.get(error.errno or 0, ""))
