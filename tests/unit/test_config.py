"""Rule files: what they mean, and that every mistake is named with its place, all at once."""

from pathlib import Path
from textwrap import dedent

import pytest

from actuator.rules import config
from actuator.rules.limits import Amount, Limits
from actuator.rules.ruleset import Allocate, Place, Record, Set, Tune
from kvmhost.yamltree import InvalidConfig

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
        keep_firing_for: 20s
        mode: off
        on_clear: restore
        require_fresh: {kvm_a_age_seconds: 30s, kvm_b_timestamp_seconds: 1m}
        verify: {expr: "rate(kvm_c[30s] offset 5s) < 0.6", within: 1m, else: revert}
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
    assert (tune.keep_firing_for_seconds, tune.mode, tune.on_clear) == (20.0, "off", "restore")
    assert [(fresh.metric.text, fresh.within_seconds, fresh.is_timestamp) for fresh in tune.fresh] == [
        ("kvm_a_age_seconds", 30.0, False),
        ("kvm_b_timestamp_seconds", 60.0, True),
    ]
    assert tune.verify is not None
    assert (tune.verify.expr.text, tune.verify.within_seconds) == ("rate(kvm_c[30s] offset 5s) < 0.6", 60.0)
    assert tune.verify.looks_back_seconds == 35.0
    assert isinstance(spread, Tune)
    assert (spread.mode, spread.on_clear, spread.fresh, spread.verify) == ("apply", "keep", (), None)
    (place,) = spread.actions
    assert isinstance(place, Place)
    assert (place.strategy, place.budget) == ("spread", config.DEFAULT_BUDGET)
    assert (place.load.text, place.memory.text) == (config.DEFAULT_LOAD, config.DEFAULT_MEMORY)
    assert isinstance(pin, Tune)
    assert pin.actions == (Set("vcpu.affinity", "0-1,3"),)


ALLOCATE = """
    tune: a
    because: b
    when: up == 0
    allocate:
      knob: balloon.target
      free: 2^30 - kvm_free
      need: max_over_time(kvm_need[1h])
      by: idle
      shares: 1
      min: kvm_min
"""


def test_an_allocation_is_read_and_its_expressions_count() -> None:
    rules = config.loads(tuning(ALLOCATE))
    (action,) = rules.tunes[0].actions
    assert isinstance(action, Allocate)
    assert (action.knob, action.by, action.max) == ("balloon.target", "idle", None)
    assert [expr.text for expr in action.exprs] == ["2^30 - kvm_free", "max_over_time(kvm_need[1h])", "1", "kvm_min"]
    assert rules.window_seconds >= 3600


def test_the_window_covers_the_longest_look_back() -> None:
    longest = WHOLE.replace("kvm_contended > 0", "rate(kvm_contended_total[30m]) > 0", 1)
    assert config.loads(longest).window_seconds >= 1800
    assert config.loads(WHOLE).window_seconds < 1800


def test_the_shipped_rules_load() -> None:
    names = {tune.name for tune in config.load([RULES]).tunes}
    assert {"ksm_hunt", "ksm_patrol"} <= names
    simple = {tune.name for tune in config.load([RULES / "simple"]).tunes}
    assert {"ksm_scan_faster", "ksm_scan_slower", "balloon_shrink_idle", "vcpu_spread_contended"} <= simple


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
        (
            tuning("tune: a\nbecause: b\nwhen: up == 0"),
            ["4:9: a tuning rule needs one of 'set', 'place' and 'allocate'"],
        ),
        (
            tuning(GOOD + ALLOCATE[ALLOCATE.index("    allocate") :]),
            [
                "4:9: a tuning rule needs one of 'set', 'place' and 'allocate', and this one has 'set' and 'allocate': "
                "make a rule of each"
            ],
        ),
        (tuning(ALLOCATE.replace("by: idle", "by: idel")), ["11:15: 'by': unknown 'idel' (did you mean 'idle'?)"]),
        (
            tuning(ALLOCATE.replace("balloon.target", "ksm.run")),
            ["8:17: 'ksm.run' is not memory of guests (known: balloon.target)"],
        ),
        (
            tuning(ALLOCATE.replace("balloon.target", "balloon")),
            ["8:17: unknown knob 'balloon' (did you mean 'balloon.target'?)"],
        ),
        (
            tuning(ALLOCATE.replace("kvm_min", "64MiB")),
            ["13:16: 'min': this is PromQL, which has no sizes: write '64MiB' as 67108864"],
        ),
        (
            tuning(ALLOCATE.replace("max_over_time(kvm_need[1h])", "2")),
            ["10:17: 'need': must be vector, not scalar: '2'"],
        ),
        (tuning(ALLOCATE.replace("      free: 2^30 - kvm_free\n", "")), ["8:11: 'allocate' has no 'free'"]),
        (
            tuning(ALLOCATE.replace("shares: 1", "share: 1")),
            ["12:11: unknown key 'share' in 'allocate' (did you mean 'shares'?)"],
        ),
        (tuning("alert: a\nexpr: up"), ["4:9: alerting rules belong to Prometheus, not to the actuator"]),
        (tuning("recrod: a\nexpr: up"), ["4:9: a rule needs 'tune' or 'record'"]),
        (tuning("record: 1a\nexpr: up"), ["4:17: 'record': '1a' is not a metric name"]),
        (tuning(GOOD.replace("up == 0", "up ==")), ["6:15: 'when': "]),
        (
            tuning(GOOD.replace("up == 0", "1")),
            [
                "6:15: 'when': must be vector, not scalar: '1'; write vector(...) of one side, as in vector(time()) % 4 >= 2"
            ],
        ),
        (
            tuning(GOOD.replace("up == 0", "time() % 4 >= 2")),
            [
                "6:15: 'when': comparisons between scalars must use BOOL modifier in 'time() % 4 >= 2'; write vector(...) "
                "of one side, as in vector(time()) % 4 >= 2"
            ],
        ),
        (tuning(GOOD.replace("up == 0", "up[5m]")), ["6:15: 'when': must be vector, not matrix: 'up[5m]'"]),
        (tuning(GOOD.replace("up == 0", "rate(up[2d]) == 0")), ["6:15: 'when': looks back more than 1d: shorten"]),
        (tuning(GOOD.replace("up == 0", "up @ 100 == 0")), ["6:15: 'when': looks at a fixed time"]),
        (tuning(GOOD.replace("ksm.run: 1", "ksm.run: 3")), ["7:24: 'ksm.run': 3 is not one of its values: 0, 1, 2"]),
        (
            tuning(GOOD.replace("ksm.run: 1", "ksm.run: yes, ksm.pages_to_scan: Off, balloon.stats_period: true ")),
            [
                "7:24: 'ksm.run': 'yes' would be a metric in PromQL: write 1 for 'yes'",
                "7:48: 'ksm.pages_to_scan': 'Off' would be a metric in PromQL: write a number",
                "7:75: 'balloon.stats_period': 'true' would be a metric in PromQL: write a number",
            ],
        ),
        (
            tuning(GOOD.replace("ksm.run: 1", "ksm.run: 'off'")),
            ["7:24: 'ksm.run': 'off' would be a metric in PromQL: write 0 for 'off'"],
        ),
        (
            tuning(GOOD.replace("ksm.run: 1", "thp.enabled: nevr")),
            ["7:28: 'thp.enabled': unknown 'nevr' (did you mean 'never'?)"],
        ),
        (
            tuning(GOOD.replace("ksm.run: 1", "balloon.target: 512MiB")),
            ["7:31: 'balloon.target': this is PromQL, which has no sizes: write '512MiB' as 536870912"],
        ),
        (
            tuning(GOOD.replace("ksm.run: 1", "ksm.sleep_millisecs: 30ms")),
            ["7:36: 'ksm.sleep_millisecs': this is PromQL, where '30ms' is 0.03 (seconds): write it as 30"],
        ),
        (
            tuning(GOOD.replace("ksm.run", "ksm.pages_to_scan") + "    limits: {step: 0%, deadband: 0}"),
            ["8:24: 'step': '0%' never moves anything: leave it out, or switch the rule off by 'mode: off'"],
        ),
        (
            tuning(GOOD.replace("ksm.run", "ksm.pages_to_scan") + "    limits: {step: 0}"),
            ["8:24: 'step': '0' never moves anything: leave it out, or switch the rule off by 'mode: off'"],
        ),
        (
            tuning(GOOD + "    limits: {step: 5}"),
            ["8:18: unknown key 'step' in the limits of ksm.run (known: writes_per_minute)"],
        ),
        # What is wrong in one place hides nothing that is wrong in another.
        (
            tuning(GOOD.replace("ksm.run: 1", "ksm.pages_to_scan: 1 +") + "    limits: {mx: 5, step: 5GiB}"),
            [
                "7:34: 'ksm.pages_to_scan': invalid promql query: something is missing after '+' in '1 +'",
                "8:18: unknown key 'mx' in the limits of ksm.pages_to_scan (did you mean 'max'?)",
                "8:31: 'step': '5GiB' is not a plain whole number, and this knob is a count",
            ],
        ),
        (
            tuning(
                GOOD.replace("ksm.run: 1", "sysctl.vm.swapiness: 1, sysctl.kernel.numa_balancing: 0")
                + "    limits: {mx: 5}"
            ),
            [
                "7:15: unknown knob 'sysctl.vm.swapiness' (did you mean 'sysctl.vm.swappiness'?)",
                "7:39: unknown knob 'sysctl.kernel.numa_balancing': docs/knobs.md lists those of balloon, domain, emulator, ",
                "8:18: unknown key 'mx' in 'limits' (did you mean 'max'?)",
            ],
        ),
        (
            tuning(GOOD.replace("ksm.run", "thp.nonsense")),
            ["7:15: unknown knob 'thp.nonsense': of thp there are enabled, defrag; see docs/knobs.md"],
        ),
        (
            tuning(GOOD + "    for: 99999999999999999999d"),
            ["8:14: 'for': '99999999999999999999d' is too long: write at most 36500d"],
        ),
        (tuning(GOOD + "    mode: dryrun"), ["8:15: 'mode': unknown 'dryrun' (did you mean 'dry-run'?)"]),
        (tuning(GOOD + "    on_clear: reset"), ["8:19: 'on_clear': unknown 'reset' (did you mean 'restore'?)"]),
        (
            tuning(
                GOOD.replace("ksm.run: 1", "ksm.run: 1, sysctl.vm.swappiness: 1, thp.enabled: never")
                + "    persist: true"
            ),
            [
                "8:18: no boot can set ksm.run, thp.enabled: 'persist' is for sysctl.vm.* and hugepages.pool; set the others by a"
            ],
        ),
        (tuning(GOOD + "    persist: yes"), ["8:18: 'persist': 'yes' is neither true nor false"]),
        (
            tuning(GOOD + "    require_fresh: {kvm_age: 1m, kvm_a_age_seconds: soon}"),
            [
                "8:25: 'kvm_age' is no age: name a metric that ends in _age_seconds or _timestamp_seconds",
                "8:57: 'kvm_a_age_seconds': 'soon' is not a duration: write it like 15s",
            ],
        ),
        (tuning(GOOD + "    require_fresh: 30s"), ["8:24: 'require_fresh' must be a mapping of keys to values"]),
        (
            tuning(GOOD + "    verify: {exp: up, within: 1m, else: keep}"),
            [
                "8:17: 'verify' has no 'expr'",
                "8:18: unknown key 'exp' in 'verify' (did you mean 'expr'?)",
                "8:45: 'else': unknown 'keep' (known: revert)",
            ],
        ),
        (
            tuning(GOOD + "    verify: {expr: 'rate(x[1m]) < 1', within: 1m}"),
            ["8:51: 'within' must be longer than the 1m that its expression looks back, since only what comes after"],
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
        (
            tuning(
                "tune: a\nbecause: b\nwhen: up == 0\nplace: {knob: vcpu.affinity, strategy: even, budget: 0, lod: 1}"
            ),
            [
                "7:48: 'strategy': unknown 'even' (known: exclusive, numa, pack, release, spread)",
                "7:62: 'budget': '0' must be at least 1",
                "7:65: unknown key 'lod' in 'place' (did you mean 'load'?)",
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


def test_a_group_is_there_once_in_a_file() -> None:
    with pytest.raises(InvalidConfig, match="there is a group 'g' already in this file"):
        config.loads("groups:\n  - {name: g, rules: []}\n  - {name: g, rules: []}\n")


def test_all_files_are_read_before_anything_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(tuning(GOOD))
    (tmp_path / "b.yml").write_text(tuning(GOOD + "    bogus: 1"))
    (tmp_path / "c.yml").write_text("groups: 7\n")
    (tmp_path / "a.test.yml").write_text("not: rules\n")
    with pytest.raises(InvalidConfig) as caught:
        config.load([tmp_path, tmp_path / "absent.yml"])
    a, b, c = (tmp_path / name for name in ("a.yml", "b.yml", "c.yml"))
    assert [str(problem) for problem in caught.value.problems] == [
        f"{tmp_path / 'absent.yml'}:1:1: cannot be read: No such file or directory",
        f"{b}:4:15: rule 'a' is already defined at {a}:4",
        f"{b}:8:9: unknown key 'bogus' in a tuning rule "
        "(known: allocate, because, every, for, keep_firing_for, limits, mode, on_clear, persist, place, priority, require_fresh, set, "
        "tune, until, verify, when)",
        f"{c}:1:9: 'groups' must be a list (lines that start with '- ')",
    ]


def test_a_directory_without_rules_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="no rule files"):
        config.load([tmp_path])


def test_a_rule_that_may_persist() -> None:
    (tune,) = config.loads(tuning(GOOD.replace("ksm.run: 1", "sysctl.vm.swappiness: 1") + "    persist: true")).tunes
    assert tune.persist
    (tune,) = config.loads(tuning(GOOD + "    persist: false")).tunes
    assert not tune.persist


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (GOOD, True),
        (GOOD.replace("because: b", "because:   'b' # why"), True),
        (GOOD + "    mode: apply", True),
        (GOOD + "    mode: dry-run", False),
        (GOOD + "    limits: {writes_per_minute: 1}", False),
        (GOOD + "    verify: {expr: up, within: 1m}", False),
        (GOOD.replace("ksm.run: 1", "ksm.run: 0"), False),
        (GOOD.replace("because: b", "because: c"), False),
    ],
)
def test_a_digest_is_that_of_what_a_rule_says(other: str, is_same: bool) -> None:
    (one,), (two,) = config.loads(tuning(GOOD)).tunes, config.loads(tuning(other)).tunes
    assert (one.digest == two.digest) == is_same


def test_a_digest_is_the_same_in_the_next_process() -> None:
    """It stands in ledgers."""
    (tune,) = config.loads(WHOLE).tunes[:1]
    assert tune.digest == "097cc664339d9b4e"
