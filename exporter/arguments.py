"""The command line of `kvmtune-exporter`: every flag, with what it means."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from exporter.collectors import all_collectors, descriptions
from exporter.scrape import Collect
from kvmhost.units import duration_seconds
from kvmhost.virt import SYSTEM_URI
from kvmweb.arguments import add_web_flags, checked, web_flags

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
    parser = command_line()
    options = parser.parse_args(arguments)
    if options.libvirt_stats_interval < options.libvirt_interval:
        parser.error("--libvirt.stats-interval must not be less than --libvirt.interval: nothing is read more often")
    if options.libvirt_max_age <= options.libvirt_stats_interval:
        parser.error("--libvirt.max-age must be more than --libvirt.stats-interval, or there is mostly nothing to show")
    options.web = web_flags(options)
    return options


def command_line() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="kvmtune-exporter",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"kvmtune-exporter {VERSION}")
    parser.add_argument(
        "--web.scrape-timeout", dest="web_scrape_timeout", type=checked(_pause_seconds), default=5.0,
        metavar="DURATION", help="what has not been read by then is left out of a scrape, so that it ends;"
        " Prometheus may ask for less (default: 5s)",
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
        metavar="DURATION", help="how often libvirt is asked, in the background, which domains there are and their"
        " states; costs no QEMU anything, and libvirtd about 0.05 ms of CPU a domain (default: 1s)",
    )  # fmt: skip
    parser.add_argument(
        "--libvirt.stats-interval", dest="libvirt_stats_interval", type=checked(_pause_seconds), default=5.0,
        metavar="DURATION", help="how often each domain's balloon is read, in the background; costs two QEMU monitor"
        " commands a domain, together about 2.5 ms of CPU of QEMU, libvirtd and exporter (default: 5s)",
    )  # fmt: skip
    parser.add_argument(
        "--libvirt.max-age", dest="libvirt_max_age", type=checked(duration_seconds), default=30.0,
        metavar="DURATION", help="what libvirt told is withheld when it is older than this, so that a domain that hangs"
        " or a libvirtd that is down shows as absent, not as standing still (default: 30s)",
    )  # fmt: skip
    parser.add_argument(
        "--tuned.check-interval", dest="tuned_check_interval", type=checked(duration_seconds), default=300.0,
        metavar="DURATION", help="how often to have tuned verify its profile and recommend one, which it writes to"
        " its log (default: 5m)",
    )  # fmt: skip
    add_web_flags(parser, "127.0.0.1:9752")
    group = parser.add_argument_group("collectors", "All are on; each can be switched off, as in --no-collector.thp.")
    for name, meaning in descriptions().items():
        group.add_argument(
            f"--collector.{name}", dest=f"collector_{name}", action=argparse.BooleanOptionalAction, default=True,
            help=meaning,
        )  # fmt: skip
    return parser


def collectors(options: argparse.Namespace) -> dict[str, Collect]:
    """The collectors that are on, by name."""
    return {name: collect for name, collect in all_collectors().items() if getattr(options, f"collector_{name}")}


def _pause_seconds(text: str) -> float:
    seconds = duration_seconds(text)
    if seconds == 0:
        raise ValueError(f"{text!r} is no pause: libvirt would be asked without rest; use 100ms or more")
    return seconds


def _directory(text: str) -> Path:
    path = Path(text)
    if not text or not path.is_dir():
        raise ValueError(f"{text!r} is not a directory")
    if not (path / "proc").is_dir():
        raise ValueError(f"{text!r} has no proc: give the directory where the host's / is mounted")
    return path
