"""The actuator protects itself on a host that is short of memory: it is what gives memory back."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
from pathlib import Path

log = logging.getLogger("kvmtune-actuator")

OOM_SCORE_ADJ = Path("/proc/self/oom_score_adj")
_SCORE = -900  # as that of virtlogd; at -1000 nothing could end us
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK = 14


class ProtectionError(Exception):
    """What was asked for is not allowed to this user; says what would allow it."""


def spare_from_oom_killer(file: Path = OOM_SCORE_ADJ) -> None:
    """Have the kernel choose others first when memory is exhausted, as far as it lets us."""
    try:
        if int(file.read_text()) > _SCORE:
            file.write_text(f"{_SCORE}\n")
    except OSError as error:
        log.debug(
            "the OOM killer does not spare us: %s: %s; OOMScoreAdjust=%d in the unit does it without a capability",
            file, error.strerror, _SCORE,
        )  # fmt: skip


def lock_memory() -> None:
    """Keep in memory what we have used of it, and will use. `ProtectionError`.

    A finite RLIMIT_MEMLOCK that suffices now would let a later allocation fail, in the middle of a tick.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    elif not _may_lock():
        limit = f"RLIMIT_MEMLOCK is {hard // 1024} KiB"
        raise ProtectionError(
            f"--mlockall: {limit}: set LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited, or grant CAP_IPC_LOCK"
        )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        raise ProtectionError(f"--mlockall: {os.strerror(ctypes.get_errno())}")


def _may_lock() -> bool:
    status = Path("/proc/self/status").read_text()
    (effective,) = (line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_IPC_LOCK & 1)
