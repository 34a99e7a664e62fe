"""Debian's own ksmtuned and rules/peers/ksmtuned.yml, side by side on the same hosts.

The script runs as it is in the package, in mount and PID namespaces of its own. Redirected there: /proc/meminfo, which says
what the test says; /sys/kernel/mm/ksm, which is a directory of plain files; and /etc, which has a ksmtuned.conf. The
script sources that, and so finds functions in it instead of `sleep` (it returns when the test wants), of `ps` (it tells
what the test says the guests hold) and of `pgrep` (it looks for the processes of today's QEMU, as docs/peers.md has it).
What the test starts as QEMU is a process that sleeps under its name.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.peers.actuator import Actuator, of_memory
from tests.peers.ksmpeers import Files, Memory

from . import packages
from .lab import CACHE, REPOSITORY

GIB = 2**20
"""In KiB."""

START = Files(run=0, pages_to_scan=100, sleep_millisecs=20)
NAMESPACE = r"""
mount --bind "$1/meminfo" /proc/meminfo
mount --bind "$1/ksm" /sys/kernel/mm/ksm
mkdir "$1/host"
mount --bind /etc "$1/host"
ln -s "$1"/host/alternatives "$1/etc/"  # awk is there
mount --bind "$1/etc" /etc
(exec -a /usr/bin/qemu-system-x86_64 sleep infinity) >/dev/null &
PIDFILE="$1/pid" bash "$2"
exec cat >/dev/null  # the namespace ends with the test
"""
CONFIGURATION = r"""
sleep() {{ echo asleep; read -r <&{go}; }}
ps() {{ cat {directory}/rsz; }}
"""


def corrected() -> str:
    """The line that docs/peers.md has for ksmtuned.conf."""
    (line,) = re.findall(r"^ *(pgrep\(\) .*)$", (REPOSITORY / "docs/peers.md").read_text(), re.M)
    return line


class Script:
    """ksmtuned at work: it adjusts when it is told to."""

    def __init__(self, directory: Path, process: subprocess.Popen[str], go: int) -> None:
        self._directory = directory
        self._process = process
        self._go = go

    def adjust(self, memory: Memory) -> Files:
        """What KSM's files hold after it has looked at a host."""
        show(self._directory, memory)
        os.write(self._go, b"\n")
        self.wait()
        return Files(*(int((self._directory / "ksm" / name).read_text()) for name in vars(START)))

    def wait(self) -> None:
        """Until it sleeps."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "asleep\n"


def show(directory: Path, memory: Memory) -> None:
    shown = of_memory(memory)
    lines = {
        "MemTotal": "total",
        "MemFree": "free",
        "MemAvailable": "available",
        "Buffers": "buffers",
        "Cached": "cached",
    }
    meminfo = [f"{name}: {int(shown[f'kvm_memory_{metric}_bytes']) // 1024} kB" for name, metric in lines.items()]
    (directory / "meminfo").write_text("\n".join([*meminfo, "SwapCached: 12345 kB", ""]))
    (directory / "rsz").write_text(f"{memory.rss}\n")


@contextmanager
def ksmtuned(directory: Path, memory: Memory, *more: str) -> Iterator[Script]:
    """The script on a host, with `more` lines in its configuration."""
    script = packages.unpacked("ksmtuned", CACHE) / "usr/sbin/ksmtuned"
    for name in ("ksm", "etc"):
        (directory / name).mkdir(parents=True)
    for name, value in vars(START).items():
        (directory / "ksm" / name).write_text(f"{value}\n")
    show(directory, memory)
    wait, go = os.pipe()
    own = "\n".join([CONFIGURATION.format(go=wait, directory=directory), *more, ""])
    (directory / "etc/ksmtuned.conf").write_text(own)
    unshare = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-euc", NAMESPACE)
    process = subprocess.Popen(
        [*unshare, "ksmtuned", directory, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[wait],
        text=True,
    )
    try:
        running = Script(directory, process, go)
        running.wait()
        yield running
    finally:
        process.kill()
        process.communicate()
        os.close(wait)
        os.close(go)


def a_day(total: int, seed: int, steps: int = 60) -> Iterator[Memory]:
    """A host whose memory moves about the script's thresholds."""
    generator = random.Random(seed)
    for _ in range(steps):
        free = int(total * generator.choice([generator.random(), generator.uniform(0.19, 0.21), 0.2]))
        rss = int(total * generator.choice([generator.random(), generator.uniform(0.79, 0.81), 0.8]))
        yield Memory(total, free, available=free, rss=rss, vsz=rss, anon=rss)


@pytest.mark.parametrize("total", [GIB + 7, 16 * GIB, 251 * GIB + 1])
def test_the_rules_decide_what_the_script_decides(total: int, tmp_path: Path) -> None:
    hosts = list(a_day(total, seed=total))
    with ksmtuned(tmp_path, hosts[0], corrected()) as script, Actuator("ksmtuned", START) as actuator:
        decided = []
        for minute, memory in enumerate(hosts):
            actuator.step(minute * 60, of_memory(memory))
            decided.append((script.adjust(memory), actuator.files))
        assert [one for one, _ in decided] == [other for _, other in decided]
        assert {files.run for files, _ in decided} == {0, 1}
        assert max(files.pages_to_scan for files, _ in decided) > 600


def test_as_debian_ships_it_it_sees_no_guests_of_libvirt(tmp_path: Path) -> None:
    """So they count as nothing that is committed, and KSM stands still until a fifth of the host is not even free."""
    full = Memory(16 * GIB, free=5 * GIB, available=5 * GIB, rss=14 * GIB, vsz=14 * GIB, anon=14 * GIB)
    with ksmtuned(tmp_path / "shipped", full) as script:
        assert script.adjust(full).run == 0
    with ksmtuned(tmp_path / "corrected", full, corrected()) as script:
        assert script.adjust(full).run == 1
