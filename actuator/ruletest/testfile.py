"""Test files: YAML to cases, with every problem of a file and of the rules that it names at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from actuator.decision import Outcome
from actuator.knobs import KNOBS, Target, Value, label
from actuator.promql.labels import Labels
from actuator.promqltest.script import MAX_STEPS, Points, points_of
from actuator.rules import config, policy
from actuator.rules.policy import Policy
from actuator.rules.ruleset import RuleSet
from actuator.rules.values import one_of
from actuator.ruletest.fixture import knob_named, read_host, series_named, target_named, value_of
from actuator.simulated import shown
from actuator.simulated.simulatedhost import NOTHING, Fixture
from kvmhost import textfile
from kvmhost.units import duration_seconds
from kvmhost.yamltree import InvalidConfig, Node, Problem, Tree, suggestion

SUFFIX = ".test.yml"
DEFAULT_INTERVAL_SECONDS = 5.0
OUTCOMES = tuple(word for part in get_args(Outcome) for word in get_args(part) if word != "write")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a knob must read at a time."""

    line: int
    knob: str
    target: Target
    value: Value


@dataclass(frozen=True, slots=True)
class Pattern:
    """A decision that must have been made; what is None, or a label that is not named, may be anything."""

    line: int
    rule: str | None = None
    knob: str | None = None
    target: Target = ()
    outcome: str | None = None
    before: Value | None = None
    after: Value | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must be so `at` seconds after the start. `decisions`: those since the expectation before; None: any."""

    line: int
    at: float
    setpoints: tuple[Reading, ...] = ()
    decisions: tuple[Pattern, ...] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One test: a host over time, with a sample of its series each `interval` seconds, and what is expected of it."""

    line: int
    name: str
    interval: float
    series: tuple[tuple[Labels, Points], ...]
    fixture: Fixture
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class TestFile:
    """One file; rules are evaluated each `interval` seconds."""

    __test__ = False  # for pytest

    path: Path
    rules: RuleSet
    policy: Policy
    interval: float
    cases: tuple[Case, ...]


def files(path: Path) -> list[Path]:
    """The test files of a directory, or the file itself."""
    return sorted(path.glob(f"[!.]*{SUFFIX}")) if path.is_dir() else [path]


def load(path: Path, promises: Policy) -> TestFile:
    """Read a test file with its rules; `promises` is the policy if it names none. Raises `InvalidConfig`."""
    reader = _Reader(path, textfile.read_config(path), promises)
    found = reader.file()
    if reader.problems or found is None:
        raise InvalidConfig(reader.problems)
    return found


class _Reader:
    def __init__(self, path: Path, text: str, promises: Policy) -> None:
        self._path = path
        self._promises = promises
        self._tree = Tree(str(path), text)
        self._others: list[Problem] = []
        self._rules = RuleSet(())
        self._interval = DEFAULT_INTERVAL_SECONDS

    @property
    def problems(self) -> list[Problem]:
        return [*self._tree.problems, *self._others]

    def file(self) -> TestFile | None:
        tree = self._tree
        if tree.root is None:
            return None
        top = tree.fields(
            tree.root, "the test file", ("rule_files", "tests"), ("evaluation_interval", "groups", "policy")
        )
        interval = tree.scalar(top.get("evaluation_interval"), "'evaluation_interval'", _positive_seconds)
        self._interval = interval or DEFAULT_INTERVAL_SECONDS
        names = [tree.scalar(node, "a rule file", str) for node in tree.items(top.get("rule_files"), "'rule_files'")]
        self._rules = self._load_rules([name for name in names if name])
        if "groups" in top:
            self._rules = self._chosen(top["groups"])
        name = tree.scalar(top.get("policy"), "'policy'", str)
        if name is not None:
            self._promises = self._load_policy(name)
        cases = [self._case(node) for node in tree.items(top.get("tests"), "'tests'")]
        found = tuple(case for case in cases if case is not None)
        return TestFile(self._path, self._rules, self._promises, self._interval, found)

    def _load_rules(self, names: list[str]) -> RuleSet:
        try:
            return config.load([self._path.parent / name for name in names])
        except InvalidConfig as error:
            self._others += error.problems
            return RuleSet(())

    def _chosen(self, node: Node) -> RuleSet:
        """The groups that are named, of all rule files."""
        group = one_of(tuple(group.name for group in self._rules.groups))
        names = {self._tree.scalar(item, "a group", group) for item in self._tree.items(node, "'groups'")}
        return RuleSet(tuple(group for group in self._rules.groups if group.name in names))

    def _load_policy(self, name: str) -> Policy:
        try:
            return policy.load(self._path.parent / name)
        except InvalidConfig as error:
            self._others += error.problems
            return Policy()

    def _case(self, node: Node) -> Case | None:
        tree = self._tree
        fields = tree.fields(node, "a test", ("name", "input_series", "expect"), ("interval", "host"))
        name = tree.scalar(fields.get("name"), "'name'", str)
        interval = tree.scalar(fields.get("interval"), "'interval'", _positive_seconds)
        series = self._series(fields.get("input_series"))
        fixture = read_host(tree, fields["host"]) if "host" in fields else NOTHING
        samples = [(name, 1.0) for name, _ in series]
        for knob, target in fixture.values:
            if target in shown.values(KNOBS[knob], samples):
                tree.error(
                    fields["host"], f"{knob} of {label(target)} has a series in 'input_series', too: leave out one"
                )
        expectations = self._expectations(fields.get("expect"))
        if name is None:
            return None
        return Case(_line(node), name, interval or self._interval, series, fixture, expectations)

    def _series(self, node: Node | None) -> tuple[tuple[Labels, Points], ...]:
        found: dict[Labels, Points] = {}
        items = self._tree.items(node, "'input_series'")
        if node is not None and not items:
            self._tree.error(node, "'input_series' has no series: without any sample a scrape has failed")
        for item in items:
            fields = self._tree.fields(item, "a series", ("series", "values"))
            name = self._tree.scalar(fields.get("series"), "'series'", series_named)
            values = self._tree.scalar(fields.get("values"), "'values'", points_of)
            if name in found:
                self._tree.error(fields["series"], "this series stands twice in 'input_series'")
            elif name and values is not None:
                found[name] = values
        return tuple(found.items())

    def _expectations(self, node: Node | None) -> tuple[Expectation, ...]:
        found: list[Expectation] = []
        items = self._tree.items(node, "'expect'")
        if node is not None and not items:
            self._tree.error(node, "'expect' expects nothing")
        for item in items:
            expectation = self._expectation(item, found[-1].at if found else -1.0)
            if expectation is not None:
                found.append(expectation)
        return tuple(found)

    def _expectation(self, node: Node, after: float) -> Expectation | None:
        tree = self._tree
        fields = tree.fields(node, "an expectation", ("at",), ("setpoints", "decisions"))
        at = tree.scalar(fields.get("at"), "'at'", duration_seconds)
        if "setpoints" not in fields and "decisions" not in fields:
            tree.error(node, "an expectation needs 'setpoints' or 'decisions'")
        setpoints = self._readings(fields["setpoints"]) if "setpoints" in fields else ()
        decisions = self._decisions(fields["decisions"]) if "decisions" in fields else None
        if at is None:
            return None
        if at <= after:
            tree.error(fields["at"], "'at' must be later than that of the expectation before")
        if at / self._interval > MAX_STEPS:
            tree.error(fields["at"], f"more than {MAX_STEPS} evaluations: shorten it, or evaluate less often")
        return Expectation(_line(node), at, setpoints, decisions)

    def _readings(self, node: Node) -> tuple[Reading, ...]:
        found = []
        entries = self._tree.entries(node, "'setpoints'")
        if not entries:
            self._tree.error(node, "'setpoints' names no knob")
        for key, value in entries.values():
            named = self._tree.scalar(key, "a knob", target_named)
            if named is not None:
                knob, target = named
                reads = self._tree.scalar(value, repr(knob.name), value_of(knob))
                if reads is not None:
                    found.append(Reading(_line(key), knob.name, target, reads))
        return tuple(found)

    def _decisions(self, node: Node) -> tuple[Pattern, ...]:
        if getattr(node, "value", None) == "none":
            return ()
        patterns = [self._pattern(item) for item in self._tree.items(node, "'decisions', if it is not none,")]
        if not patterns:
            self._tree.error(node, "'decisions' is empty: write none if nothing is to be decided")
        return tuple(patterns)

    def _pattern(self, node: Node) -> Pattern:
        tree = self._tree
        fields = tree.fields(node, "a decision", (), ("rule", "knob", "outcome", "before", "after", "detail"))
        rule = tree.scalar(fields.get("rule"), "'rule'", self._rule)
        outcome = tree.scalar(fields.get("outcome"), "'outcome'", one_of(OUTCOMES))
        detail = tree.scalar(fields.get("detail"), "'detail'", str)
        named = tree.scalar(fields.get("knob"), "'knob'", knob_named)
        values = {name: fields[name] for name in ("before", "after") if name in fields}
        if named is None:
            for name, value in values.items():
                if "knob" not in fields:
                    tree.error(value, f"{name!r} needs a 'knob', whose unit it is in")
            return Pattern(_line(node), rule, outcome=outcome, detail=detail)
        knob, target = named
        before, after = (tree.scalar(values.get(name), repr(name), value_of(knob)) for name in ("before", "after"))
        return Pattern(_line(node), rule, knob.name, target, outcome, before, after, detail)

    def _rule(self, text: str) -> str:
        names = [tune.name for tune in self._rules.tunes]
        if text not in names and not self._others:  # with rule files in error there is no telling
            raise ValueError(f"there is no tuning rule {text!r} in 'rule_files'{suggestion(text, names)}")
        return text


def _positive_seconds(text: str) -> float:
    seconds = duration_seconds(text)
    if not seconds:
        raise ValueError(f"{text!r} is no time at all: write for instance 5s")
    return seconds


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
