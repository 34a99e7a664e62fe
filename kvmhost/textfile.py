"""Files that an operator gives to read: they may be anything, and none of them may keep us waiting."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from kvmhost.yamltree import InvalidConfig, Problem

MOST_BYTES = 2**22


def read(path: Path) -> tuple[bytes, int]:
    """What is in a regular file, and its mode; `OSError` if it is none, cannot be read or is longer than 4 MiB.

    A pipe would be waited for without end, and a device has none.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor has no path
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"longer than {MOST_BYTES // 2**20} MiB", str(path))
    return content, mode


def read_text(path: Path) -> str:
    """Its text; `OSError` as `read`, `UnicodeDecodeError` if it is not UTF-8."""
    return read(path)[0].decode()


def read_config(path: Path) -> str:
    """Its text; `InvalidConfig` if it cannot be read."""
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InvalidConfig([Problem(str(path), 1, 1, f"cannot be read: {reason}")]) from None
