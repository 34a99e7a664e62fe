"""The commands of `kvmtune-actuator`: a module each, which says what its flags mean and does it."""

from __future__ import annotations

import argparse

from actuator.commands import (
    check,
    explain,
    init,
    pause,
    promqltest,
    query,
    record,
    release,
    replay,
    restore,
    run,
    schema,
    status,
    test,
    top,
)
from actuator.commands.flags import VERSION

_COMMANDS = (
    run,
    status,
    top,
    explain,
    pause,
    release,
    restore,
    init,
    check,
    test,
    query,
    record,
    replay,
    promqltest,
    schema,
)


def parser() -> argparse.ArgumentParser:
    """The whole command line; the parsed options' `command` is the function that does what was asked."""
    top = argparse.ArgumentParser(
        prog="kvmtune-actuator",
        description="Turns PromQL rules over a KVM host's metrics into bounded, verified, reversible changes of "
        "its knobs: KSM, balloons, hugepages, CPU affinity, tuned, sysctl. Without --apply it only says what it "
        "would do.",
        epilog="Exit status: 0 done, 1 failed, 2 bad input. Send SIGHUP to a running actuator to read its rules "
        "and its policy again; where these have errors, the last good ones stay in force.",
    )
    top.add_argument("--version", action="version", version=f"kvmtune-actuator {VERSION}")
    subparsers = top.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(subparsers)
    return top
