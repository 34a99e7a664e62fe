"""`kvmtune-actuator restore`: puts back every value that was changed."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping

from actuator import daemon, knobs
from actuator.commands.flags import BAD_INPUT, FAILED, OK, Subparsers, add_host
from actuator.commands.terminal import say
from actuator.console.history import History
from actuator.decision import Decision, shown
from actuator.knobs import Knob, Libvirt, label
from actuator.ledger import ledger as ledgers
from actuator.ledger import lock
from actuator.ledger.dropins import DropIns
from actuator.ledger.ledger import Ledger
from actuator.ledger.records import Released
from actuator.restore import Restoration, Restorer
from kvmhost.fs import HostFS

# libvirt tells of a host's guests within a second; one that hangs is named by then.
_GUESTS_SECONDS = 10.0
_POLL_SECONDS = 0.05

log = logging.getLogger("kvmtune-actuator")


def add(subparsers: Subparsers) -> None:
    """`restore`."""
    parser = subparsers.add_parser(
        "restore",
        help="put back every value that was changed, as after a crash",
        description="Puts back every value that the ledger says we changed and that is still what we wrote. A value "
        "that someone else has changed since is left alone and named.",
        epilog="Exit status: 0 all is put back, 1 something is not, or damaged records leave that unknown, 2 there is "
        "no ledger in the state directory.",
    )
    add_host(parser, libvirt="that of the guests in the ledger, or qemu:///system")
    parser.add_argument(
        "--forget-guests",
        action="store_true",
        help="first forget what guests have to get back, as when their libvirt is gone for good; each is named",
    )
    parser.set_defaults(command=restore)


def restore(options: argparse.Namespace) -> int:
    """Put back what the ledger says we changed; returns the exit status."""
    if not (options.state_dir / ledgers.NAME).exists():
        print(f"there is no ledger in {options.state_dir}: --state-dir names that of the actuator", file=sys.stderr)
        return BAD_INPUT
    with (
        opened(options) as ledger,
        Libvirt(options.libvirt_uri or ledger.libvirt, options.path_rootfs, time.time, readonly=False) as libvirt,
    ):
        if options.forget_guests:
            forget_guests(ledger)
        ledger.connect(libvirt.uri)
        if ledger.owned_of_guests:
            await_guests(libvirt)
        on_host = knobs.connect(HostFS(options.path_rootfs), libvirt, time.time)
        status = put_back(on_host, ledger, History(options.state_dir, dry_run=False))
        if not ledger.doubts:
            return status
    print("damaged records are left: put back by hand what they tell of, and remove them", file=sys.stderr)
    return FAILED


def forget_guests(ledger: Ledger) -> None:
    """What guests have is not ours to put back any more; `LedgerError`."""
    for owned in ledger.owned_of_guests.values():
        ledger.append(Released(time=time.time(), knob=owned.knob, target=owned.target, reason="forgotten"))
        say(f"forgotten: {label(owned.target)} {owned.knob} was {shown(owned.knob, owned.original)}")


def await_guests(libvirt: Libvirt) -> None:
    """Until all that can be known of the guests is known."""
    deadline = time.monotonic() + _GUESTS_SECONDS
    while not libvirt.is_complete() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def opened(options: argparse.Namespace) -> Iterator[Ledger]:
    """The ledger, for the only one who writes to this host."""
    with (
        lock.host(options.path_rootfs),
        contextlib.closing(Ledger(options.state_dir, DropIns(options.path_rootfs))) as ledger,
    ):
        for doubt in ledger.doubts:
            log.warning("%s", doubt)
        yield ledger


def put_back(
    on_host: Mapping[str, Knob], ledger: Ledger, history: History, at_work: Callable[[], None] = lambda: None
) -> int:
    """The same, for an actuator that is about to end. `at_work` is called all along, every few seconds at least."""
    if not ledger.owned:
        say(f"nothing to restore: no value is {'known to be changed' if ledger.doubts else 'changed'}")
    clock = daemon.Clock()

    def sleep(seconds: float) -> None:
        at_work()
        time.sleep(seconds)

    def report(restoration: Restoration) -> None:
        at_work()
        _say(restoration)
        history.note(_decision(restoration, clock()))

    at_work()
    is_clean = Restorer(on_host, ledger, clock, sleep, report).run()
    if ledger.boot_problem:
        say(ledger.boot_problem)
    return OK if is_clean and not ledger.boot_problem else FAILED


def _say(restoration: Restoration) -> None:
    owned = restoration.owned
    detail = f" ({restoration.detail})" if restoration.detail else ""
    say(
        f"restore: {label(owned.target)} {owned.knob} {shown(owned.knob, owned.original)}: {restoration.result}{detail}"
    )


def _decision(restoration: Restoration, now: float) -> Decision:
    owned, is_done = restoration.owned, restoration.result in ("restored", "already there")
    return Decision(
        time=now,
        rule="restore",
        knob=owned.knob,
        target=owned.target,
        outcome="restored" if is_done else "not restored",
        after=owned.original if is_done else None,
        because="What we changed is put back.",
        detail="; ".join(part for part in (restoration.result, restoration.detail) if part and part != "restored"),
    )
