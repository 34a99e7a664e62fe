"""`kvmtune-actuator test`: what it prints of tests of rules, and its exit status."""

from pathlib import Path

import pytest

from actuator.__main__ import main

RULES = """
groups:
  - name: g
    rules:
      - tune: faster
        because: b
        when: kvm_memory_available_bytes < 1000
        for: 10s
        set: {ksm.pages_to_scan: kvm_ksm_pages_to_scan * 1.5}
      - tune: slower
        because: b
        when: kvm_memory_available_bytes > 5000
        set: {ksm.pages_to_scan: kvm_ksm_pages_to_scan * 0.5}
      - tune: never
        because: b
        when: kvm_memory_available_bytes > 0
        mode: "off"
        set: {ksm.run: 0}
"""

TESTS = """
rule_files: [rules.yml]
tests:
  - name: short
    host: {knobs: {ksm.pages_to_scan: 1000}}
    input_series:
      - {series: kvm_memory_available_bytes, values: 500x10 }
    expect:
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yml").write_text(RULES)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], text: str, *options: str) -> tuple[int, str, str]:
    """Status, output and errors of the command on one test file."""
    Path("rules.test.yml").write_text(text)
    status = main(["test", "rules.test.yml", *options])
    return status, *capsys.readouterr()


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    "expectation",
    [
        "{at: 5s, decisions: none}",
        "{at: 5s, setpoints: {ksm.pages_to_scan: 1000}}",
        "{at: 10s, setpoints: {ksm.pages_to_scan: 1500}, decisions: [{rule: faster}]}",
        "{at: 10s, decisions: [{knob: ksm.pages_to_scan, outcome: written, before: 1000, after: 1500}]}",
        "{at: 20s, decisions: [{after: 1500, knob: ksm.pages_to_scan}, {outcome: written}, {outcome: written}]}",
        "{at: 55s, setpoints: {ksm.pages_to_scan: 20000}}\n      - {at: 6m, decisions: none}",  # the series have ended
    ],
)
def test_what_is_as_expected_passes(capsys: pytest.CaptureFixture[str], expectation: str) -> None:
    status, printed, _ = run(capsys, f"{TESTS}      - {expectation}")
    assert printed.startswith("tests passed: 1, failed: 0 (test files: 1, rules: 2)\n"), printed
    assert status == 0


WRITTEN = "written     faster: host ksm.pages_to_scan"


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("expectation", "report"),
    [
        (
            "{at: 10s, decisions: none}",
            f"expected: no decision\n    got:      10s {WRITTEN} 1000 -> 1500 | (when = 500)\n"
            f"      decided:    10s {WRITTEN} 1000 -> 1500 | (when = 500)\n",
        ),
        (
            "{at: 5s, setpoints: {ksm.pages_to_scan: 1500}}",
            "expected: ksm.pages_to_scan of host is 1500\n    got:      ksm.pages_to_scan of host is 1000\n"
            "      rule faster: its when holds for 5s, not yet for 10s\n      rule slower: its when does not hold\n",
        ),
        (
            "{at: 5s, setpoints: {'balloon.target{domain=\"web\"}': 1GiB}}",
            "expected: balloon.target of web is 1 GiB\n"
            "    got:      there is none: kvm_domain_balloon_actual_bytes has no sample for it then, and 'host' gives "
            "it no start\n",
        ),
        (
            "{at: 15s, decisions: [{rule: faster}, {outcome: refused, detail: guest}]}",
            "expected: a decision with outcome refused, detail guest\n"
            "    got:      no such decision since the expectation before, or in another order\n"
            f"      decided:    10s {WRITTEN} 1000 -> 1500 | (when = 500)\n"
            f"      decided:    15s {WRITTEN} 1500 -> 2250 | (when = 500)\n",
        ),
        (
            "{at: 15s, decisions: [{rule: faster}]}",
            f"expected: no other decision\n    got:      15s {WRITTEN} 1500 -> 2250 | (when = 500)\n",
        ),
        (
            "{at: 2m, setpoints: {ksm.pages_to_scan: 100}}",
            "expected: ksm.pages_to_scan of host is 100\n    got:      ksm.pages_to_scan of host is 20000\n",
        ),
        (
            "{at: 2m, setpoints: {ksm.pages_to_scan: 100}}",
            "rule slower: the data of this tick are missing\n",
        ),
    ],
)
def test_a_failure_says_what_was_expected_what_was_and_why(
    capsys: pytest.CaptureFixture[str], expectation: str, report: str
) -> None:
    status, printed, _ = run(capsys, f"{TESTS}      - {expectation}")
    assert printed.startswith("rules.test.yml:9: short: at ")
    assert report in printed
    assert status == 1


SLOWER = """  - name: spare
    host: {knobs: {ksm.pages_to_scan: 1000}}
    input_series: [{series: kvm_memory_available_bytes, values: 9000x10}]
    expect: [{at: 0s, setpoints: {ksm.pages_to_scan: 500}}]
"""
UNTESTED = "untested rules (no test makes them act): slower\n"


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("tests", "options", "expected", "told"),
    [
        (TESTS + "      - {at: 10s, decisions: [{rule: faster}]}\n", [], 0, UNTESTED),
        (TESTS + "      - {at: 10s, decisions: [{rule: faster}]}\n", ["--require-tests"], 1, UNTESTED),
        (TESTS + "      - {at: 10s, decisions: [{rule: faster}]}\n" + SLOWER, ["--require-tests"], 0, ""),
    ],
)
def test_a_rule_that_no_test_makes_act_is_named(
    capsys: pytest.CaptureFixture[str], tests: str, options: list[str], expected: int, told: str
) -> None:
    status, printed, _ = run(capsys, tests, *options)
    assert status == expected
    assert printed.partition("\n")[2] == told


@pytest.mark.usefixtures("directory")
def test_verbose_tells_each_test_and_its_decisions(capsys: pytest.CaptureFixture[str]) -> None:
    _, printed, _ = run(capsys, f"{TESTS}      - {{at: 10s, decisions: [{{rule: faster}}]}}", "-v")
    assert printed.startswith(
        f"passed rules.test.yml:4: short\n       10s {WRITTEN} 1000 -> 1500 | (when = 500)\ntests passed: 1"
    )


def test_a_directory_without_tests_has_untested_rules(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(directory)]) == 0
    assert "untested rules (no test makes them act): faster, slower\n" in capsys.readouterr().out


def test_a_test_may_be_of_some_groups_only(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory / "rules.yml").write_text(RULES + "  - name: other\n    rules: [{record: a, expr: kvm_x}]\n")
    (directory / "rules.test.yml").write_text(f"groups: [other]\n{TESTS}      - {{at: 5s, decisions: none}}")
    assert main(["test", str(directory / "rules.test.yml")]) == 0
    assert "rules: 0)" in capsys.readouterr().out


def test_tests_may_be_in_a_directory_of_their_own(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory / "tests").mkdir()
    test = f"{TESTS}      - {{at: 5s, decisions: none}}".replace("rules.yml", "../rules.yml")
    (directory / "tests/rules.test.yml").write_text(test)
    assert main(["test", str(directory / "tests")]) == 0


HEAD = "rule_files: [rules.yml]\ntests:\n  - name: n\n    input_series: [{series: kvm_x, values: 1x9}]\n"


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1: the file is empty"),
        ("tests: []", "1:1: the test file has no 'rule_files'"),
        ("rule_files: [none.yml]\ntests: []", "cannot be read"),
        ("rule_files: []\ntests: []\nintervall: 5s", "3:1: unknown key 'intervall' in the test file"),
        ("rule_files: []\ntests: []\nevaluation_interval: 0s", "3:22: 'evaluation_interval': '0s' is no time at all"),
        ("rule_files: [rules.yml]\ntests: []\ngroups: [hst]", "3:10: a group: unknown 'hst' (known: g)"),
        ("rule_files: []\ntests: []\npolicy: none.yml", "none.yml:1:1: cannot be read"),
        ("rule_files: []\ntests:\n  - {name: n}", "3:5: a test has no 'input_series'"),
        (HEAD + "    expect: []", "5:13: 'expect' expects nothing"),
        (HEAD + "    expect: [{at: 5s}]", "5:14: an expectation needs 'setpoints' or 'decisions'"),
        (HEAD + "    expect: [{at: 5, decisions: none}]", "5:19: 'at': '5' is not a duration"),
        (HEAD + "    expect: [{at: 5s, decisions: none}, {at: 5s, decisions: none}]", "5:46: 'at' must be later"),
        (HEAD + "    expect: [{at: 30d, decisions: none}]", "5:19: more than 11000 evaluations"),
        (HEAD + "    expect: [{at: 5s, decisions: []}]", "5:34: 'decisions' is empty: write none"),
        (HEAD + "    expect: [{at: 5s, decisions: nothing}]", "5:34: 'decisions', if it is not none, must be a list"),
        (HEAD + "    expect: [{at: 5s, decisions: [{rule: fastr}]}]", "5:42: 'rule': there is no tuning rule 'fastr' in 'rule_files' (did you mean 'faster'?)"),
        (HEAD + "    expect: [{at: 5s, decisions: [{outcome: writen}]}]", "5:45: 'outcome': unknown 'writen' (did you mean 'written'?)"),
        (HEAD + "    expect: [{at: 5s, decisions: [{after: 5}]}]", "5:43: 'after' needs a 'knob', whose unit it is in"),
        (HEAD + "    expect: [{at: 5s, decisions: [{knob: balloon.target, after: 5}]}]", "'after': '5' has no unit: write a size like 512MiB"),
        (HEAD + "    expect: [{at: 5s, setpoints: {}}]", "5:34: 'setpoints' names no knob"),
        (HEAD + "    expect: [{at: 5s, setpoints: {ksm.runn: 1}}]", "5:35: a knob: unknown knob 'ksm.runn' (did you mean 'ksm.run'?)"),
        (HEAD + "    expect: [{at: 5s, setpoints: {balloon.target: 1GiB}}]", "5:35: a knob: name its target in full: balloon.target{domain=\"...\"}"),
        (HEAD + "    expect: [{at: 5s, setpoints: {'ksm.run{domain=\"a\"}': 1}}]", "ksm.run has no label 'domain': it is one of the host"),
        (HEAD + "    expect: [{at: 5s, setpoints: {'vcpu.affinity{domain=\"a\",cpu=\"0\"}': 1}}]", "vcpu.affinity has no label 'cpu': its targets have domain, vcpu"),
        (HEAD + "    expect: [{at: 5s, setpoints: {thp.enabled: alway}}]", "'thp.enabled': unknown 'alway' (did you mean 'always'?)"),
        (HEAD.replace("1x9", "one") + "    expect: [{at: 5s, decisions: none}]", "4:44: 'values': expected points: one"),
        (HEAD.replace("kvm_x", "kvm_x+1") + "    expect: [{at: 5s, decisions: none}]", "4:29: 'series': expected a series: kvm_x+1"),
        (HEAD.replace("kvm_x", "'{a=\"b\"}'") + "    expect: [{at: 5s, decisions: none}]", "has no name"),
        (HEAD.replace("[{series: kvm_x, values: 1x9}]", "[]") + "    expect: [{at: 5s, decisions: none}]", "4:19: 'input_series' has no series"),
        (HEAD.replace("1x9}", "1x9}, {series: kvm_x, values: 2}") + "    expect: [{at: 5s, decisions: none}]", "this series stands twice in 'input_series'"),
        (HEAD.replace("kvm_x", "kvm_ksm_run") + "    host: {knobs: {ksm.run: 0}}\n    expect: [{at: 5s, decisions: none}]", "5:11: ksm.run of host has a series in 'input_series', too: leave out one"),
        (HEAD + "    host: {guests: {a: {pins: x}}}\n    expect: [{at: 5s, decisions: none}]", "unknown key 'pins' in a guest (did you mean 'pin'?)"),
        (HEAD + "    host: {cpus: 0-3, nodes: {0: 0-2}}\n    expect: [{at: 5s, decisions: none}]", "5:30: 'nodes' must have each of the CPUs 0-3 once"),
        (HEAD + "    host: {nodes: {0: 0-2}}\n    expect: [{at: 5s, decisions: none}]", "5:19: 'nodes' needs 'cpus'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_test_file(capsys: pytest.CaptureFixture[str], text: str, problem: str) -> None:
    status, printed, errors = run(capsys, text)
    assert status == 2
    assert printed == ""
    assert problem in errors


@pytest.mark.usefixtures("directory")
def test_all_problems_are_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rules.yml").write_text(RULES.replace("for: 10s", "for: ten"))
    status, _, errors = run(capsys, HEAD + "    expect: [{at: 5}]\n  - {}")
    assert status == 2
    assert "rules.yml:8:14: 'for': 'ten' is not a duration" in errors
    assert "rules.test.yml:5:" in errors
    assert "rules.test.yml:6:5: a test has no 'name'" in errors
