"""The only reader of /proc and /sys, below a root: a directory of files can stand in for a host."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from pathlib import Path

# The widest number in procfs and sysfs is a 64-bit one: longer digits are damage, not data.
_INTEGER = re.compile(r"-?[0-9]{1,20}")

# What the kernel answers for something that is not there: no file, no process any more (ESRCH, from an open
# /proc/PID file), or a feature that is switched off (EOPNOTSUPP, /proc/pressure with psi=0).
_ABSENT = frozenset({errno.ENOENT, errno.ESRCH, errno.EOPNOTSUPP})

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

    def __init__(self, root: Path | str = "/") -> None:
        self.root = Path(root)

    def text(self, path: str) -> str | None:
        """The whole file, or None if it is absent. `HostError` if it is there and cannot be read."""
        content = self.content(path)
        return None if content is None else content.decode("utf-8", "replace")

    def content(self, path: str) -> bytes | None:
        """The bytes of the file, or None if it is absent. `HostError` if it is there and cannot be read."""
        file = self.root / path
        try:
            return file.read_bytes()
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise _unreadable(file, error) from error

    def integer(self, path: str) -> int | None:
        """The signed whole number that is the file's only content, or None if the file is absent.

        `HostError` if the file cannot be read or holds anything else.
        """
        text = self.text(path)
        if text is None:
            return None
        if _INTEGER.fullmatch(text.strip()) is None:
            raise self.malformed(path, "a whole number", text)
        return int(text)

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

    def names(self, path: str) -> tuple[str, ...]:
        """The names in a directory, sorted; () if it is absent. `HostError` if it cannot be listed."""
        directory = self.root / path
        try:
            return tuple(sorted(entry.name for entry in directory.iterdir()))
        except OSError as error:
            if error.errno in _ABSENT:
                return ()
            raise _unreadable(directory, error) from error

    def malformed(self, path: str, expected: str, found: str) -> HostError:
        """The error to raise when `path` holds `found` (shown shortened) instead of `expected`."""
        return HostError(self.root / path, f"expected {expected}, found {found.strip()[:60]!r}")


def _unreadable(path: Path, error: OSError) -> HostError:
    reason = error.strerror or type(error).__name__
    return HostError(path, reason, _HINTS.get(error.errno or 0, ""))
