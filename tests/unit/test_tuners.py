"""Other tuners, by their processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvmhost import tuners
from tests.host import fixture, made_of


@pytest.mark.parametrize(
    ("comm", "command", "tuner"),
    [
        ("ksmtuned", "/bin/bash /usr/sbin/ksmtuned", "ksmtuned"),
        ("bash", "bash /usr/sbin/ksmtuned", "ksmtuned"),
        ("tuned", "/usr/bin/python3 -Es /usr/sbin/tuned -l -P", "tuned"),
        ("python3", "/usr/bin/python3 -Es /usr/sbin/tuned -l -P", "tuned"),
        ("momd", "/usr/bin/python3 /usr/sbin/momd -c /etc/vdsm/mom.conf", "momd"),
        ("numad", "/usr/bin/numad -i 15", "numad"),
        ("pvestatd", "pvestatd", "pvestatd"),
        ("virt-handler", "virt-handler --port 8443 --hostname-override node1", "virt-handler"),
        ("harvester-node-", "harvester-node-manager", "harvester-node-manager"),
        ("tuned-adm", "/usr/bin/python3 -Es /usr/sbin/tuned-adm verify", None),
        ("python3", "/usr/bin/python3 -m http.server tuned", None),
        ("vim", "vim /usr/sbin/ksmtuned", None),
        ("bash", "-bash", None),
        ("sh", "sh /root/edit /usr/sbin/ksmtuned", None),
        ("ksmd", "", None),
        ("", "", None),
    ],
)
def test_whose_process_it_is(comm: str, command: str, tuner: str | None) -> None:
    assert tuners.classify(comm, command.split(" ")) == tuner


@pytest.mark.parametrize(
    ("host", "running"),
    [
        ("ordinary", {"ksmtuned", "tuned"}),
        ("two-numa-nodes", {"tuned", "momd"}),
        ("old-kernel", set()),
        ("unreadable-files", set()),
    ],
)
def test_who_runs(host: str, running: set[str]) -> None:
    assert tuners.running(fixture(host)) == running


def test_a_proc_that_hides_other_users_tells_nothing(tmp_path: Path) -> None:
    fs = made_of(tmp_path, {"proc/42/comm": "numad\n", "proc/42/cmdline": "numad\0"})
    assert tuners.running(fs) is None


def test_the_command_line_of_a_guest_is_not_read(tmp_path: Path) -> None:
    """It may never come: a pipe in its place blocks who opens it, as /proc does for a process that is stuck."""
    fs = made_of(tmp_path, {"proc/1/comm": "systemd\n", "proc/20/comm": "qemu-system-x86\n"})
    os.mkfifo(tmp_path / "proc/20/cmdline")
    assert tuners.running(fs) == set()
