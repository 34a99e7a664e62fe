"""Samples and queries of `make bench-promql` (pure): one vCPU and one host's memory for each series asked for."""

from __future__ import annotations

import random
from collections.abc import Iterator

INTERVAL_SECONDS = 5
SCRAPES = 73
"""Six minutes: more than the longest range of a query."""
END = 1_700_000_000
"""Unix seconds of the last scrape."""
QUERY_TIME = END + 2.0
"""Between two scrapes, where left-open windows (Prometheus 3) and closed ones (2.42) hold the same samples."""

_VCPUS_PER_DOMAIN = 8
_TARGET = 'instance="127.0.0.1:9752",job="kvmtune"'

SINGLE = {
    "rate": "sum by (domain) (rate(kvm_domain_vcpu_cpu_seconds_total[1m])) > 0.2",
    "memory ratio": "kvm_memory_available_bytes / kvm_memory_total_bytes < 0.2",
    "average": "avg_over_time(kvm_memory_available_bytes[5m])",
}
GROUP = tuple(
    rule.format(share=share / 20, window=window)
    for share, window in ((1, "30s"), (2, "45s"), (3, "1m"), (4, "2m"), (5, "5m"))
    for rule in (
        "sum by (domain) (rate(kvm_domain_vcpu_cpu_seconds_total[{window}])) > {share}",
        "max by (domain) (rate(kvm_domain_vcpu_cpu_seconds_total[{window}])) > {share}",
        "sum(rate(kvm_domain_vcpu_cpu_seconds_total[{window}]))",
        "count(kvm_domain_vcpu_cpu_seconds_total > {share})",
        "kvm_memory_available_bytes / kvm_memory_total_bytes < {share}",
        "1 - kvm_memory_available_bytes / kvm_memory_total_bytes > {share}",
        "avg(avg_over_time(kvm_memory_available_bytes[{window}]) / kvm_memory_total_bytes)",
        "min_over_time(kvm_memory_available_bytes[{window}]) / kvm_memory_total_bytes < {share}",
        "topk(3, kvm_memory_total_bytes - kvm_memory_available_bytes)",
        "sum(kvm_memory_available_bytes) / sum(kvm_memory_total_bytes)",
    )
)
"""One rule group of 50 rules."""


def pages(count: int) -> Iterator[tuple[int, list[str]]]:
    """Unix seconds and the lines `series value` of each scrape, oldest first; `count` series of each metric."""
    chance = random.Random(count)
    vcpus = [
        "kvm_domain_vcpu_cpu_seconds_total{"
        f'domain="vm-{number // _VCPUS_PER_DOMAIN}",{_TARGET},'
        f'uuid="{number // _VCPUS_PER_DOMAIN:08x}-95b9-4e1c-a42f-5a9a6b2d1c10",vcpu="{number % _VCPUS_PER_DOMAIN}"'
        "}"
        for number in range(count)
    ]
    hosts = [f'instance="host-{number}:9752",job="kvmtune"' for number in range(count)]
    loads = [chance.random() * 0.06 for _ in vcpus]
    seconds = [chance.random() * 1e5 for _ in vcpus]
    totals = [chance.choice((64, 128, 256)) << 30 for _ in hosts]
    for scrape in range(SCRAPES):
        seconds = [
            had + load * INTERVAL_SECONDS * chance.uniform(0.5, 1.5) for had, load in zip(seconds, loads, strict=True)
        ]
        lines = [f"{vcpu} {value:.9g}" for vcpu, value in zip(vcpus, seconds, strict=True)]
        lines += [
            f"kvm_memory_available_bytes{{{host}}} {int(total * chance.uniform(0.05, 0.95)) & ~4095}"
            for host, total in zip(hosts, totals, strict=True)
        ]
        lines += [f"kvm_memory_total_bytes{{{host}}} {total}" for host, total in zip(hosts, totals, strict=True)]
        yield END - (SCRAPES - 1 - scrape) * INTERVAL_SECONDS, lines
