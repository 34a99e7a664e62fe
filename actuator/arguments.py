"""The command line of `kvmtune-actuator`: every command and flag, with what it means."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from actuator import policy
from kvmhost.units import duration_seconds
from kvmweb.arguments import address, checked

VERSION = version("kvmtune")

Command = Callable[[argparse.Namespace], int]


def parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """The parser; the parsed options' `command` is the function of `commands` (run, check, restore) that was asked."""
    top = argparse.ArgumentParser(
        prog="kvmtune-actuator",
        description="Turns PromQL rules over a KVM host's metrics into bounded, verified, reversible changes of "
        "its knobs: KSM, balloons, vCPU affinity. Without --apply it only says what it would do.",
        epilog="Exit status: 0 done, 1 failed, 2 bad input. Send SIGHUP to a running actuator to read its rules "
        "again; rules with errors are refused and the last good ones stay in force.",
    )
    top.add_argument("--version", action="version", version=f"kvmtune-actuator {VERSION}")
    subparsers = top.add_subparsers(required=True, metavar="COMMAND")
    _add_run(subparsers, commands["run"])
    check = subparsers.add_parser("check", help="check rule files and the policy; names every error at once")
    check.add_argument("rules", nargs="+", type=Path, help="rule files or directories of *.yml")
    _add_policy(check)
    check.set_defaults(command=commands["check"])
    restore = subparsers.add_parser(
        "restore",
        help="put back every value that was changed, as after a crash",
        description="Puts back every value that the ledger says we changed and that is still what we wrote. A value "
        "that someone else has changed since is left alone and named.",
    )
    _add_host(restore)
    restore.set_defaults(command=commands["restore"])
    return top


def _add_run(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], command: Command) -> None:
    run = subparsers.add_parser(
        "run",
        help="evaluate the rules until stopped (a dry run without --apply)",
        description="Scrapes the exporter, evaluates the rules at each interval and prints a line for each decision.",
    )
    run.add_argument("--apply", action="store_true", help="write to the host; without it, only say what would be done")
    run.add_argument(
        "--rules", nargs="+", type=Path, default=[Path("/etc/kvmtune/rules")], metavar="PATH",
        help="rule files or directories of *.yml (default: /etc/kvmtune/rules)",
    )  # fmt: skip
    _add_policy(run)
    run.add_argument(
        "--scrape.url", dest="scrape_url", default="http://127.0.0.1:9752/metrics", metavar="URL",
        help="the exporter's metrics (default: %(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--interval",
        type=checked(duration_seconds),
        default=5.0,
        metavar="DURATION",
        help="time between two ticks (default: 5s)",
    )
    run.add_argument(
        "--web.listen-address", dest="web_listen_address", type=checked(address), default="127.0.0.1:9753",
        metavar="ADDRESS", help="where to serve the actuator's own metrics (default: %(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--on-stop", choices=("restore", "keep"), default="restore",
        help="what becomes of changed values at a clean stop (default: %(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--drift-backoff", type=checked(duration_seconds), default=600.0, metavar="DURATION",
        help="how long to leave a value alone that someone else has changed (default: 10m)",
    )  # fmt: skip
    run.add_argument("-v", "--verbose", action="store_true", help="also print decisions that changed nothing")
    _add_host(run)
    run.set_defaults(command=command)


def _add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy", type=Path, default=policy.DEFAULT_PATH, metavar="FILE",
        help="limits that no rule can exceed, and promises to guests (default: the shipped %(default)s)",
    )  # fmt: skip


def _add_host(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir", type=Path, default=_default_state_dir(), metavar="DIR",
        help="where the ledger of changes is kept (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--libvirt.uri", dest="libvirt_uri", metavar="URI", help="libvirt connection (default: qemu:///system)"
    )
    parser.add_argument(
        "--path.rootfs", dest="path_rootfs", type=Path, default=Path("/"), metavar="DIR",
        help="where the host's /proc and /sys are (default: %(default)s)",
    )  # fmt: skip


def _default_state_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/kvmtune")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "kvmtune"
