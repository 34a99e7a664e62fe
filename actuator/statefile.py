"""Files of the state directory that tell of the actuator and on which nothing depends: they never stop its loop."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger("kvmtune-actuator")

OF_ROOT = Path("/var/lib/kvmtune")
"""Where they are by default, when root runs the actuator."""


class Tolerant:
    """Attempts to write a file, of which the first that fails and the first that succeeds again are logged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fails = False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around a write: an `OSError` ends here."""
        try:
            yield
        except OSError as error:
            if not self._fails:
                log.warning(
                    "%s cannot be written: %s; the rules go on without it (--state-dir names another place)",
                    self._path,
                    error.strerror or error,
                )
            self._fails = True
        else:
            if self._fails:
                log.info("%s is written again", self._path)
            self._fails = False


def replace(path: Path, content: bytes) -> None:
    """Replace the whole file, so that no reader ever sees a part of it; `OSError` if that fails.

    Other than `files.replace`, it does not wait for the disk. On a full one, the old file is written over, or else left
    empty: what it told is over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)  # one that somebody has put there may lead anywhere
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb") as file:
            file.write(content)
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        if not (is_full(error) and path.exists()):
            raise
        _write_over(path, content)


def _write_over(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with os.fdopen(descriptor, "r+b", closefd=False) as file:
            file.write(content)
            file.truncate()
    except OSError:
        os.ftruncate(descriptor, 0)
        raise
    finally:
        os.close(descriptor)


def is_full(error: OSError) -> bool:
    """Whether it is for lack of room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cannot(do: str, path: Path, error: OSError) -> str:
    """What a command cannot do with a file, and the next step."""
    return f"cannot {do} {path}: {error.strerror}; {hint(error)}"


def hint(error: OSError) -> str:
    """What helps where a file of the state directory cannot be read or written."""
    if is_full(error):
        return "make room there"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "run as root or the actuator's user, or give its --state-dir"
    return "give another --state-dir"
