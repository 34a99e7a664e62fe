"""Mergeable memory: processes that hold pages which are equal, empty, their own, or never the same for long.

As a program, it is one such process: `python -m benchmarks.policies.ksm_load JSON`, with a list of `Part`s. It
says `ready` once its memory is filled, and ends when its standard input does. A line `rewrite SEED` there gives its
equal pages the content of another seed, as a guest does that installs an update.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

MIB = 2**20
PAGE_BYTES = mmap.PAGESIZE
_VOLATILE_SECONDS = 0.1

Kind = Literal["zero", "equal", "own", "volatile"]


@dataclass(frozen=True)
class Part:
    """So much memory of one kind; `equal` is the same in all parts with this seed, and no two pages of it are."""

    kind: Kind
    mib: int
    seed: int = 0


class Process:
    """A process that holds memory from the moment it is made until `end`."""

    def __init__(self, parts: Sequence[Part]) -> None:
        command = (sys.executable, "-m", __name__, json.dumps([asdict(part) for part in parts]))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.size_bytes = sum(part.mib for part in parts) * MIB

    def wait_ready(self) -> None:
        """Return once its memory is filled."""
        assert self._process.stdout
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("a process with mergeable memory did not get ready")

    def rewrite(self, seed: int) -> None:
        """Give its equal pages other contents."""
        assert self._process.stdin
        self._process.stdin.write(f"rewrite {seed}\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Give its memory back."""
        self._process.communicate()


def _content(part: Part, seed: int) -> bytes:
    size_bytes = part.mib * MIB
    if part.kind == "zero":
        return bytes(size_bytes)
    return random.Random(seed).randbytes(size_bytes) if part.kind == "equal" else os.urandom(size_bytes)


def _filled(part: Part) -> mmap.mmap:
    memory = mmap.mmap(-1, part.mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)  # a huge page counts as one until ksmd splits it
    memory[:] = _content(part, part.seed)
    memory.madvise(mmap.MADV_MERGEABLE)
    return memory


def _hold(parts: Sequence[Part]) -> None:
    held = [(part, _filled(part)) for part in parts]
    print("ready", flush=True)
    volatile = [memory for part, memory in held if part.kind == "volatile"]
    for turn in range(2**62):
        if select.select([sys.stdin], [], [], _VOLATILE_SECONDS if volatile else None)[0]:
            line = sys.stdin.readline()
            if not line:
                return
            for part, memory in held:
                if part.kind == "equal":
                    memory[:] = _content(part, int(line.split()[1]))
        for memory in volatile:
            for page in range(0, len(memory), PAGE_BYTES):
                memory[page : page + 8] = turn.to_bytes(8, "little")


if __name__ == "__main__":
    _hold([Part(**part) for part in json.loads(sys.argv[1])])
