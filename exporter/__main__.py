"""The command `kvmtune-exporter`. Exit status: 0 stopped, 1 cannot listen, 2 bad input."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext

from exporter import logs, preflight, runtime
from exporter.arguments import VERSION, collectors, parsed
from exporter.background import Background
from exporter.exporter import Exporter
from exporter.pages import Pages
from exporter.scrape import Scrape
from exporter.tuning_reader import TuningReader
from kvmhost import guestdetails
from kvmhost.dbus import Bus, system_bus
from kvmhost.fs import HostFS
from kvmhost.guests import Guests, GuestsSample
from kvmhost.libvirt.messages import Settings
from kvmhost.libvirt.reader import LibvirtReader
from kvmhost.yamltree import InvalidConfig
from kvmweb.server import WebError, serve

OK, FAILED, BAD_INPUT = 0, 1, 2

_GUEST_DETAILS_SECONDS = 5.0
_TUNING_SECONDS = 30.0
# How long `/-/ready` waits for libvirt, without which there is much to show, too.
_LIBVIRT_PATIENCE_SECONDS = 5.0
_STOP = (signal.SIGINT, signal.SIGTERM)

log = logging.getLogger("kvmtune-exporter")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit status."""
    options = parsed(arguments)
    # Blocked before any thread starts, that of the log included, so that sigwait below is the only one to get them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    logs.to_standard_error()
    fs = HostFS(options.path_rootfs, most_kept=runtime.tune())
    reader = LibvirtReader(
        Settings(
            uri=options.libvirt_uri,
            rootfs=options.path_rootfs,
            interval_seconds=options.libvirt_interval,
            stats_interval_seconds=options.libvirt_stats_interval,
        ),
        max_age_seconds=options.libvirt_max_age,
    )

    started = time.monotonic()
    guests = Guests(fs)
    guests.sample(time.time(), within_seconds=options.web_scrape_timeout)  # the first look takes the longest
    details = guestdetails.GuestDetailsReader(fs)
    guest_details = Background(
        "details of guests",
        lambda: details.read(guests.newest),
        interval_seconds=_GUEST_DETAILS_SECONDS,
        max_age_seconds=6 * _GUEST_DETAILS_SECONDS,
        clock=time.time,
    )

    bus = Bus(system_bus(os.environ, options.path_rootfs))
    tuning = Background(
        "other tuners",
        TuningReader(fs, bus, check_seconds=options.tuned_check_interval, clock=time.time).read,
        interval_seconds=_TUNING_SECONDS,
        max_age_seconds=6 * _TUNING_SECONDS,
        clock=time.time,
    )

    def begin(now: float, found: GuestsSample) -> Scrape:
        return Scrape(
            fs=fs,
            now=now,
            guests=found,
            libvirt=reader.snapshot(now),
            guest_details=guest_details.newest(now) or {},
            tuning=tuning.newest(now),
        )

    def waits_for() -> str | None:
        is_heard = reader.snapshot(time.time()).read_seconds is not None
        is_late = time.monotonic() > started + _LIBVIRT_PATIENCE_SECONDS
        return None if is_heard or is_late else "libvirt has not answered yet"

    exporter = Exporter(guests, begin, collectors(options), VERSION)
    pages = Pages(
        lambda within_seconds: exporter.families(time.time(), within_seconds=within_seconds),
        deadline_seconds=options.web_scrape_timeout,
    )
    summary = "What is true of this KVM host and its guests: memory, KSM, balloons, vCPU placement."
    try:
        with (
            serve(
                options.web,
                pages.render,
                title="kvmtune-exporter",
                version=VERSION,
                summary=summary,
                ready=waits_for,
            ) as urls,
            reader,
            guest_details,
            tuning if options.collector_tuning else nullcontext(),
            closing(bus),  # first of all: tuning may wait for an answer
        ):
            print(f"kvmtune-exporter {VERSION}, metrics on {', '.join(f'{url}metrics' for url in urls)}", flush=True)
            for line in preflight.missing(fs):
                log.warning("%s", line)
            signal.sigwait(_STOP)
    except InvalidConfig as error:
        print(f"{error}\nproblems: {len(error.problems)}; nothing is served", file=sys.stderr)
        return BAD_INPUT
    except WebError as error:
        print(f"kvmtune-exporter: {error}", file=sys.stderr)
        return FAILED
    return OK


if __name__ == "__main__":
    sys.exit(main())
