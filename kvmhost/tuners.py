"""Other programs that turn the knobs that rules turn, by the names of their processes."""

from __future__ import annotations

from collections.abc import Sequence

from kvmhost import processes
from kvmhost.fs import HostError, HostFS

TUNERS = (
    "harvester-node-manager",  # Harvester: KSM
    "ksmtuned",  # KSM, also on Proxmox VE
    "momd",  # oVirt's Memory Overcommitment Manager, also as mom-vdsm: KSM, balloons
    "numad",  # CPU affinity, memory placement, khugepaged
    "pvestatd",  # Proxmox VE: balloons
    "tuned",  # sysctls, THP, KSM, by its profile
    "virt-handler",  # KubeVirt: KSM
)
"""Names of the programs. What each of them sets stands beside it."""

# Most are scripts. The kernel names the process after the script if that was started as a program, and after the
# interpreter if the script was its argument.
_INTERPRETERS = ("python", "bash", "sh", "perl")
# The kernel cuts names at 15 characters (TASK_COMM_LEN).
_CUT_OFF = frozenset(name[:15] for name in TUNERS if len(name) > 15)


def classify(comm: str, arguments: Sequence[str]) -> str | None:
    """Which of TUNERS a process is, by its name and its command line; None for none of them (pure)."""
    if comm in TUNERS:
        return comm
    if not may_need_arguments(comm):
        return None
    names = [argument.rpartition("/")[2] for argument in arguments if not argument.startswith("-")]
    # The program itself, or the script that it runs: what follows are files that anyone may work on.
    return next((name for name in names[:2] if name in TUNERS), None)


def may_need_arguments(comm: str) -> bool:
    """Whether the name alone does not tell: it is an interpreter's, or that of one of TUNERS cut off (pure)."""
    return comm.startswith(_INTERPRETERS) or comm in _CUT_OFF


def running(fs: HostFS) -> frozenset[str] | None:
    """Those of TUNERS that run; None if /proc hides other users' processes. Costs one file for each process."""
    if processes.comm(fs, "proc/1") is None:
        return None
    found = (_tuner(fs, f"proc/{entry}") for entry in fs.names("proc") if entry.isdecimal())
    return frozenset(tuner for tuner in found if tuner)


def _tuner(fs: HostFS, path: str) -> str | None:
    comm = processes.comm(fs, path)
    if comm is None:
        return None
    try:
        # A process that is stuck can hang whoever reads its command line, but not who reads its name.
        command = fs.text(f"{path}/cmdline") if may_need_arguments(comm) else None
    except HostError:
        command = None
    return classify(comm, (command or "").split("\0"))
