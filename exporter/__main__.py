"""The command `kvmtune-exporter`. Exit status: 0 stopped, 1 cannot listen, 2 bad input."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Sequence

from exporter import preflight
from exporter.arguments import VERSION, parsed
from exporter.libvirt_reader import LibvirtReader
from exporter.registry import registry
from exporter.scrape import Scrape
from kvmhost.fs import HostFS
from kvmhost.virtprocess import VirtProcess
from kvmweb.server import WebError, serve

OK, FAILED = 0, 1

_STOP = (signal.SIGINT, signal.SIGTERM)

log = logging.getLogger("kvmtune-exporter")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit status."""
    options = parsed(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    # Blocked before any thread starts, so that sigwait below is the only one to get them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    fs = HostFS(options.path_rootfs)
    reader = LibvirtReader(
        VirtProcess(options.libvirt_uri, readonly=True),
        interval_seconds=options.libvirt_interval,
        max_age_seconds=options.libvirt_max_age,
        clock=time.time,
    )

    def begin() -> Scrape:
        now = time.time()
        return Scrape(fs=fs, now=now, libvirt=reader.snapshot(now))

    metrics = registry(begin, time.monotonic, VERSION)
    summary = "What is true of this KVM host and its guests: memory, KSM, balloons, vCPU placement."
    try:
        with (
            serve(
                options.web_listen_address, metrics, title="kvmtune-exporter", version=VERSION, summary=summary
            ) as url,
            reader,
        ):
            print(f"kvmtune-exporter {VERSION}, metrics on {url}metrics", flush=True)
            for line in preflight.missing(fs):
                log.warning("%s", line)
            signal.sigwait(_STOP)
    except WebError as error:
        print(f"kvmtune-exporter: {error}", file=sys.stderr)
        return FAILED
    return OK


if __name__ == "__main__":
    sys.exit(main())
