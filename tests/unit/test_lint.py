"""What `kvmtune-actuator check` says of rules that load."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actuator import promql
from actuator.lint import Subject, lint, unknown
from actuator.lint.catalogue import exported
from actuator.rules import config, policy
from actuator.rules.ruleset import RuleSet
from tests import metricsdoc
from tests.unit.lint_cases import RATIO, TABLES, rules_of, tune
from tests.unit.test_docs import EXAMPLES, TOP

POLICY = """
limits:
  ksm.pages_to_scan: {min: 100, max: 20000, step: 100%, writes_per_minute: 20}
  ksm.sleep_millisecs: {max: 60s}
  balloon.target: {step: 30%, deadband: 1%, writes_per_minute: 12}
"""


def found(rules: RuleSet, *, interval: float = 5.0, for_server: bool = False) -> list[str]:
    """All findings, without the name of the file."""
    subject = Subject(rules, policy.loads(POLICY), interval, for_server)
    return [str(finding.problem).removeprefix("rules.yml:") for finding in lint(subject)]


@pytest.mark.parametrize(
    ("rules", "messages"),
    [pytest.param(*row, id=f"{name}-{n}") for name, rows in TABLES.items() for n, row in enumerate(rows)],
)
def test_all_that_is_found(rules: tuple[str, ...], messages: list[str]) -> None:
    assert found(config.loads(rules_of(*rules))) == messages


def test_the_interval_decides_what_is_too_short() -> None:
    rules = config.loads(rules_of(tune("rate(kvm_ksm_ksmd_cpu_seconds_total[20s]) > 0.5", "for: 5s")))
    assert found(rules, interval=1.0) == []
    assert [line[:13] for line in found(rules, interval=30.0)] == ["6:15: a: rate", "8:14: warning"]


def test_a_record_is_as_old_as_the_interval_of_its_group() -> None:
    rules = rules_of(RATIO, tune("deriv(host:free:ratio[1m]) < 0", "for: 15s"), head="interval: 1m")
    assert found(config.loads(rules)) == [
        "9:15: a: deriv(host:free:ratio[1m]) sees one sample and takes two, so that it never has a value: samples are "
        "1m apart, write at least [4m]",
        "11:14: warning: a: 'for' (15s) is shorter than the 1m from one evaluation of the rule to the next: it counts "
        "as 1m",
    ]


@pytest.mark.parametrize(
    ("limits", "own", "missing"),
    [
        ("{}", "", ("step", "step: 30%")),
        ("{balloon.target: {max: 8GiB}}", "", ("step", "step: 30%")),
        ("{balloon.target: {}}", "", None),
        ("{balloon.target: {max: 8GiB}}", "limits: {step: 10%}", None),
        ("{balloon.target: {max: 8GiB, step: 50%}}", "", None),
    ],
)
def test_a_policy_without_a_limit_that_ours_has_is_named(
    limits: str, own: str, missing: tuple[str, str] | None
) -> None:
    rules = rules_of(
        *(
            tune(
                f"kvm_domain_balloon_{name}_bytes == 2^30",
                *([own] if own else []),
                name=name,
                action="set: {balloon.target: 2^29}",
            )
            for name in ("actual", "maximum")
        )
    )
    subject = Subject(config.loads(rules), policy.loads(f"limits: {limits}"), 5.0)
    assert [finding.problem.message for finding in lint(subject)] == (
        [
            f"warning: actual: neither policy nor rule limits balloon.target by {missing[0]}, as kvmtune's own policy "
            f"does: write {{{missing[1]}}} into the policy, or balloon.target: {{}} if it shall have no limits"
        ]
        if missing
        else []
    )


@pytest.mark.parametrize(
    ("interval", "message"),
    [
        ("1s", "3:15: warning: g: 'interval' (1s) is shorter than that of the ticks: 5s it is"),
        (
            "5m",
            "3:15: warning: g: 'interval' (5m): a record counts as gone 5m after it was made, so that those of this "
            "group are there at times only: make it shorter than 5m",
        ),
    ],
)
def test_the_interval_of_a_group(interval: str, message: str) -> None:
    assert found(config.loads(rules_of(RATIO, head=f"interval: {interval}"))) == [message]


def test_a_server_may_have_what_the_exporter_has_not() -> None:
    rules = rules_of(
        tune('kvm_old > 1 and kvm_ksm_run{cluster="x"} == 1'),
        tune("node_load1 > 1 and job:load:sum > 1", name="c", action="set: {ksm.use_zero_pages: 1}"),
        tune("rate(kvm_ksm_full_scans_total[5s]) > 1", name="d", action="set: {ksm.smart_scan: 1}"),
    )
    assert found(config.loads(rules, compile_expr=promql.compile_for_server), for_server=True) == [
        "6:15: warning: a: 'when' asks for kvm_old, which no collector exports and no rule here records: "
        "docs/metrics.md lists what there is",
        "14:15: warning: d: rate(kvm_ksm_full_scans_total[5s]) sees one sample, too few for one to be late or lost: "
        "samples are 5s apart, write at least [20s]",
    ]


def test_all_findings_of_a_file_are_in_order() -> None:
    rules = rules_of(tune("kvm_ksm_rum == 0", "mode: off"), tune("vector(0) > 1", name="c"))
    assert [line.partition(" ")[0] for line in found(config.loads(rules))] == ["6:15:", "8:15:", "11:15:"]


SHIPPED = config.load([TOP / "rules"])


@pytest.mark.parametrize("rules", ["rules", "rules/simple"])
def test_the_shipped_rules_are_clean(rules: str) -> None:
    loaded = config.load([TOP / rules])
    assert lint(Subject(loaded, policy.load(), 5.0)) == ()
    assert unknown(loaded) == ()


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_documents_is_clean(example: str) -> None:
    """Beside the records that ship."""
    records = tuple(replace(group, rules=group.records) for group in SHIPPED.groups)
    rules = RuleSet((*records, *config.loads(example).groups))
    assert lint(Subject(rules, policy.load(), 5.0)) == ()


def test_metrics_that_are_never_there_are_named() -> None:
    rules = config.loads(rules_of(RATIO, tune("node_load1 > host:free:ratio + kvm_nothing")))
    assert unknown(rules) == ("kvm_nothing", "node_load1")


def test_the_list_of_metrics_is_that_of_the_exporter() -> None:
    assert metricsdoc.LIST.read_text() == metricsdoc.listed(), "`make golden` writes it anew"
    assert exported()["kvm_hugepages_node_nr"] == {"instance", "job", "node", "size"}
