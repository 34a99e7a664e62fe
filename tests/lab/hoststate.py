"""Keeps the host as it was: notes every knob that tests may touch, and restores them whatever happens.

A keeper process in a session of its own takes the snapshot and waits on a pipe. When the pipe's other end
closes, because the tests are done or because something killed them, it restores what has changed.
"""

import fcntl
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from .errors import LabError

# Knobs belong to the machine, so the note of their values does too. It outlives a keeper that is killed.
NOTE = Path("/run/kvmtune-lab-hoststate.json")
_WAIT_SECONDS = 1800.0
_RESTORE_SECONDS = 20.0  # killed guests give their pages back a little later

KSM = Path("/sys/kernel/mm/ksm")
_PATTERNS = (
    "/sys/devices/system/node/node*/hugepages/hugepages-*/nr_hugepages",
    "/sys/kernel/mm/hugepages/hugepages-*/nr_hugepages",
    "/sys/kernel/mm/hugepages/hugepages-*/nr_overcommit_hugepages",
    "/sys/kernel/mm/ksm/*",
    "/sys/kernel/mm/transparent_hugepage/*",
    "/sys/kernel/mm/transparent_hugepage/khugepaged/*",
    "/proc/sys/vm/*",
    "/proc/sys/kernel/task_delayacct",
)
_SUM_OF_NODES = re.compile(r"/sys/kernel/mm/hugepages/[^/]+/nr_hugepages")
# The pools' own files say it per size; these say it again for one size.
_DUPLICATES = {f"/proc/sys/vm/nr_{name}" for name in ("hugepages", "hugepages_mempolicy", "overcommit_hugepages")}
# Two faces of one knob: writing one sets the other to 0, and a 0 cannot be written to all of them.
_TWO_FACED = re.compile(r"/proc/sys/vm/(dirty(_background)?_(bytes|ratio)|overcommit_(kbytes|ratio))")
# The kernel takes these (EBUSY otherwise) only while no page is shared.
_WANT_NOTHING_SHARED = {f"{KSM}/merge_across_nodes", f"{KSM}/max_page_sharing"}
_ADVISOR = f"{KSM}/advisor_mode"
_RATE = f"{KSM}/pages_to_scan"
_RUN = f"{KSM}/run"

State = Mapping[str, str]  # path of a knob -> its value, as it is written


def read() -> dict[str, str]:
    """Values of all knobs that can be written and read, hugepage pools first."""
    return {str(path): _value(path) for path in _knobs() if _value(path)}


def changes(before: State, now: State) -> list[tuple[str, str]]:
    """The (path, value) writes that lead from `now` back to `before`, in an order the kernel accepts."""
    differing = {
        path: value
        for path, value in before.items()
        if now.get(path) != value
        and not (value == "0" and _TWO_FACED.fullmatch(path))
        and not (path == _RATE and before.get(_ADVISOR) == "scan-time")  # the advisor sets the rate itself
    }
    others = [(path, value) for path, value in differing.items() if not path.startswith(f"{KSM}/")]
    if len(others) == len(differing):
        return others
    ends = [(path, before[path]) for path in (_ADVISOR, _RUN) if path in before]
    ksm = [
        (path, value) for path, value in differing.items() if path.startswith(f"{KSM}/") and (path, value) not in ends
    ]
    unmerge = [(_RUN, "2")] if _WANT_NOTHING_SHARED & differing.keys() else []
    unadvise = [(_ADVISOR, "none")] if _ADVISOR in before else []  # it refuses the rate (EINVAL) while it is on
    return [*others, *unmerge, *unadvise, *ksm, *ends]


def restore(before: State) -> list[str]:
    """Write back what differs from `before`; gives one line for each knob that would not return."""
    deadline = time.monotonic() + _RESTORE_SECONDS
    while True:
        problems: dict[str, str] = {}
        for path, value in changes(before, read()):
            try:
                Path(path).write_text(value)
            except OSError as error:
                problems[path] = f": {error.strerror}"
        now = read()
        left = [path for path, _ in changes(before, now) if now.get(path) != before[path]]
        if not left or time.monotonic() > deadline:
            return [f"{path} is {now.get(path)}, was {before[path]}{problems.get(path, '')}" for path in left]
        time.sleep(0.5)


def ksm(name: str) -> int:
    """A figure of /sys/kernel/mm/ksm; 0 in a kernel that does not have it."""
    path = KSM / name
    return int(path.read_text()) if path.exists() else 0


@contextmanager
def kept(note: Path = NOTE) -> Iterator[None]:
    """Every knob has at the end the value that it had at the start, also when this process is killed.

    One keeper at a time has `note`, so test runs on one machine wait for each other; a LabError ends a long wait.
    """
    keeper = subprocess.Popen(
        (sys.executable, "-m", "tests.lab.hoststate", str(note)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # what ends the tests must not reach it
        cwd=Path(__file__).parents[2],
    )
    assert keeper.stdout
    if keeper.stdout.readline() != "kept\n":
        raise LabError(f"the host's state is not kept: {keeper.communicate()[1].strip()}")
    try:
        yield
    finally:
        _, complaint = keeper.communicate()
        if keeper.returncode != 0:
            raise LabError(f"the host is not as it was:\n{complaint.strip()}")


def _keep(path: Path) -> int:
    """The keeper process: note, tell, wait for the end of standard input, restore."""
    note = _locked(path)
    if not note:
        print(f"other lab tests run on this machine, for {_WAIT_SECONDS / 60:g} minutes already", file=sys.stderr)
        return 1
    with note:
        before = _noted(note)
        print("kept", flush=True)
        sys.stdin.read()
        left = restore(before)
        path.unlink(missing_ok=True)
    for line in left:
        print(line, file=sys.stderr)
    return 1 if left else 0


def _locked(path: Path) -> TextIO | None:
    """The file, when no other keeper has it any more; None when that takes too long."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        note = path.open("a+")
        with suppress(BlockingIOError):
            fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.samefile(f"/proc/self/fd/{note.fileno()}"):  # not one that was just removed
                return note
        note.close()
        time.sleep(0.5)
    return None


def _noted(note: TextIO) -> dict[str, str]:
    """The state to go back to: the one of an earlier keeper that was killed before it could, else today's."""
    note.seek(0)
    text = note.read()
    if text:
        before: dict[str, str] = json.loads(text)
        restore(before)
        return before
    before = read()
    note.write(json.dumps(before))
    note.flush()
    return before


def _knobs() -> list[Path]:
    found = [path for pattern in _PATTERNS for path in sorted(Path("/").glob(pattern[1:]))]
    if any(str(path).startswith("/sys/devices/system/node/") for path in found):
        found = [path for path in found if not _SUM_OF_NODES.fullmatch(str(path))]
    return [path for path in found if str(path) not in _DUPLICATES and path.is_file() and _read_write(path)]


def _read_write(path: Path) -> bool:
    return path.stat().st_mode & 0o600 == 0o600


def _value(path: Path) -> str:
    text = path.read_text().strip()
    chosen = re.search(r"\[(\S+)\]", text)  # of "[none] scan-time", only the word in brackets can be written
    return chosen[1] if chosen else text


if __name__ == "__main__":
    sys.exit(_keep(Path(sys.argv[1])))
