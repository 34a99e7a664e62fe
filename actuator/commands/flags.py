"""Flags that several commands of `kvmtune-actuator` have, and what they mean."""

from __future__ import annotations

import argparse
import os
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from actuator import statefile
from actuator.data.httpclient import parse_url
from actuator.data.server import EXAMPLE_URL
from actuator.rules import defaults
from kvmhost.units import duration_seconds
from kvmweb.arguments import checked

VERSION = version("kvmtune")

OK, FAILED, BAD_INPUT = 0, 1, 2
"""Exit statuses."""

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

DEFAULT_RULES = defaults.in_force(defaults.RULES)
RULES_HELP = f"(default: {defaults.CONFIG / defaults.RULES}, or the shipped ones if that is not there)"

_FILE = """\
What {who} stands in a file in the format
of Prometheus' http_config:

  basic_auth: {{username: kvmtune, password_file: password}}
  tls_config: {{ca_file: ca.pem}}

docs/promql.md shows all of it.
"""
_DATA = """\
The actuator scrapes the exporter itself and evaluates PromQL in memory, or it
asks a server (--query.url). """ + _FILE.format(who="either demands")

Flags: TypeAlias = "argparse._ActionsContainer"


def add_data(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Where the data come from: an exporter, or a server."""
    data = parser.add_argument_group("data", _DATA)
    where = data.add_mutually_exclusive_group()
    _add_scrape_url(where)
    add_query_url(where)
    _add_scrape_config(data)
    add_query_config(data, "all queries of a tick", "5s")
    return data


def add_scrape(parser: argparse.ArgumentParser) -> None:
    """The exporter that the data come from."""
    data = parser.add_argument_group("data", _FILE.format(who="the exporter demands"))
    _add_scrape_url(data)
    _add_scrape_config(data)


def _add_scrape_url(flags: Flags) -> None:
    flags.add_argument(
        "--scrape.url", dest="scrape_url", default="http://127.0.0.1:9752/metrics", metavar="URL",
        help="the exporter's metrics (default: %(default)s)",
    )  # fmt: skip


def _add_scrape_config(flags: Flags) -> None:
    flags.add_argument(
        "--scrape.config.file", dest="scrape_config_file", type=Path, metavar="FILE",
        help="password, token, headers and TLS for the exporter",
    )  # fmt: skip


def add_query_url(flags: Flags) -> None:
    """The server that the data come from."""
    flags.add_argument(
        "--query.url", dest="query_url", type=checked(server_url), metavar="URL",
        help="a Prometheus server, or one with its HTTP API (Thanos, Mimir); /api/v1/query follows its path",
    )  # fmt: skip


def add_query_config(flags: Flags, what: str, timeout: str) -> None:
    """How to reach it, and how long `what` may take together."""
    flags.add_argument(
        "--query.config.file", dest="query_config_file", type=Path, metavar="FILE",
        help="password, token, headers and TLS for the server",
    )  # fmt: skip
    flags.add_argument(
        "--query.timeout", dest="query_timeout", type=checked(positive_seconds), default=duration_seconds(timeout),
        metavar="DURATION", help=f"how long {what} may take together (default: {timeout})",
    )  # fmt: skip


def add_rules(parser: argparse.ArgumentParser) -> None:
    """The rules, and the policy that bounds them."""
    parser.add_argument(
        "--rules", nargs="+", type=Path, default=[DEFAULT_RULES], metavar="PATH",
        help=f"rule files or directories of *.yml {RULES_HELP}",
    )  # fmt: skip
    add_policy(parser)


def add_policy(parser: argparse.ArgumentParser) -> None:
    """The operator's limits."""
    parser.add_argument(
        "--policy", type=Path, default=defaults.in_force(defaults.POLICY), metavar="FILE",
        help="limits that no rule can exceed, and promises to guests "
        f"(default: {defaults.CONFIG / defaults.POLICY}, or the shipped one if that is not there)",
    )  # fmt: skip


def add_state(parser: argparse.ArgumentParser) -> None:
    """Where the actuator keeps what outlives it."""
    parser.add_argument(
        "--state-dir", type=checked(_directory), default=_default_state_dir(), metavar="DIR",
        help=f"where ledger, history, status and pause are kept (default: {statefile.OF_ROOT}; of others than root "
        "~/.local/state/kvmtune)",
    )  # fmt: skip


def add_host(parser: argparse.ArgumentParser, *, libvirt: str = "qemu:///system") -> None:
    """The host that is written to, and the state directory. `libvirt`: which one it is if the flag does not say."""
    add_state(parser)
    parser.add_argument(
        "--libvirt.uri", dest="libvirt_uri", metavar="URI", help=f"libvirt connection (default: {libvirt})"
    )
    parser.add_argument(
        "--path.rootfs", dest="path_rootfs", type=Path, default=Path("/"), metavar="DIR",
        help="where the host's /proc and /sys are (default: %(default)s)",
    )  # fmt: skip


def server_url(text: str) -> str:
    """The URL itself; `ValueError` if it is none."""
    parse_url(text, EXAMPLE_URL)
    return text


def positive_seconds(text: str) -> float:
    """A duration in seconds; `ValueError` if it is not one, or zero."""
    seconds = duration_seconds(text)
    if not seconds:
        raise ValueError(f"{text!r} is no time at all: write for instance 5s")
    return seconds


def _directory(text: str) -> Path:
    if not text:
        raise ValueError("it is empty: name a directory, or leave the flag out")
    return Path(text)


def _default_state_dir() -> Path:
    if os.geteuid() == 0:
        return statefile.OF_ROOT
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "kvmtune"
