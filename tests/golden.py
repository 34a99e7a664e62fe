"""The golden /metrics page of every fixture host.

A fixture host is a directory below tests/hosts with the host's `proc` and `sys`, and `libvirt` if it has guests:
one XML file per domain and `stats.json`, its dict of getAllDomainStats by domain name. `expected.prom` is what the
exporter shows of it. `python -m tests.golden` writes all of these anew: read the diff before you commit it.
"""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

from exporter.registry import registry
from exporter.scrape import Scrape, Snapshot
from kvmhost.fs import HostFS
from kvmhost.virt import domain_from
from kvmweb.server import serve

HOSTS = tuple(sorted(path for path in (Path(__file__).parent / "hosts").iterdir() if path.is_dir()))

# The unix time at which each fixture host is scraped, and shortly before it libvirt's newest answer.
NOW = 1_760_000_000.0
READ = NOW - 0.5

_RUN_DEPENDENT = re.compile(
    r"^((?:process_\w+|kvm_collector_duration_seconds)(?:\{.*\})?) \S+$",
    re.MULTILINE,
)


def rendered(host: Path) -> str:
    """What the exporter serves for a fixture host, normalised."""
    scrape = Scrape(fs=HostFS(host), now=NOW, libvirt=snapshot(host))
    metrics = registry(lambda: scrape, clock=lambda: 0.0, version="0")
    with (
        serve("127.0.0.1:0", metrics, title="kvmtune-exporter", version="0") as url,
        urllib.request.urlopen(f"{url}metrics", timeout=10) as response,
    ):
        page: str = response.read().decode()
    return normalised(page)


def normalised(page: str) -> str:
    """The page with all values set to 0 that differ from run to run."""
    return _RUN_DEPENDENT.sub(r"\1 0", page)


def snapshot(host: Path) -> Snapshot:
    """libvirt's newest answer on a fixture host; libvirt is down on one that has no guests."""
    stats_file = host / "libvirt/stats.json"
    if not stats_file.exists():
        return Snapshot(up=False)
    stats = json.loads(stats_file.read_text())
    domains = tuple(domain_from(stats[name], (host / f"libvirt/{name}.xml").read_text()) for name in sorted(stats))
    return Snapshot(up=True, read_seconds=READ, domains=domains)


if __name__ == "__main__":
    for host in HOSTS:
        (host / "expected.prom").write_text(rendered(host))
