"""The golden /metrics page of every fixture host.

A fixture host is a directory below tests/hosts with the host's `proc` and `sys`, and `libvirt` if it has guests:
`stats.json`, the dict of getAllDomainStats by domain name, and of each domain NAME.xml and, if it is persistent,
NAME.persistent.xml. `tuned.json` is what tuned answers there. `expected.prom` is what the exporter shows of it.
`python -m tests.golden` writes all of these anew, actuator/lint/exported.txt, packaging/examples/tmpfiles.d, and of
docs/ metrics.md, knobs.md, actuator-metrics.md, flags.md, privileges.md and the schemas: read the diff before you commit it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from actuator.rules import schema
from exporter import page
from exporter.collectors import all_collectors
from exporter.exporter import Exporter
from exporter.scrape import Scrape, Tuning
from kvmhost import domainxml, guestdetails, tuned, tuners
from kvmhost.domains import Domain
from kvmhost.fs import HostFS
from kvmhost.guests import Guests, GuestsSample
from kvmhost.libvirt.messages import BUSY
from kvmhost.libvirt.snapshot import Snapshot
from kvmhost.tuned import Check, Profile, Tuned
from kvmhost.virt import domain_from
from kvmhost.virtconnection import Guest

HOSTS = tuple(sorted(path for path in (Path(__file__).parent / "hosts").iterdir() if path.is_dir()))

SCHEMAS = {file: Path(__file__).parents[1] / f"docs/{file}.schema.json" for file in schema.FILES}

# The unix time at which each fixture host is scraped, and shortly before it libvirt's newest answer.
NOW = 1_760_000_000.0
READ = NOW - 0.5

_RUN_DEPENDENT = re.compile(
    r"^((?:process_\w+|kvm_collector_duration_seconds|kvm_tuning_data_age_seconds|kvm_libvirt_\w+_total)(?:\{.*\})?) \S+$",
    re.MULTILINE,
)


def rendered(host: Path) -> str:
    """What the exporter serves for a fixture host, normalised."""
    return normalised(page.text(exporter_of(host).families(NOW, within_seconds=60)).decode())


def exporter_of(host: Path) -> Exporter:
    """The exporter of a fixture host."""
    fs = HostFS(host)

    def begin(now: float, guests: GuestsSample) -> Scrape:
        counted = guestdetails.GuestDetailsReader(fs).read(guests.guests)
        return Scrape(fs=fs, now=now, guests=guests, libvirt=snapshot(host), guest_details=counted, tuning=tuning(host))

    return Exporter(Guests(fs), begin, all_collectors(), version="0")


def normalised(text: str) -> str:
    """The page with all values set to 0 that differ from run to run."""
    return _RUN_DEPENDENT.sub(r"\1 0", text)


def snapshot(host: Path) -> Snapshot:
    """libvirt's newest answer on a fixture host; libvirt is down on one that has no guests."""
    stats_file = host / "libvirt/stats.json"
    if not stats_file.exists():
        return Snapshot(up=False)
    stats = json.loads(stats_file.read_text())
    domains = tuple(_domain(host / "libvirt", name, stats[name]) for name in sorted(stats))
    # Where libvirt is busy with another job, it leaves out what QEMU would have to be asked for.
    unread = {Guest(one.uuid, one.id, one.name): BUSY for one in domains if "balloon.rss" not in stats[one.name]}
    return Snapshot(up=True, read_seconds=READ, domains=domains, listed=len(domains), unread=unread)


def tuning(host: Path) -> Tuning:
    """What other tuners are on a fixture host; tuned does not run on one without its answers."""
    fs = HostFS(host)
    answers_file = host / "tuned.json"
    answers = json.loads(answers_file.read_text()) if answers_file.exists() else None
    profile = Profile(active=answers["active"], mode=answers["mode"]) if answers else tuned.configured(fs)
    check = Check(recommended=answers["recommended"], verified=answers["verified"]) if answers else None
    found = Tuned(up=bool(answers), profile=profile, check=check, ksm_masked=tuned.ksm_masked(fs))
    return Tuning(read_seconds=READ, tuners=tuners.running(fs), tuned=found if profile else None)


def _domain(directory: Path, name: str, stats: Mapping[str, object]) -> Domain:
    xml, persistent = (directory / f"{name}.xml").read_text(), directory / f"{name}.persistent.xml"
    domain = domain_from(stats, xml)
    return replace(
        domain,
        config=domainxml.parse(xml, persistent.read_text() if persistent.exists() else None),
        balloon=replace(domain.balloon, read_seconds=READ),
    )


if __name__ == "__main__":
    from tests import actuatordoc, flagsdoc, knobsdoc, metricsdoc, privilegesdoc

    logging.disable()  # what is damaged in the fixtures is no news
    for host in HOSTS:
        (host / "expected.prom").write_text(rendered(host))
    metricsdoc.PAGE.write_text(metricsdoc.written())
    for file, path in SCHEMAS.items():
        path.write_text(schema.text(file))
    metricsdoc.LIST.write_text(metricsdoc.listed())
    knobsdoc.PAGE.write_text(knobsdoc.written())
    actuatordoc.PAGE.write_text(actuatordoc.written())
    flagsdoc.PAGE.write_text(flagsdoc.written())
    privilegesdoc.PAGE.write_text(privilegesdoc.written())
    privilegesdoc.TMPFILES.write_text(privilegesdoc.tmpfiles())
