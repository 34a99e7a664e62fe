"""Files of our own on disk, written so that a crash at any point leaves the old one or the new one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def replace(path: Path, data: bytes, mode: int) -> int:
    """Put `data` on disk in place of what is there; `OSError`, and then the old file is as it was.

    Returns a descriptor of the new file, to read and to append to.
    """
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)  # whatever the umask
        write_all(descriptor, data)
        os.fsync(descriptor)
        new.rename(path)
    except OSError:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    flush_directory(path.parent)
    return descriptor


def flush_directory(path: Path) -> None:
    """Have a new name, or that one is gone, on disk. Where that fails there is nothing left to do."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """All of `data`, however little the kernel takes at a time."""
    while data:
        data = data[os.write(descriptor, data) :]
