"""Files of the kernel that vanish while they are kept open: a device in a namespace of its own, unplugged for real."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .lab import REPOSITORY

_NAMESPACE = ("unshare", "--net", "--mount", "sh", "-c", 'mount -t sysfs sysfs /sys && exec "$@"', "sh")
# With the ioctls of bridges, linux/sockios.h, since a lab need not have the command ip.
_SCRIPT = """\
import fcntl, socket, struct
from kvmhost.fs import HostFS

ADD, SET_MTU, DELETE = 0x89A0, 0x8922, 0x89A1
fs, path = HostFS("/"), "sys/class/net/unplugged/mtu"
device = b"unplugged\\0"
with socket.socket() as to_kernel:
    print(fs.integer(path))
    for request, argument in (
        (ADD, device), (SET_MTU, struct.pack("16si16x", device, 1400)), (DELETE, device), (ADD, device),
    ):
        try:
            fcntl.ioctl(to_kernel, request, argument)
        except OSError as error:
            raise SystemExit(f"no bridges: {error}")
        print(fs.integer(path))
"""


def test_a_device_that_is_unplugged_is_absent_and_seen_again_when_it_is_back() -> None:
    run = subprocess.run(
        (*_NAMESPACE, sys.executable, "-c", _SCRIPT), cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if run.stderr.startswith("no bridges") and run.stdout.split() == ["None"]:
        pytest.skip(f"this kernel has {run.stderr}")
    assert (run.stdout.split(), run.stderr) == (["None", "1500", "1400", "None", "1500"], "")
