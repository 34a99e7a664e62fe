"""The command line of `kvmtune-exporter`: every flag, with what it means."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from kvmhost.units import duration_seconds
from kvmhost.virt import SYSTEM_URI
from kvmweb.arguments import address, checked

VERSION = version("kvmtune")

_DESCRIPTION = """\
Publishes what is true of a KVM host and its guests, for Prometheus to scrape:
KSM, hugepages, memory, pressure, balloons, vCPU times and placement.

It only reads, needs no root, and never makes a scrape wait for libvirt, which
it asks in the background. What cannot be read is absent, never zero; the log
says once what is missing and how to get it.
"""

_EPILOG = """\
Durations are written 500ms, 15s or 1m30s.

Try it:
  kvmtune-exporter &
  curl -s http://127.0.0.1:9752/metrics | grep ksm

Exit status: 0 stopped by SIGINT or SIGTERM, 1 cannot listen, 2 bad input.
"""


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, None being those of this process; exits with status 2 if they are refused."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.libvirt_max_age <= options.libvirt_interval:
        parser.error("--libvirt.max-age must be more than --libvirt.interval, or there is mostly nothing to show")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kvmtune-exporter",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"kvmtune-exporter {VERSION}")
    parser.add_argument(
        "--web.listen-address", dest="web_listen_address", type=checked(address), default="127.0.0.1:9752",
        metavar="ADDRESS", help="where to serve; :9752 is all addresses (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--path.rootfs", dest="path_rootfs", type=checked(_directory), default=Path("/"), metavar="DIR",
        help="where the host's /proc and /sys are, as when run in a container (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--libvirt.uri", dest="libvirt_uri", default=SYSTEM_URI, metavar="URI",
        help="libvirt connection, opened read-only (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--libvirt.interval", dest="libvirt_interval", type=checked(_pause_seconds), default=1.0,
        metavar="DURATION", help="pause between two reads of libvirt, in the background (default: 1s)",
    )  # fmt: skip
    parser.add_argument(
        "--libvirt.max-age", dest="libvirt_max_age", type=checked(duration_seconds), default=30.0,
        metavar="DURATION", help="libvirt's data is withheld when it is older than this (default: 30s)",
    )  # fmt: skip
    return parser


def _pause_seconds(text: str) -> float:
    seconds = duration_seconds(text)
    if seconds == 0:
        raise ValueError(f"{text!r} is no pause: libvirt would be asked without rest; use 100ms or more")
    return seconds


def _directory(text: str) -> Path:
    path = Path(text)
    if not text or not path.is_dir():
        raise ValueError(f"{text!r} is not a directory")
    return path
