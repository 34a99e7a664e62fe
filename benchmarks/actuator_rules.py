"""The hundred rules of `make bench-actuator`, of the kinds that operators write; a tenth of them holds at a time."""

from __future__ import annotations

from collections.abc import Iterator

_RECORDS = {
    "host:memory_available:ratio": "kvm_memory_available_bytes / (kvm_memory_total_bytes - kvm_memory_hugetlb_bytes)",
    "host:vcpu_delay:rate1m": "sum by (instance) (rate(kvm_domain_vcpu_delay_seconds_total[1m]))",
    "host:ksm_gain:ratio": "kvm_ksm_saved_bytes / kvm_memory_total_bytes",
    "host:guests_rss:sum": "sum by (instance) (kvm_domain_memory_rss_bytes)",
    "guest:usable:ratio": "kvm_domain_balloon_usable_bytes / kvm_domain_balloon_actual_bytes",
    "guest:cpu:rate1m": "sum by (instance, domain, uuid) (rate(kvm_domain_vcpu_cpu_seconds_total[1m]))",
    "guest:delay:rate1m": "max by (instance, domain, uuid) (rate(kvm_domain_vcpu_delay_seconds_total[1m]))",
    "guest:swap_in:rate5m": "rate(kvm_domain_balloon_swap_in_bytes_total[5m])",
    "guest:used:avg5m": "avg_over_time(kvm_domain_memory_used_bytes[5m])",
    "guest:faults:rate1m": "rate(kvm_domain_process_major_faults_total[1m])",
}

_BALLOON = "set: {balloon.target: kvm_domain_balloon_actual_bytes * 0.95}"
_PLACE = "place: {knob: vcpu.affinity, strategy: spread}"
_SCAN = "set: {ksm.pages_to_scan: kvm_ksm_pages_to_scan * 1.1}"
_ALLOCATE = (
    "allocate: {knob: balloon.target, by: idle, need: kvm_domain_memory_used_bytes * 1.2, "
    "free: kvm_memory_total_bytes * 0.2 - kvm_memory_available_bytes}"
)
_NEVER = 1e12
"""A threshold that is not reached."""

_KINDS: tuple[tuple[int, float, str, str], ...] = (
    (20, 0.48, "kvm_domain_balloon_usable_bytes / kvm_domain_balloon_actual_bytes > {} "
               "and on (instance) host:memory_available:ratio < 0.9", _BALLOON),
    (15, 0.23, "max by (domain, vcpu) (rate(kvm_domain_vcpu_delay_seconds_total[1m])) > {}", _PLACE),
    (15, 0.05, "sum(rate(kvm_domain_vcpu_cpu_seconds_total[2m])) / sum(kvm_cpu_online) > {}", _SCAN),
    (10, 0.99, "1 - host:memory_available:ratio < {}", _SCAN),
    (10, 0.05, "topk(3, deriv(kvm_domain_memory_rss_bytes[5m])) > {}", _BALLOON),
    (8, 6.4, "kvm_domain_memory_rss_bytes * on (domain, uuid) group_left (os) kvm_domain_info / 2^30 > {}", _BALLOON),
    (6, 0.23, "guest:delay:rate1m > {} unless on (domain) kvm_domain_process_stopped == 1", _PLACE),
    (4, 0.05, "quantile(0.9, guest:used:avg5m) / 2^30 > {}", _SCAN),
    (2, 0.0, "kvm_memory_available_bytes > {}", _ALLOCATE),
)  # fmt: skip
"""How many of a kind, the threshold of the first of them, its condition, what it does. The others hold for nothing."""


def text() -> str:
    """One rule file."""
    return "groups:\n  - name: bench\n    rules:\n" + "".join(_rules())


def _rules() -> Iterator[str]:
    for name, expr in _RECORDS.items():
        yield f'      - {{record: "{name}", expr: "{expr}"}}\n'
    for kind, (count, first, when, action) in enumerate(_KINDS):
        for number in range(count):
            never = -number if "< {}" in when else _NEVER + number
            yield (
                f"      - tune: rule_{kind}_{number}\n"
                "        because: It is a benchmark.\n"
                f'        when: "{when.format(never if number else first)}"\n'
                f"        {action}\n"
            )
