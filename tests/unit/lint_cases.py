"""Rules that load, and all that the linter finds in them: each row is the rules of a file, and its messages."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import dedent


def rules_of(*rules: str, head: str = "") -> str:
    """A rule file with these rules: the first one's first line is line 4, or 5 with a `head`."""
    bodies = [dedent(rule).strip().replace("\n", "\n        ") for rule in rules]
    items = "".join(f"      - {body}\n" for body in bodies)
    return f"groups:\n  - name: g\n{f'    {head}' + chr(10) if head else ''}    rules:\n{items}"


def tune(when: str, *more: str, name: str = "a", action: str = "set: {ksm.run: 1}") -> str:
    """A tuning rule of five lines at least; `when` is the third."""
    return "\n".join([f"tune: {name}", "because: b", f"when: '{when}'", action, *more])


def record(name: str, expr: str) -> str:
    return f"record: {name}\nexpr: '{expr}'"


RATIO = record("host:free:ratio", "kvm_memory_available_bytes / kvm_memory_total_bytes")
GUEST = "kvm_domain_balloon_actual_bytes > 0"
BALLOON = "set: {balloon.target: kvm_domain_balloon_actual_bytes * 0.9}"


def allocate(free: str = "kvm_memory_total_bytes - kvm_memory_available_bytes") -> str:
    return f"allocate: {{knob: balloon.target, by: idle, free: '{free}', need: kvm_domain_memory_used_bytes}}"


METRICS = [
    ((tune("kvm_ksm_page_to_scan > 100"),), [
        "6:15: a: 'when' asks for kvm_ksm_page_to_scan, which no collector exports and no rule here records (did you mean kvm_ksm_pages_to_scan?)",
    ]),
    ((tune('kvm_ksm_run == 0', action="set: {ksm.pages_to_scan: kvm_nothing_of_the_kind * 2}"),), [
        "7:34: a: 'ksm.pages_to_scan' asks for kvm_nothing_of_the_kind, which no collector exports and no rule here records: docs/metrics.md lists what there is",
    ]),
    ((RATIO, tune("host:free:ratio < 0.2")), []),
    ((RATIO, tune("host:fre:ratio < 0.2")), [
        "8:15: warning: a: 'when' asks for host:fre:ratio, which no rule here records (did you mean host:free:ratio?)",
    ]),
    ((tune("job:load:sum < 0.2"),), [
        "6:15: warning: a: 'when' asks for job:load:sum, which no rule here records: give the file that does, too",
    ]),
    ((tune("node_load1 > 10"),), [
        "6:15: warning: a: 'when' asks for node_load1, which kvmtune-exporter does not have: other exporters' metrics are there with --query.url only",
    ]),
    ((tune("up == 0 or process_open_fds > 1000"),), []),
    ((tune(GUEST, "require_fresh: {kvm_domain_balloon_stat_age_seconds: 15s}", action=BALLOON),), [
        "8:62: a: 'require_fresh' asks for kvm_domain_balloon_stat_age_seconds, which no collector exports and no rule here records (did you mean kvm_domain_balloon_stats_age_seconds or kvm_domain_balloon_data_age_seconds?)",
    ]),
]  # fmt: skip

LABELS = [
    ((tune('kvm_domain_state{vm="a"} == 1'),), [
        "6:15: warning: a: 'when' selects kvm_domain_state by 'vm', a label that it never has (known: domain, state, uuid)",
    ]),
    ((tune('kvm_domain_state{domain="a", state!="running", instance=~"h.*"} == 1'),), []),
    ((tune("max by (domian) (kvm_domain_memory_rss_bytes) > 1"),), [
        "6:15: warning: a: 'when' groups by 'domian', a label that it never has (did you mean 'domain'?)",
    ]),
    ((tune("max by (domain, instance) (kvm_domain_memory_rss_bytes) > 1"),), []),
    ((tune("sum by (domain) (max by (uuid) (kvm_domain_memory_rss_bytes)) > 1"),), [
        "6:15: warning: a: 'when' groups by 'domain', a label that it never has (known: uuid)",
    ]),
    ((tune("kvm_domain_memory_rss_bytes > on (domain, size) kvm_domain_balloon_actual_bytes"),), [
        "6:15: warning: a: 'when' matches on (size), but its left side has no label 'size' (known: domain, uuid)",
        "6:15: warning: a: 'when' matches on (size), but its right side has no label 'size' (known: domain, uuid)",
    ]),
    ((tune("kvm_domain_memory_rss_bytes * on (domain) group_left (titel) kvm_domain_info > 1"),), [
        "6:15: warning: a: 'when' copies 'titel', a label that it never has (did you mean 'title'?)",
    ]),
    ((record("guest:rss", "max by (domain) (kvm_domain_memory_rss_bytes)"), tune('guest:rss{uuid="u"} > 1')), [
        "8:15: warning: a: 'when' selects guest:rss by 'uuid', a label that it never has (known: domain)",
    ]),
    ((record("guest:rss", "kvm_domain_memory_rss_bytes")+"\nlabels: {team: a}", tune('guest:rss{team="a"} > 1')), []),
    ((tune('label_replace(kvm_domain_state, "vm", "$1", "domain", "(.*)") == 1 and on (vm) vector(1)'),), [
        "6:15: warning: a: 'when' matches on (vm), but its right side has no label 'vm' (it has none)",
    ]),
    ((tune('node_load1{vm="a"} > 1'),), [
        "6:15: warning: a: 'when' asks for node_load1, which kvmtune-exporter does not have: other exporters' metrics are there with --query.url only",
    ]),
    ((tune('kvm_ksm_run{node="0"} == 1'),), [
        "6:15: warning: a: 'when' selects kvm_ksm_run by 'node', a label that it never has (it has none)",
    ]),
]  # fmt: skip

WINDOWS = [
    ((tune("rate(kvm_ksm_ksmd_cpu_seconds_total[5s]) > 0.5"),), [
        "6:15: a: rate(kvm_ksm_ksmd_cpu_seconds_total[5s]) sees one sample and takes two, so that it never has a value: samples are 5s apart, write at least [20s]",
    ]),
    ((tune("rate(kvm_ksm_ksmd_cpu_seconds_total[15s]) > 0.5"),), [
        "6:15: warning: a: rate(kvm_ksm_ksmd_cpu_seconds_total[15s]) sees 3 samples, too few for one to be late or lost: samples are 5s apart, write at least [20s]",
    ]),
    ((tune("rate(kvm_ksm_ksmd_cpu_seconds_total[20s]) > 0.5"),), []),
    ((tune("avg_over_time(kvm_ksm_run[3s]) > 0.5"),), [
        "6:15: warning: a: avg_over_time(kvm_ksm_run[3s]) sees one sample, and is no more than that: samples are 5s apart, write at least [20s]",
    ]),
    ((tune("last_over_time(kvm_ksm_run[3s]) > 0.5"),), []),
    ((tune("max_over_time(rate(kvm_ksm_full_scans_total[1m])[1m:]) > 0"),), [
        "6:15: warning: a: max_over_time(...[1m:1m]) sees one step at most: make the range longer or the step shorter",
    ]),
    ((tune("deriv(kvm_memory_available_bytes[1m:1m]) > 0"),), [
        "6:15: a: deriv(...[1m:1m]) sees one step and takes two, so that it never has a value: make the range longer or the step shorter",
    ]),
    ((tune("max_over_time(kvm_memory_available_bytes[1m:1s]) > 0"),), [
        "6:15: warning: a: max_over_time(...[1m:1s]) sees samples more than once, since they are 5s apart: make the step that long",
    ]),
    ((tune("max_over_time(kvm_memory_available_bytes[1m:5s]) > 0"),), []),
    ((tune("kvm_ksm_run == 0", "for: 2s", "every: 1s", "keep_firing_for: 3s"),), [
        "8:14: warning: a: 'for' (2s) is shorter than the 5s from one evaluation of the rule to the next: it counts as 5s",
        "9:16: warning: a: 'every' (1s) is shorter than the 5s from one evaluation of the rule to the next: it changes nothing",
        "10:26: warning: a: 'keep_firing_for' (3s) is shorter than the 5s from one evaluation of the rule to the next: it counts as 5s",
    ]),
    ((tune("kvm_ksm_run == 0", "for: 5s", "every: 5s", "keep_firing_for: 1m"),), []),
    ((tune("kvm_ksm_run == 0", "verify: {expr: kvm_ksm_run == 1, within: 9s}"),), [
        "8:50: warning: a: 'within' (9s) leaves room for one look at most at ticks of 5s: write at least 10s",
    ]),
    ((tune("kvm_ksm_run == 0", "verify: {expr: kvm_ksm_run == 1, within: 10s}"),), []),
]  # fmt: skip

REACH = [
    ((tune("kvm_ksm_run > 1 and kvm_ksm_run < 0"),), [
        "6:15: a: 'when' never holds: no number is within its bounds",
    ]),
    ((tune("kvm_ksm_run > 1 < 2"),), []),
    ((tune("(kvm_ksm_run > 1) < 1 or 3 < kvm_ksm_run < 2"),), [
        "6:15: a: 'when' never holds: no number is within its bounds",
    ]),
    ((tune("kvm_ksm_run > 1 or kvm_ksm_run < 0"),), []),
    ((tune("vector(1) > 2"),), [
        "6:15: a: 'when' never holds: no number is within its bounds",
    ]),
    ((tune("vector(1)"),), []),
    ((tune("kvm_ksm_run == NaN"),), [
        "6:15: a: 'when' never holds: no number is within its bounds",
    ]),
    ((tune("kvm_domain_process_stopped == 1 and on (instance) kvm_domain_process_stopped == 0", action="set: {balloon.stats_period: 5}"),), []),
    ((tune("kvm_domain_process_stopped == 1 and kvm_domain_process_stopped == 0", action="set: {balloon.stats_period: 5}"),), [
        "6:15: a: 'when' never holds: no number is within its bounds",
    ]),
    ((tune("kvm_domain_process_stopped == 1 unless kvm_domain_process_stopped == 0", action="set: {balloon.stats_period: 5}"),), []),
    ((RATIO, tune("host:free:ratio < 20")), [
        "8:15: warning: a: host:free:ratio is a share from 0 to 1 by its name, so that '< 20' always holds: write 0.2 for 20 %",
    ]),
    ((RATIO, tune("host:free:ratio > 20")), [
        "8:15: warning: a: host:free:ratio is a share from 0 to 1 by its name, so that '> 20' never holds: write 0.2 for 20 %",
    ]),
    ((RATIO, tune("host:free:ratio < -1")), [
        "8:15: warning: a: host:free:ratio is a share from 0 to 1 by its name, so that '< -1' never holds",
    ]),
    ((RATIO, tune("0.1 < host:free:ratio < 20")), [
        "8:15: warning: a: host:free:ratio is a share from 0 to 1 by its name, so that '< 20' always holds: write 0.2 for 20 %",
    ]),
    ((RATIO, tune("host:free:ratio >= 0")), []),
    ((tune("kvm_memory_available_bytes / kvm_memory_total_bytes < 20"),), [
        "6:15: warning: a: kvm_memory_available_bytes / kvm_memory_total_bytes is a share from 0 to 1, so that '< 20' always holds: write 0.2 for 20 %",
    ]),
    ((tune("kvm_domain_balloon_actual_bytes / (kvm_domain_balloon_maximum_bytes > 0) > 90"),), [
        "6:15: warning: a: kvm_domain_balloon_actual_bytes / kvm_domain_balloon_maximum_bytes is a share from 0 to 1, so that '> 90' never holds: write 0.9 for 90 %",
    ]),
    ((tune("kvm_memory_available_bytes / kvm_memory_total_bytes * 100 < 20"),), []),
    ((tune("kvm_memory_committed_bytes / kvm_memory_total_bytes > 1.5"),), []),
    ((tune("kvm_memory_available_bytes / kvm_memory_free_bytes > 20"),), []),
    ((tune("kvm_memory_guest_overcommit_ratio > 1.5"),), []),
    ((RATIO, tune("host:free:ratio < 0.2", "until: host:free:ratio > 0.1")), [
        "10:16: warning: a: 'when' and 'until' both hold at values > 0.1 and < 0.2, where nothing begins: for hysteresis, 'until' must begin beyond where 'when' ends",
    ]),
    ((RATIO, tune("host:free:ratio < 0.2", "until: host:free:ratio > 0.2")), []),
    ((RATIO, tune("host:free:ratio <= 0.2", "until: host:free:ratio >= 0.2")), []),
    ((RATIO, tune("host:free:ratio < 0.2", "until: host:free:ratio < 0.3")), [
        "10:16: a: 'until' holds whenever 'when' does, and goes first: the rule never acts",
    ]),
    ((RATIO, tune("host:free:ratio < 0.2 and on () kvm_ksm_run == 0", "until: host:free:ratio < 0.2")), [
        "10:16: a: 'until' holds whenever 'when' does, and goes first: the rule never acts",
    ]),
    ((RATIO, tune("host:free:ratio < 0.2 or kvm_ksm_run == 0", "until: host:free:ratio < 0.2")), [
        "10:16: warning: a: 'when' and 'until' both hold at values < 0.2, where nothing begins: for hysteresis, 'until' must begin beyond where 'when' ends",
    ]),
    ((RATIO, tune("host:free:ratio < 0.2", "until: host:free:ratio < 0.2")), [
        "10:16: a: 'until' holds whenever 'when' does, and goes first: the rule never acts",
    ]),
    ((RATIO, tune("host:free:ratio < 0.2", "until: host:free:ratio < 0.2 > 0.3")), [
        "10:16: warning: a: 'until' never holds, so that what has begun does not end while there are data",
    ]),
    ((tune("kvm_ksm_run == 0", "verify: {expr: kvm_ksm_run > 1 < 1, within: 1m}"),), [
        "8:24: a: 'verify' never holds, so that each write is taken back",
    ]),
    ((tune("kvm_ksm_run == 0", "mode: off"),), [
        "8:15: warning: a: it is switched off ('mode'), and does nothing",
    ]),
    ((tune("kvm_ksm_run == 0", "mode: off", "verify: {expr: kvm_ksm_run > 1 < 1, within: 1m}"),), [
        "8:15: warning: a: it is switched off ('mode'), and does nothing",
    ]),
]  # fmt: skip

ALWAYS = [
    ((tune("kvm_ksm_run == bool 1"),), [
        "6:15: warning: a: 'when' compares by 'bool', which gives 0 or 1, and a result of 0 holds, too: leave 'bool' out",
    ]),
    ((tune("vector(time() % 86400 > bool 3600)"),), [
        "6:15: warning: a: 'when' compares by 'bool', which gives 0 or 1, and a result of 0 holds, too: compare what it gives, as '... == 1'",
    ]),
    ((tune("vector(time() % 86400 > bool 3600) == 1"),), []),
    ((tune("vector(time()) % 86400 > 3600"),), []),
    ((tune("kvm_memory_available_bytes < 5 and kvm_ksm_run == bool 1"),), [
        "6:15: warning: a: 'when' compares by 'bool', which gives 0 or 1, and a result of 0 holds, too: leave 'bool' out",
    ]),
    ((tune("sum(kvm_domain_process_stopped == bool 1) > 3"),), []),
    ((tune("kvm_ksm_run"),), [
        "6:15: warning: a: 'when' compares nothing, and a result of 0 holds, too: compare it, as '... > 0'",
    ]),
    ((tune("kvm_ksm_run * 2 or vector(0)"),), [
        "6:15: warning: a: 'when' compares nothing, and a result of 0 holds, too: compare it, as '... > 0'",
    ]),
    ((tune("max(kvm_domain_process_stopped)"),), [
        "6:15: warning: a: 'when' compares nothing, and a result of 0 holds, too: compare it, as '... > 0'",
    ]),
    ((tune("kvm_ksm_run == 0", "until: kvm_ksm_run", "verify: {expr: kvm_ksm_smart_scan, within: 1m}"),), [
        "8:16: warning: a: 'until' compares nothing, and a result of 0 holds, too: compare it, as '... > 0'",
        "9:24: warning: a: 'verify' compares nothing, and a result of 0 holds, too: compare it, as '... > 0'",
    ]),
    # That something is there can be the condition.
    ((tune('kvm_domain_info{domain="db"}'),), []),
    ((tune("absent(kvm_ksm_run)"),), []),
    ((tune("kvm_domain_memory_rss_bytes unless on (domain) kvm_domain_ksm_status"),), []),
    ((tune("count(kvm_domain_process_stopped == 1)"),), []),
    ((tune("kvm_ksm_run > 0 and kvm_ksm_smart_scan"),), []),
    ((record("host:is_short", "kvm_memory_available_bytes < 5"), tune("host:is_short")), []),
    ((RATIO, tune("host:free:ratio")), [
        "8:15: warning: a: 'when' compares nothing, and a result of 0 holds, too: compare it, as '... > 0'",
    ]),
]  # fmt: skip

COUNTERS = [
    ((tune("kvm_vmstat_pswpin_total > 100"),), [
        "6:15: warning: a: kvm_vmstat_pswpin_total has been counted since its start, and never falls: compare what comes to it, as rate(kvm_vmstat_pswpin_total[20s])",
    ]),
    ((tune("sum(kvm_domain_process_major_faults_total) > 100 or kvm_ksm_run == 1"),), [
        "6:15: warning: a: kvm_domain_process_major_faults_total has been counted since its start, and never falls: compare what comes to it, as rate(kvm_domain_process_major_faults_total[20s])",
    ]),
    ((tune("kvm_vmstat_pswpin_total > kvm_vmstat_pswpin_total offset 5m"),), []),
    ((tune("kvm_vmstat_pswpin_total - kvm_vmstat_pswpin_total offset 5m > 10"),), []),
    ((tune("kvm_vmstat_pswpin_total >= 0"),), []),
    ((tune("increase(kvm_vmstat_pswpin_total[1m]) > 100"),), []),
    ((tune("resets(kvm_vmstat_pswpin_total[1m]) > 1"),), []),
    ((tune("kvm_memory_total_bytes > 100"),), []),
    ((tune("rate(kvm_memory_available_bytes[1m]) < 5"),), [
        "6:15: warning: a: rate() takes each fall of kvm_memory_available_bytes for a counter that began anew, and it is none: write deriv() or delta()",
    ]),
    ((tune("delta(kvm_vmstat_pswpin_total[1m]) > 5"),), [
        "6:15: warning: a: delta() is wrong when the counter kvm_vmstat_pswpin_total begins anew: write increase()",
    ]),
    ((tune("idelta(kvm_vmstat_pswpin_total[1m]) > 5"),), [
        "6:15: warning: a: idelta() is wrong when the counter kvm_vmstat_pswpin_total begins anew: write irate()",
    ]),
    ((tune("delta(kvm_memory_available_bytes[1m]) < 5"),), []),
    # What a record or another exporter's metric is, its name may not say.
    ((record("host:swapped:sum", "sum(kvm_vmstat_pswpin_total)"), tune("rate(host:swapped:sum[1m]) > 5")), []),
]  # fmt: skip

TARGETS = [
    ((tune("kvm_ksm_run == 0", action=BALLOON),), []),
    ((tune("kvm_ksm_run == 0", action="set: {balloon.stats_period: 5}"),), [
        "7:37: a: balloon.stats_period is set for each domain, and neither 'when' nor this has the label 'domain', so that it selects nothing: keep it, as an aggregation does by (domain)",
    ]),
    ((tune("max(kvm_domain_memory_rss_bytes) > 0", action="set: {balloon.target: max(kvm_domain_balloon_actual_bytes)}"),), [
        "7:31: a: balloon.target is set for each domain, and neither 'when' nor this has the label 'domain', so that it selects nothing: keep it, as an aggregation does by (domain)",
    ]),
    ((tune("max by (uuid) (kvm_domain_memory_rss_bytes) > 0", action="place: {knob: vcpu.affinity, strategy: spread}"),), [
        "7:16: a: vcpu.affinity is set for each domain, and 'when' does not have the label 'domain', so that it selects nothing: keep it, as an aggregation does by (domain, vcpu)",
    ]),
    ((tune("max by (domain) (kvm_domain_memory_rss_bytes) > 0", action="place: {knob: vcpu.affinity, strategy: spread}"),), []),
    ((tune("kvm_hugepages_free > 5", action="set: {hugepages.pool: 5}"),), [
        "7:31: a: hugepages.pool is set for each node, and neither 'when' nor this has the label 'node', so that it selects nothing: keep it, as an aggregation does by (node, size)",
    ]),
    ((tune('kvm_memory_available_bytes > 0', action="allocate: {knob: balloon.target, by: idle, free: 0 - kvm_memory_available_bytes, need: sum(kvm_domain_memory_used_bytes)}"),), [
        "7:96: a: balloon.target is set for each domain, and neither 'when' nor this has the label 'domain', so that it selects nothing: keep it, as an aggregation does by (domain)",
    ]),
    ((tune("kvm_memory_available_bytes > 0", action=allocate()),), []),
    ((tune("job:guest_load:sum > 0", action="set: {balloon.stats_period: 5}"),), [
        "6:15: warning: a: 'when' asks for job:guest_load:sum, which no rule here records: give the file that does, too",
    ]),
]  # fmt: skip

CONFLICTS = [
    ((tune('kvm_ksm_run == 0'), tune('kvm_ksm_pages_shared > 5', name="c", action="set: {ksm.run: 0}")), [
        "11:24: warning: c: 'a' (rules.yml:4) sets ksm.run, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
    ((tune('kvm_ksm_run == 0'), tune('kvm_ksm_pages_shared > 5', name="c", action="set: {ksm.run: 1}")), []),
    ((tune('kvm_ksm_run == 0'), tune('kvm_ksm_pages_shared > 5', 'priority: 1', name="c", action="set: {ksm.run: 0}")), []),
    ((tune('kvm_ksm_run == 0'), tune('kvm_ksm_pages_shared > 5', 'mode: dry-run', name="c", action="set: {ksm.run: 0}")), []),
    ((tune('kvm_ksm_run == 0'), tune('kvm_ksm_run > 0', name="c", action="set: {ksm.run: 0}")), []),
    ((tune('kvm_ksm_run == 0', 'keep_firing_for: 1m'), tune('kvm_ksm_run > 0', name="c", action="set: {ksm.run: 0}")), [
        "12:24: warning: c: 'a' (rules.yml:4) sets ksm.run, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
    ((tune('kvm_ksm_run == 0', 'keep_firing_for: 1m'), tune('kvm_ksm_run > 0', 'for: 1m', name="c", action="set: {ksm.run: 0}")), []),
    ((RATIO, tune('host:free:ratio < 0.2', 'until: host:free:ratio > 0.25'), tune('host:free:ratio > 0.25 and on (instance) kvm_ksm_run == 1', name="c", action="set: {ksm.run: 0}")), []),
    ((RATIO, tune('host:free:ratio < 0.2', 'until: host:free:ratio > 0.25'), tune('host:free:ratio > 0.22', name="c", action="set: {ksm.run: 0}")), [
        "14:24: warning: c: 'a' (rules.yml:6) sets ksm.run, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
    ((RATIO, tune('host:free:ratio < 0.2', 'until: kvm_ksm_run == 1'), tune('host:free:ratio > 0.22', name="c", action="set: {ksm.run: 0}")), [
        "14:24: warning: c: 'a' (rules.yml:6) sets ksm.run, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
    ((tune('kvm_domain_process_stopped == 1'), tune('kvm_domain_process_stopped == 0', name="c", action="set: {ksm.run: 0}")), [
        "11:24: warning: c: 'a' (rules.yml:4) sets ksm.run, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
    ((tune('kvm_domain_process_stopped == 1', action='set: {balloon.stats_period: 1}'), tune('kvm_domain_process_stopped == 0', name="c", action="set: {balloon.stats_period: 5}")), []),
    ((tune('kvm_domain_vcpu_halted == 1', action='set: {balloon.stats_period: 1}'), tune('kvm_domain_vcpu_halted == 0', name="c", action="set: {balloon.stats_period: 5}")), [
        "11:37: warning: c: 'a' (rules.yml:4) sets balloon.stats_period, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
    ((tune('kvm_domain_process_stopped{domain="db"} == 1', action='set: {balloon.stats_period: 1}'), tune('kvm_domain_memory_rss_bytes{domain!="db"} > 0', name="c", action="set: {balloon.stats_period: 5}")), []),
    ((tune('kvm_domain_process_stopped{domain="db"} == 1', action='set: {balloon.stats_period: 1}'), tune('kvm_domain_memory_rss_bytes{domain=~"d.*"} > 0', name="c", action="set: {balloon.stats_period: 5}")), [
        "11:37: warning: c: 'a' (rules.yml:4) sets balloon.stats_period, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
    ((tune('kvm_domain_process_stopped{domain="db"} == 1 or kvm_domain_balloon_actual_bytes{domain="db"} > 5', action='set: {balloon.stats_period: 1}'), tune('kvm_domain_memory_rss_bytes{domain="web"} > 0', name="c", action="set: {balloon.stats_period: 5}")), []),
    ((tune('kvm_domain_process_stopped{domain="db"} == 1 or kvm_domain_balloon_actual_bytes > 5', action='set: {balloon.stats_period: 1}'), tune('kvm_domain_memory_rss_bytes{domain="web"} > 0', name="c", action="set: {balloon.stats_period: 5}")), [
        "11:37: warning: c: 'a' (rules.yml:4) sets balloon.stats_period, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
    # One line for each rule, however many there are.
    ((tune('kvm_ksm_run == 0'), tune('kvm_ksm_run >= 0', name="c", action="set: {ksm.run: 0}"), tune('kvm_ksm_run < 9', name="d", action="set: {ksm.run: 2}"), tune('kvm_ksm_run < 8', name="e", action="set: {ksm.run: kvm_ksm_run}")), [
        "11:24: warning: c: 'a' (rules.yml:4) sets ksm.run, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
        "15:24: warning: d: 'a' (rules.yml:4) and 'c' (rules.yml:8) set ksm.run, too, and they can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
        "19:24: warning: e: 'a' (rules.yml:4) and 2 other rules set ksm.run, too, and they can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
    ((tune('kvm_ksm_run == 0', 'for: 10s'), tune('kvm_ksm_run == 0', 'for: 10s', 'priority: 1', name="c", action="set: {ksm.run: 2}")), [
        "4:9: a: it never acts: 'c' (rules.yml:9) sets the same under the same 'when' and has a higher priority: remove one",
    ]),
    ((tune('kvm_ksm_run == 0'), tune('kvm_ksm_run == 0', name="c", action="set: {ksm.run: 2}")), [
        "8:9: c: it never acts: 'a' (rules.yml:4) sets the same under the same 'when' and comes first: remove one",
    ]),
    ((tune('kvm_ksm_run == 0'), tune('kvm_ksm_run == 0', 'for: 10s', name="c", action="set: {ksm.run: 2}")), [
        "11:24: warning: c: 'a' (rules.yml:4) sets ksm.run, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
    ((tune('kvm_ksm_run == 0', 'every: 1m'), tune('kvm_ksm_run == 0', 'priority: -1', name="c", action="set: {ksm.run: 2}")), []),
    ((tune('kvm_ksm_run == 0'), tune('kvm_ksm_run == 0', name="c", action="set: {ksm.run: kvm_ksm_smart_scan}")), [
        "8:9: c: it never acts: 'a' (rules.yml:4) sets the same under the same 'when' and comes first: remove one",
    ]),
    ((tune('kvm_ksm_run == 0', action="set: {ksm.run: kvm_ksm_smart_scan}"), tune('kvm_ksm_run == 0', name="c")), [
        "11:24: warning: c: 'a' (rules.yml:4) sets ksm.run, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
    ((tune('kvm_ksm_run == 0', 'on_clear: restore'), tune('kvm_ksm_run > 0', name="c", action="set: {ksm.run: 0}")), [
        "8:19: warning: a: 'on_clear: restore' puts ksm.run back only if this rule was the last to change it, and 'c' (rules.yml:9) changes it, too: let one rule have the knob",
    ]),
    ((tune('kvm_domain_process_stopped{domain="a"} == 0', 'on_clear: restore', action="set: {balloon.stats_period: 1}"), tune('kvm_domain_process_stopped{domain=~"b.*"} == 0', name="c", action="set: {balloon.stats_period: 1}")), []),
    ((tune('kvm_memory_available_bytes > 0', action=allocate()), tune('kvm_memory_available_bytes >= 0', 'priority: 2', name="c", action=allocate())), [
        "7:19: warning: a: it spends memory that 'c' (rules.yml:8) divides with a higher priority: only a rule whose own 'priority' is higher is counted in",
    ]),
    ((tune('kvm_memory_available_bytes > 0', action=allocate('0 * kvm_numa_node_memory_free_bytes{node="0"}')), tune('kvm_memory_available_bytes >= 0', name="c", action=allocate('0 * kvm_memory_available_bytes'))), [
        "11:19: warning: c: 'a' (rules.yml:4) sets balloon.target, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
    ((tune('kvm_memory_available_bytes > 0', action=allocate('0 * kvm_numa_node_memory_free_bytes{node="0"}')), tune('kvm_memory_available_bytes >= 0', 'priority: 1', name="c", action=allocate('0 * kvm_numa_node_memory_free_bytes{node="1"}'))), [
        "7:19: warning: a: it spends memory that 'c' (rules.yml:8) divides with a higher priority: only a rule whose own 'priority' is higher is counted in",
    ]),
    ((tune('kvm_memory_available_bytes > 0', action=allocate()), tune(GUEST, 'priority: 2', name="c", action=BALLOON)), []),
    ((tune(GUEST, action='place: {knob: vcpu.affinity, strategy: numa}'), tune('kvm_domain_info', name="c", action='place: {knob: vcpu.affinity, strategy: exclusive}')), []),
    ((tune(GUEST, action='place: {knob: vcpu.affinity, strategy: numa}'), tune('kvm_domain_info', name="c", action='place: {knob: vcpu.affinity, strategy: pack}')), [
        "11:16: warning: c: 'a' (rules.yml:4) sets vcpu.affinity, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
    ((tune('kvm_memory_available_bytes > 0', action=allocate()), tune(GUEST, 'priority: -2', name="c", action=BALLOON)), [
        "11:31: warning: c: it spends memory that 'a' (rules.yml:4) divides with a higher priority: only a rule whose own 'priority' is higher is counted in",
    ]),
    ((tune('kvm_memory_available_bytes > 0', action=allocate()), tune(GUEST, name="c", action=BALLOON)), [
        "11:31: warning: c: 'a' (rules.yml:4) sets balloon.target, too, and both can hold at once, when the first in the files wins: give one a higher 'priority', or let one 'when' exclude the other",
    ]),
]  # fmt: skip

BOUNDS = [
    ((tune("kvm_ksm_run == 0", action="set: {ksm.pages_to_scan: 50000}"),), [
        "7:34: warning: a: 50000 is beyond the highest that the policy allows (20000), which is set instead: write that",
    ]),
    ((tune("kvm_ksm_run == 0", action="set: {ksm.pages_to_scan: 5}"),), [
        "7:34: warning: a: 5 is beyond the lowest that the policy allows (100), which is set instead: write that",
    ]),
    ((tune("kvm_ksm_run == 0", action="set: {ksm.pages_to_scan: 2 * 500}"),), []),
    ((tune("kvm_ksm_run == 0", "limits: {max: 500}", action="set: {ksm.pages_to_scan: 1000}"),), [
        "7:34: warning: a: 1000 is beyond the highest that the rule allows (500), which is set instead: write that",
    ]),
    ((tune(GUEST, action="set: {balloon.stats_period: 5000}"),), [
        "7:37: a: 5000 is beyond the highest that the knob allows (3600s), which is set instead: write that",
    ]),
    ((tune("kvm_ksm_run == 0", "limits: {max: 50000, min: 50, step: 200%, writes_per_minute: 30}", action="set: {ksm.pages_to_scan: 1000}"),), [
        "8:23: warning: a: 'max' changes nothing for ksm.pages_to_scan, since the policy's own is tighter: remove it, or change the policy",
        "8:35: warning: a: 'min' changes nothing for ksm.pages_to_scan, since the policy's own is tighter: remove it, or change the policy",
        "8:45: warning: a: 'step' changes nothing for ksm.pages_to_scan, since the policy's own is tighter: remove it, or change the policy",
        "8:70: warning: a: 'writes_per_minute' changes nothing for ksm.pages_to_scan, since the policy's own is tighter: remove it, or change the policy",
    ]),
    ((tune("kvm_ksm_run == 0", "limits: {max: 5000, min: 500, step: 20%, writes_per_minute: 3}", action="set: {ksm.pages_to_scan: 1000}"),), []),
    ((tune("kvm_ksm_run == 0", "limits: {max: 50}", action="set: {ksm.pages_to_scan: 1000}"),), [
        "8:17: a: ksm.pages_to_scan is never set: the lowest that the policy allows (100) is above the highest that the rule allows (50)",
    ]),
    ((tune(GUEST, "limits: {step: 1%, deadband: 2%}", action=BALLOON),), [
        "8:17: warning: a: a step of balloon.target is smaller than its deadband, and so not worth a write",
    ]),
    ((tune(GUEST, "limits: {deadband: 1%}", action=BALLOON),), []),
    ((tune(GUEST, "limits: {step: 64MiB, deadband: 16MiB}", action=BALLOON),), []),
]  # fmt: skip

SETPOINTS = [
    ((tune("kvm_ksm_run == 1", action="set: {ksm.sleep_millisecs: kvm_ksm_sleep_seconds * 2}"),), [
        "7:36: warning: a: kvm_ksm_sleep_seconds is 0.001 where ksm.sleep_millisecs is 1: multiply it by 1000",
    ]),
    ((tune("kvm_ksm_run == 1", action="set: {khugepaged.scan_sleep_millisecs: \"clamp_max(kvm_thp_khugepaged_scan_sleep_seconds, 1000)\"}"),), [
        "7:48: warning: a: kvm_thp_khugepaged_scan_sleep_seconds is 0.001 where khugepaged.scan_sleep_millisecs is 1: multiply it by 1000",
    ]),
    ((tune("kvm_ksm_run == 1", action="set: {ksm.sleep_millisecs: kvm_ksm_sleep_seconds * 2000}"),), []),
    ((tune("kvm_ksm_run == 1", action="set: {ksm.sleep_millisecs: 500 * kvm_ksm_sleep_seconds}"),), []),
    ((tune("kvm_ksm_run == 1", action="set: {ksm.sleep_millisecs: kvm_ksm_sleep_seconds / 0.001}"),), []),
    ((tune("kvm_ksm_run == 1", action="set: {ksm.sleep_millisecs: 20 * kvm_ksm_run}"),), []),
    ((tune("kvm_ksm_run == 1", action="set: {ksm.advisor_target_scan_time: kvm_ksm_advisor_target_scan_time_seconds * 2}"),), []),
    ((tune("kvm_ksm_run == 1", action="set: {ksm.advisor_max_cpu: kvm_ksm_advisor_max_cpu_ratio * 2}"),), [
        "7:36: warning: a: kvm_ksm_advisor_max_cpu_ratio is 0.01 where ksm.advisor_max_cpu is 1: multiply it by 100",
    ]),
    ((tune(GUEST, action="set: {balloon.target: 512}"),), [
        "7:31: warning: a: balloon.target counts bytes, and no guest runs in 512: write 536870912 for 512 MiB",
    ]),
    ((tune(GUEST, action="set: {balloon.target: -5}"),), [
        "7:31: warning: a: balloon.target counts bytes, and no guest runs in -5",
    ]),
    ((tune(GUEST, action="set: {balloon.target: 512 * 2^20}"),), []),
    ((tune(GUEST, action="set: {balloon.target: kvm_domain_balloon_actual_bytes / 0}"),), [
        "7:31: warning: a: it divides by 0, which gives no number that could be used",
    ]),
    ((tune("kvm_ksm_run == 1", action="set: {sysctl.vm.dirty_bytes: 1e9, sysctl.vm.dirty_ratio: 20}"),), [
        "7:66: warning: a: the kernel sets sysctl.vm.dirty_bytes to 0 when sysctl.vm.dirty_ratio is written: set one of them",
    ]),
    ((tune("kvm_ksm_run == 1", action="set: {sysctl.vm.dirty_background_ratio: 60, sysctl.vm.dirty_ratio: 20}"),), [
        "7:49: warning: a: sysctl.vm.dirty_background_ratio is not below sysctl.vm.dirty_ratio (20), so that the kernel takes half of that: write less",
    ]),
    ((tune("kvm_ksm_run == 1", action="set: {sysctl.vm.dirty_background_ratio: 10, sysctl.vm.dirty_ratio: 20}"),), []),
]  # fmt: skip

TABLES: dict[str, Sequence[tuple[tuple[str, ...], list[str]]]] = {
    "metrics": METRICS,
    "labels": LABELS,
    "windows": WINDOWS,
    "reach": REACH,
    "always": ALWAYS,
    "counters": COUNTERS,
    "targets": TARGETS,
    "conflicts": CONFLICTS,
    "bounds": BOUNDS,
    "setpoints": SETPOINTS,
}
