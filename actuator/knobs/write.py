"""The one way to write to /proc and /sys; as a program, writes that take long, in a process that may be lost.

As a program it is run by its path, for it imports nothing of ours, and so needs only 12 MiB.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ADVICE: Mapping[int, str] = {
    errno.EPERM: "the kernel or a security module refuses it, whatever the capabilities: look in the audit log",
    errno.EROFS: "it is mounted read-only here (a container?): run on the host",
    errno.ENOENT: "this kernel does not have it",
    errno.EINVAL: "the kernel does not take this value now",
    errno.EBUSY: "the kernel is not ready for this value now",
    errno.ENOMEM: "the kernel has not enough memory for it",
}
"""What the kernel's refusal of a write means, and the next step, where a knob does not know better."""

# How long a caller waits for a write that may take long, before it goes on without its end.
_PATIENCE_SECONDS = 1.0


class Write(NamedTuple):
    """`text` for the file `path`."""

    path: Path
    text: str


def put(path: Path | str, text: str) -> None:
    """One write(2) to a file that is there; `OSError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def explained(write: Write, number: int, advice: Mapping[int, str]) -> str:
    """What the errno of a failed write means, and the next step; `advice` goes before what holds for all files."""
    why = advice.get(number) or ADVICE.get(number, "see dmesg")
    return f"cannot write {write.text.strip()} to {write.path}: {os.strerror(number)}; {why}"


class Disposable:
    """Makes writes in a process of its own, which the kernel may end, and which goes on when we end.

    A write of 2 to KSM's `run` makes the writer the first victim of the OOM killer (set_current_oom_origin, mm/ksm.c),
    and both that and the growth of a hugepage pool last as long as they need to.
    """

    def __init__(self, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._running: subprocess.Popen[str] | None = None

    @property
    def is_active(self) -> bool:
        """Whether the last writes are still being made."""
        if self._running is not None and self._running.poll() is not None:
            self._running.communicate()  # closes the pipe
            self._running = None
        return self._running is not None

    def make(self, writes: Sequence[Write], finally_: Sequence[Write], advice: Mapping[int, str]) -> str:
        """Make `writes` one after another until one fails, and `finally_` in any case; returns what went wrong.

        Does not wait for longer than its patience: what goes wrong later shows in the values.
        """
        if self.is_active:
            return "earlier writes are still being made: wait for their end"
        flat = [[(str(write.path), write.text) for write in group] for group in (writes, finally_)]
        command = (sys.executable, "-I", "-S", __file__, json.dumps(flat))
        try:
            process = subprocess.Popen(  # noqa: S603 - this file, no shell
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        except OSError as error:
            return f"cannot start a process for a write: {error.strerror}"
        try:
            told, _ = process.communicate(timeout=self._patience_seconds)
        except subprocess.TimeoutExpired:
            self._running = process
            return ""
        if told:
            index, number = json.loads(told)
            return explained([*writes, *finally_][index], number, advice)
        return "" if process.returncode == 0 else "the kernel has ended the process that wrote (out of memory?)"


def _main(text: str) -> int:
    with contextlib.suppress(OSError):
        put("/proc/self/oom_score_adj", "1000")  # what is lost with this process can be done again
    writes, last = json.loads(text)
    failure: tuple[int, int] | None = None
    for index, (path, value) in enumerate([*writes, *last]):
        if failure and index < len(writes):
            continue
        try:
            put(path, value)
        except OSError as error:
            failure = failure or (index, error.errno or 0)
    if failure:
        with contextlib.suppress(OSError):  # who asked may have ended
            print(json.dumps(failure), flush=True)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
