"""Rule files: what they mean, and that every mistake is named with its place, all at once."""

from pathlib import Path
from textwrap import dedent

import pytest

from actuator import config
from actuator.limits import Amount, Limits
from actuator.ruleset import Place, Record, Set, Tune
from actuator.yamltree import InvalidConfig

RULES = Path(__file__).parents[2] / "rules"

WHOLE = """\
groups:
  - name: ksm
    interval: 5s
    rules:
      - record: host:memory_available:ratio
        expr: kvm_memory_available_bytes / kvm_memory_total_bytes
        labels: {team: infra}
      - tune: ksm_scan_faster
        because: Memory is
          short.
        when: host:memory_available:ratio < 0.20
        until: host:memory_available:ratio > 0.25
        for: 15s
        every: 10s
        set:
          ksm.run: 1
          ksm.pages_to_scan: kvm_ksm_pages_to_scan * 1.5
        limits: {min: 100, step: 50%, deadband: 10}
        priority: 3
      - tune: spread
        because: They wait.
        when: kvm_contended > 0
        place: {knob: vcpu.affinity, strategy: spread}
      - tune: pin
        because: On purpose.
        when: kvm_contended > 0
        set: {vcpu.affinity: "3,0-1"}
"""


def test_every_key_of_the_language_is_read() -> None:
    (group,) = config.loads(WHOLE).groups
    record, tune, spread, pin = group.rules
    assert (group.name, group.interval_seconds) == ("ksm", 5.0)
    assert isinstance(record, Record)
    assert (record.name, record.labels) == ("host:memory_available:ratio", (("team", "infra"),))
    assert isinstance(tune, Tune)
    assert (tune.name, tune.because, tune.priority) == ("ksm_scan_faster", "Memory is short.", 3)
    assert (tune.for_seconds, tune.every_seconds) == (15.0, 10.0)
    assert tune.until is not None
    assert tune.until.text == "host:memory_available:ratio > 0.25"
    assert [action.knob for action in tune.actions] == ["ksm.run", "ksm.pages_to_scan"]
    # ksm.run is a switch: distances mean nothing to it.
    expected = Limits(min=100, step=Amount(ratio=0.5), deadband=Amount(absolute=10))
    assert tune.limits == {"ksm.pages_to_scan": expected, "ksm.run": Limits()}
    assert isinstance(spread, Tune)
    (place,) = spread.actions
    assert isinstance(place, Place)
    assert place.load.text == config.DEFAULT_LOAD
    assert isinstance(pin, Tune)
    assert pin.actions == (Set("vcpu.affinity", "0-1,3"),)


def test_the_window_covers_the_longest_look_back() -> None:
    longest = WHOLE.replace("kvm_contended > 0", "rate(kvm_contended_total[30m]) > 0", 1)
    assert config.loads(longest).window_seconds >= 1800
    assert config.loads(WHOLE).window_seconds < 1800


def test_the_shipped_rules_load() -> None:
    names = {tune.name for tune in config.load([RULES]).tunes}
    assert {"ksm_scan_faster", "ksm_scan_slower", "balloon_shrink_idle", "vcpu_spread_contended"} <= names


def tuning(text: str) -> str:
    """A rule file with one tuning rule, whose lines from line 4 on are `text`."""
    body = dedent(text).strip().replace("\n", "\n        ")
    return f"groups:\n  - name: g\n    rules:\n      - {body}\n"


GOOD = """
    tune: a
    because: b
    when: up == 0
    set: {ksm.run: 1}
"""


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["1:1: the file is empty"]),
        ("- a\n", ["1:1: the rule file must be a mapping of keys to values"]),
        ("groups: []\nextra: 1\n", ["2:1: unknown key 'extra' in the rule file (known: groups)"]),
        ("groups:\n\t- a\n", ["2:1: not valid YAML: found character '\\t' that cannot start any token"]),
        ("groups: &a []\nb: *a\n", ["2:4: YAML aliases are not supported: write the value out"]),
        ("groups: " + "[" * 30 + "]" * 30, ["1:28: nested deeper than 20 levels"]),
        (tuning(GOOD + "    wen: x\n"), ["8:9: unknown key 'wen' in a tuning rule (did you mean 'when'?)"]),
        (tuning(GOOD + "    when: up\n"), ["8:9: 'when' stands twice in a tuning rule (first on line 6)"]),
        (tuning("tune: a\nbecause: b\nset: {ksm.run: 1}"), ["4:9: a tuning rule has no 'when'"]),
        (tuning("tune: a\nbecause: b\nwhen: up == 0"), ["4:9: a tuning rule needs one of 'set' and 'place'"]),
        (tuning("alert: a\nexpr: up"), ["4:9: alerting rules belong to Prometheus, not to the actuator"]),
        (tuning("recrod: a\nexpr: up"), ["4:9: a rule needs 'tune' or 'record'"]),
        (tuning("record: 1a\nexpr: up"), ["4:17: 'record': '1a' is not a metric name"]),
        (tuning(GOOD.replace("up == 0", "up ==")), ["6:15: 'when': "]),
        (tuning(GOOD.replace("up == 0", "1")), ["6:15: 'when': must be vector, not scalar: '1'"]),
        (tuning(GOOD.replace("up == 0", "up[5m]")), ["6:15: 'when': must be vector, not matrix: 'up[5m]'"]),
        (tuning(GOOD.replace("up == 0", "rate(up[2d]) == 0")), ["6:15: 'when': looks back more than 1d, or to a"]),
        (tuning(GOOD.replace("up == 0", "up @ 100 == 0")), ["6:15: 'when': looks back more than 1d, or to a fixed"]),
        (tuning(GOOD.replace("ksm.run: 1", "ksm.run: 2")), ["7:24: 'ksm.run': 2 is neither 0 nor 1"]),
        (
            tuning(GOOD.replace("ksm.run: 1", "balloon.target: 512MiB")),
            ["7:31: 'balloon.target': a setpoint is PromQL, which has no sizes: write '512MiB' as 536870912"],
        ),
        (
            tuning(GOOD + "    limits: {step: 5}"),
            ["8:18: unknown key 'step' in the limits of ksm.run (known: writes_per_minute)"],
        ),
        ('groups: "\\UFFFFFFFF"', ["1:1: not valid YAML: an escape or a version number that YAML does not allow"]),
        (tuning(GOOD + "    for: 15 parsecs"), ["8:14: 'for': '15 parsecs' is not a duration: write it like 15s"]),
        (tuning(GOOD + "    priority: high"), ["8:19: 'priority': 'high' is not a whole number"]),
        (
            tuning(GOOD.replace("ksm.run", "ksm.page_to_scan")),
            ["7:15: unknown knob 'ksm.page_to_scan' (did you mean 'ksm.pages_to_scan'?)"],
        ),
        (
            tuning(GOOD.replace("ksm.run: 1", "vcpu.affinity: 3-1")),
            ["7:30: 'vcpu.affinity': '3-1' is not a CPU list: the range 3-1 runs backwards"],
        ),
        (
            tuning(GOOD.replace("ksm.run", "ksm.pages_to_scan") + "    limits: {max: 64MiB}"),
            ["8:23: 'max': '64MiB' is not a plain whole number, and this knob is a count"],
        ),
        (
            tuning(GOOD.replace("ksm.run", "balloon.target") + "    limits: {min: 64, step: 10%%}"),
            [
                "8:23: 'min': '64' has no unit: write a size like 512MiB",
                "8:33: 'step': '10%%' is not a size: write it like 512MiB",
            ],
        ),
        (
            tuning(GOOD.replace("ksm.run", "ksm.sleep_millisecs") + "    limits: {min: 20ms, max: 10ms}"),
            ["8:23: 'min' (20ms) is above 'max' (10ms)"],
        ),
        (
            tuning("tune: a\nbecause: b\nwhen: up == 0\nplace: {knob: ksm.run, strategy: sprad}"),
            [
                "7:23: 'ksm.run' cannot be placed; only vcpu.affinity can",
                "7:42: 'strategy': unknown 'sprad' (did you mean 'spread'?)",
            ],
        ),
    ],
)
def test_mistakes_are_named_with_their_place(text: str, problems: list[str]) -> None:
    with pytest.raises(InvalidConfig) as caught:
        config.loads(text)
    found = [str(problem) for problem in caught.value.problems]
    assert len(found) == len(problems), found
    for line, expected in zip(found, problems, strict=True):
        assert line.startswith(f"rules.yml:{expected}"), (line, expected)


def test_all_files_are_read_before_anything_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(tuning(GOOD))
    (tmp_path / "b.yml").write_text(tuning(GOOD + "    bogus: 1"))
    (tmp_path / "c.yml").write_text("groups: 7\n")
    (tmp_path / "a.test.yml").write_text("not: rules\n")
    with pytest.raises(InvalidConfig) as caught:
        config.load([tmp_path, tmp_path / "absent.yml"])
    a, b, c = (tmp_path / name for name in ("a.yml", "b.yml", "c.yml"))
    assert [str(problem) for problem in caught.value.problems] == [
        f"{tmp_path / 'absent.yml'}:1:1: cannot be read: "
        f"[Errno 2] No such file or directory: '{tmp_path / 'absent.yml'}'",
        f"{b}:4:15: rule 'a' is already defined at {a}:4",
        f"{b}:8:9: unknown key 'bogus' in a tuning rule "
        "(known: because, every, for, limits, place, priority, set, tune, until, when)",
        f"{c}:1:9: 'groups' must be a list (lines that start with '- ')",
    ]


def test_a_directory_without_rules_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="no rule files"):
        config.load([tmp_path])
