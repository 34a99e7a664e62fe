"""Rule files: YAML to `ruleset`, with every problem of every file at once.

The format is Prometheus' rule file, with `tune:` beside `record:`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from actuator import promql
from actuator.knobs import KNOBS
from actuator.knobs.knob import Unit
from actuator.limits import LIMIT_KEYS, Limits, amount, number
from actuator.ruleset import Group, Place, Record, RuleSet, Set, Tune
from actuator.yamltree import InvalidConfig, Node, Problem, Tree, suggestion
from kvmhost.units import duration_seconds, format_seconds, size_bytes

TUNE_KEYS = ("tune", "because", "when", "until", "for", "every", "set", "place", "limits", "priority")
"""Of a tuning rule; the first three are required."""

MAX_WINDOW_SECONDS = 86400.0
"""Samples are kept in memory for as long as the rules look back, so there is a limit to that."""

STRATEGIES = ("spread",)
# What a vCPU wants is what it got and what it waited for.
DEFAULT_LOAD = "rate(kvm_domain_vcpu_cpu_seconds_total[1m]) + rate(kvm_domain_vcpu_delay_seconds_total[1m])"

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_RULE_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_CONTINUOUS = (Unit.COUNT, Unit.MILLISECONDS, Unit.BYTES)


def load(paths: Iterable[Path]) -> RuleSet:
    """Read rule files, and the `*.yml` of directories (`*.test.yml` left out).

    Raises `InvalidConfig` with every problem of every file.
    """
    groups: list[Group] = []
    problems: list[Problem] = []
    names: dict[str, str] = {}
    for path in paths:
        files = _rule_files(path)
        if not files:
            problems.append(Problem(str(path), 1, 1, "no rule files (*.yml) here"))
        for file in files:
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                problems.append(Problem(str(file), 1, 1, f"cannot be read: {error}"))
                continue
            reader = _Reader(str(file), text, names)
            groups += reader.groups()
            problems += reader.tree.problems
    if problems:
        raise InvalidConfig(problems)
    return RuleSet(tuple(groups))


def loads(text: str, file: str = "rules.yml") -> RuleSet:
    """Like `load`, from text."""
    reader = _Reader(file, text, {})
    groups = reader.groups()
    if reader.tree.problems:
        raise InvalidConfig(reader.tree.problems)
    return RuleSet(tuple(groups))


def _rule_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.glob("*.yml") if not file.name.endswith(".test.yml"))
    return [path]


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return parse


def _expr(*value_types: str) -> Callable[[str], promql.Expr]:
    def parse(text: str) -> promql.Expr:
        try:
            expr = promql.compile(text)
        except promql.PromqlError as error:
            raise ValueError(f"{error} in {text.strip()!r}") from error
        if expr.value_type not in value_types:
            raise ValueError(f"must be {' or '.join(value_types)}, not {expr.value_type}: {text.strip()!r}")
        if expr.window_seconds > MAX_WINDOW_SECONDS:
            raise ValueError(f"looks back more than {format_seconds(MAX_WINDOW_SECONDS)}, or to a fixed time")
        return expr

    return parse


_VECTOR = _expr("vector")
_NUMBER = _expr("vector", "scalar")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _positive(text: str) -> int:
    value = _whole(text)
    if value < 1:
        raise ValueError(f"{text!r} must be at least 1")
    return value


class _Reader:
    """Reads one file; `names` maps the tuning rules seen so far, in any file, to their places."""

    def __init__(self, file: str, text: str, names: dict[str, str]) -> None:
        self.tree = Tree(file, text)
        self._names = names

    def groups(self) -> list[Group]:
        if self.tree.root is None:
            return []
        top = self.tree.fields(self.tree.root, "the rule file", ["groups"])
        groups = [self._group(node) for node in self.tree.items(top.get("groups"), "'groups'")]
        return [group for group in groups if group is not None]

    def _group(self, node: Node) -> Group | None:
        fields = self.tree.fields(node, "a group", ["name", "rules"], ["interval"])
        name = self.tree.scalar(fields.get("name"), "'name'", str)
        interval = self.tree.scalar(fields.get("interval"), "'interval'", duration_seconds)
        rules = [self._rule(item) for item in self.tree.items(fields.get("rules"), "'rules'")]
        if name is None:
            return None
        return Group(name, tuple(rule for rule in rules if rule is not None), interval)

    def _rule(self, node: Node) -> Record | Tune | None:
        keys = self.tree.keys(node)
        if "record" in keys:
            return self._record(node)
        if "tune" in keys:
            return self._tune(node)
        if "alert" in keys:
            self.tree.error(node, "alerting rules belong to Prometheus, not to the actuator")
        else:
            self.tree.error(node, "a rule needs 'tune' or 'record'")
        return None

    def _record(self, node: Node) -> Record | None:
        fields = self.tree.fields(node, "a recording rule", ["record", "expr"], ["labels"])
        name = self.tree.scalar(fields.get("record"), "'record'", _matching(_METRIC, "a metric name"))
        expr = self.tree.scalar(fields.get("expr"), "'expr'", _NUMBER)
        labels = []
        if "labels" in fields:
            for key, (key_node, value_node) in self.tree.entries(fields["labels"], "'labels'").items():
                value = self.tree.scalar(value_node, f"label {key!r}", str)
                if not _LABEL.fullmatch(key) or key == "__name__":
                    self.tree.error(key_node, f"{key!r} is not a label name")
                elif value is not None:
                    labels.append((key, value))
        return Record(name, expr, tuple(sorted(labels))) if name and expr else None

    def _tune(self, node: Node) -> Tune | None:
        tree = self.tree
        fields = tree.fields(node, "a tuning rule", TUNE_KEYS[:3], TUNE_KEYS[3:])
        name = tree.scalar(fields.get("tune"), "'tune'", _matching(_RULE_NAME, "a rule name ([a-zA-Z0-9_])"))
        because = tree.scalar(fields.get("because"), "'because'", _one_line)
        when = tree.scalar(fields.get("when"), "'when'", _VECTOR)
        until = tree.scalar(fields.get("until"), "'until'", _VECTOR)
        held = tree.scalar(fields.get("for"), "'for'", duration_seconds)
        every = tree.scalar(fields.get("every"), "'every'", duration_seconds)
        priority = tree.scalar(fields.get("priority"), "'priority'", _whole)
        actions = self._actions(node, fields)
        limits = self._limits(fields.get("limits"), [action.knob for action in actions])
        self._claim(name, fields.get("tune"))
        if name is None or because is None or when is None or not actions:
            return None
        return Tune(
            name=name,
            because=because,
            when=when,
            actions=tuple(actions),
            until=until,
            for_seconds=held or 0.0,
            every_seconds=every or 0.0,
            limits=limits,
            priority=priority or 0,
        )

    def _claim(self, name: str | None, node: Node | None) -> None:
        if name is None or node is None:
            return
        if name in self._names:
            self.tree.error(node, f"rule {name!r} is already defined at {self._names[name]}")
        else:
            self._names[name] = self.tree.where(node)

    def _actions(self, rule: Node, fields: Mapping[str, Node]) -> list[Set | Place]:
        if ("set" in fields) == ("place" in fields):
            self.tree.error(rule, "a tuning rule needs one of 'set' and 'place'")
        actions: list[Set | Place] = []
        if "set" in fields:
            actions += self._set(fields["set"])
        if "place" in fields:
            place = self._place(fields["place"])
            actions += [place] if place else []
        return actions

    def _set(self, node: Node) -> list[Set | Place]:
        actions: list[Set | Place] = []
        entries = self.tree.entries(node, "'set'")
        for knob, (key, value_node) in entries.items():
            if not self._is_knob(key, knob):
                continue
            parse = _SETPOINTS.get(KNOBS[knob].unit, _NUMBER)
            value = self.tree.scalar(value_node, f"{knob!r}", parse)
            if value is not None:
                actions.append(Set(knob, value))
        if not entries:
            self.tree.error(node, "'set' names no knob")
        return actions

    def _place(self, node: Node) -> Place | None:
        fields = self.tree.fields(node, "'place'", ["knob", "strategy"], ["load"])
        knob = self.tree.scalar(fields.get("knob"), "'knob'", str)
        strategy = self.tree.scalar(fields.get("strategy"), "'strategy'", _one_of(STRATEGIES))
        load_expr = self.tree.scalar(fields.get("load"), "'load'", _VECTOR)
        if knob is not None and self._is_knob(fields["knob"], knob) and knob != "vcpu.affinity":
            self.tree.error(fields["knob"], f"{knob!r} cannot be placed; only vcpu.affinity can")
            return None
        if knob is None or knob not in KNOBS or strategy is None:
            return None
        return Place(knob, strategy, load_expr or promql.compile(DEFAULT_LOAD))

    def _is_knob(self, node: Node, knob: str) -> bool:
        if knob not in KNOBS:
            self.tree.error(node, f"unknown knob {knob!r}{suggestion(knob, KNOBS)}")
        return knob in KNOBS

    def _limits(self, node: Node | None, knobs: list[str]) -> dict[str, Limits]:
        if node is None:
            return {}
        continuous = [knob for knob in knobs if KNOBS[knob].unit in _CONTINUOUS]
        limits = {knob: read_limits(self.tree, node, knob) for knob in continuous or knobs[:1]}
        budgets = [Limits(writes_per_minute=limit.writes_per_minute) for limit in limits.values()]
        return {knob: limits.get(knob, budgets[0]) for knob in knobs}


def read_limits(tree: Tree, node: Node, knob: str) -> Limits:
    """The limits of one knob, in its own unit."""
    unit = KNOBS[knob].unit
    keys = LIMIT_KEYS if unit in _CONTINUOUS else ("writes_per_minute",)
    fields = tree.fields(node, f"the limits of {knob}", (), keys)
    low = tree.scalar(fields.get("min"), "'min'", number(unit))
    high = tree.scalar(fields.get("max"), "'max'", number(unit))
    if low is not None and high is not None and low > high:
        tree.error(fields["min"], f"'min' ({unit.format(low)}) is above 'max' ({unit.format(high)})")
    return Limits(
        min=low,
        max=high,
        step=tree.scalar(fields.get("step"), "'step'", amount(unit)),
        deadband=tree.scalar(fields.get("deadband"), "'deadband'", amount(unit)),
        writes_per_minute=tree.scalar(fields.get("writes_per_minute"), "'writes_per_minute'", _positive),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cpus(text: str) -> str:
    return str(Unit.CPUS.parse(text))


def _switch(text: str) -> promql.Expr:
    expr = _NUMBER(text)
    if isinstance(expr.root, promql.nodes.Number) and expr.root.value not in (0, 1):
        raise ValueError(f"{text} is neither 0 nor 1")
    return expr


def _bytes(text: str) -> promql.Expr:
    try:
        size = size_bytes(text)
    except ValueError:
        return _NUMBER(text)
    raise ValueError(f"a setpoint is PromQL, which has no sizes: write {text!r} as {size}")


_SETPOINTS: Mapping[Unit, Callable[[str], promql.Expr | str]] = {
    Unit.CPUS: _cpus,
    Unit.SWITCH: _switch,
    Unit.BYTES: _bytes,
}


def _one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"unknown {text!r}{suggestion(text, words)}")
        return text

    return parse
