"""Rule files: YAML to `ruleset`, with every problem of every file at once.

The format is Prometheus' rule file, with `tune:` beside `record:`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from actuator import promql
from actuator.knobs import KNOBS
from actuator.knobs.knob import Unit
from actuator.placement import STRATEGIES
from actuator.promql.requirements import looks_back_ms
from actuator.rules import keys
from actuator.rules.limits import CONTINUOUS, Limits
from actuator.rules.ruleset import Action, Allocate, Fresh, Group, Place, Record, RuleSet, Set, Tune, Verify
from actuator.rules.unknown import unknown_knob
from actuator.rules.values import (
    Compile,
    byte_count,
    expr_of,
    matching,
    one_line,
    one_of,
    positive,
    read_limits,
    setpoint,
    whole,
)
from kvmhost import domainpolicy, textfile
from kvmhost.units import duration_seconds, format_seconds
from kvmhost.yamltree import InvalidConfig, Node, Problem, Tree, suggestion

MAX_WINDOW_SECONDS = 86400.0
"""Samples are kept in memory for as long as the rules look back, so there is a limit to that."""

# What a vCPU wants is what it got and what it waited for.
DEFAULT_LOAD = "rate(kvm_domain_vcpu_cpu_seconds_total[1m]) + rate(kvm_domain_vcpu_delay_seconds_total[1m])"
DEFAULT_MEMORY = "kvm_domain_numa_memory_bytes"
DEFAULT_BUDGET = 16


def for_memory(text: str) -> promql.Expr:
    """An expression that samples in memory can answer; raises PromqlError."""
    expr = promql.compile(text)
    if math.isinf(expr.window_seconds):
        raise promql.PromqlError("looks at a fixed time, whose samples will be gone: write offset instead of @")
    if expr.window_seconds > MAX_WINDOW_SECONDS:
        raise promql.PromqlError(
            f"looks back more than {format_seconds(MAX_WINDOW_SECONDS)}: shorten a range or an offset"
        )
    return expr


def load(paths: Iterable[Path], compile_expr: Compile = for_memory) -> RuleSet:
    """Read rule files, and the `*.yml` of directories (`*.test.yml` left out).

    `compile_expr` refuses what cannot be evaluated where the rules will be.
    Raises `InvalidConfig` with every problem of every file.
    """
    groups: list[Group] = []
    problems: list[Problem] = []
    names: dict[str, str] = {}
    for path in paths:
        files = rule_files(path)
        if not files:
            problems.append(Problem(str(path), 1, 1, "no rule files (*.yml) here"))
        for file in files:
            try:
                text = textfile.read_config(file)
            except InvalidConfig as error:
                problems += error.problems
                continue
            reader = _Reader(str(file), text, names, compile_expr)
            groups += reader.groups()
            problems += reader.tree.problems
    if problems:
        raise InvalidConfig(problems)
    return RuleSet(tuple(groups))


def loads(text: str, file: str = "rules.yml", compile_expr: Compile = for_memory) -> RuleSet:
    """Like `load`, from text."""
    reader = _Reader(file, text, {}, compile_expr)
    groups = reader.groups()
    if reader.tree.problems:
        raise InvalidConfig(reader.tree.problems)
    return RuleSet(tuple(groups))


def rule_files(path: Path) -> list[Path]:
    """The rule files of a directory, or the file itself; `InvalidConfig` if the directory cannot be read.

    Hidden ones are an editor's, or a copying program's.
    """
    if not os.path.isdir(path):  # noqa: PTH112 (false for what must not be looked at, and no error)
        return [path]
    try:
        files = sorted(path.iterdir())
    except OSError as error:
        raise InvalidConfig([Problem(str(path), 1, 1, f"cannot be read: {error.strerror}")]) from None
    return [file for file in files if file.match("[!.]*.yml") and not file.name.endswith(".test.yml")]


class _Reader:
    """Reads one file; `names` maps the tuning rules seen so far, in any file, to their places."""

    def __init__(self, file: str, text: str, names: dict[str, str], compile_expr: Compile) -> None:
        self.tree = Tree(file, text)
        self._names = names
        self._vector = expr_of(compile_expr, "vector")
        self._number = expr_of(compile_expr, "vector", "scalar")

    def groups(self) -> list[Group]:
        if self.tree.root is None:
            return []
        top = self.tree.fields(self.tree.root, "the rule file", ["groups"])
        groups: dict[str, Group] = {}
        for node in self.tree.items(top.get("groups"), "'groups'"):
            group = self._group(node)
            if group is not None and group.name in groups:
                self.tree.error(node, f"there is a group {group.name!r} already in this file")
            elif group is not None:
                groups[group.name] = group
        return list(groups.values())

    def _group(self, node: Node) -> Group | None:
        fields = self._fields(node, "a group", keys.GROUP)
        name = self.tree.scalar(fields.get("name"), "'name'", str)
        interval = self.tree.scalar(fields.get("interval"), "'interval'", duration_seconds)
        rules = [self._rule(item) for item in self.tree.items(fields.get("rules"), "'rules'")]
        if name is None:
            return None
        return Group(name, tuple(rule for rule in rules if rule is not None), interval, self.tree.positions(node))

    def _rule(self, node: Node) -> Record | Tune | None:
        present = self.tree.keys(node)
        if "record" in present:
            return self._record(node)
        if "tune" in present:
            return self._tune(node)
        if "alert" in present:
            self.tree.error(node, "alerting rules belong to Prometheus, not to the actuator")
        else:
            self.tree.error(node, "a rule needs 'tune' or 'record'")
        return None

    def _record(self, node: Node) -> Record | None:
        fields = self._fields(node, "a recording rule", keys.RECORD)
        name = self.tree.scalar(fields.get("record"), "'record'", matching(keys.METRIC_NAME, "a metric name"))
        expr = self.tree.scalar(fields.get("expr"), "'expr'", self._number)
        labels = []
        if "labels" in fields:
            for key, (key_node, value_node) in self.tree.entries(fields["labels"], "'labels'").items():
                value = self.tree.scalar(value_node, f"label {key!r}", str)
                if not re.fullmatch(keys.RULE_NAME, key) or key == "__name__":
                    self.tree.error(key_node, f"{key!r} is not a label name")
                elif value is not None:
                    labels.append((key, value))
        return Record(name, expr, tuple(sorted(labels)), self.tree.positions(node)) if name and expr else None

    def _tune(self, node: Node) -> Tune | None:
        tree = self.tree
        fields = self._fields(node, "a tuning rule", keys.TUNE)
        name = tree.scalar(fields.get("tune"), "'tune'", matching(keys.RULE_NAME, "a rule name ([a-zA-Z0-9_])"))
        because = tree.scalar(fields.get("because"), "'because'", one_line)
        when = tree.scalar(fields.get("when"), "'when'", self._vector)
        until = tree.scalar(fields.get("until"), "'until'", self._vector)
        held = tree.scalar(fields.get("for"), "'for'", duration_seconds)
        kept = tree.scalar(fields.get("keep_firing_for"), "'keep_firing_for'", duration_seconds)
        every = tree.scalar(fields.get("every"), "'every'", duration_seconds)
        mode = tree.scalar(fields.get("mode"), "'mode'", one_of(keys.MODES))
        on_clear = tree.scalar(fields.get("on_clear"), "'on_clear'", one_of(keys.ON_CLEAR))
        fresh = self._require_fresh(fields.get("require_fresh"))
        verify = self._verify(fields.get("verify"))
        priority = tree.scalar(fields.get("priority"), "'priority'", whole)
        actions = self._actions(node, fields)
        persist = self._persist(fields.get("persist"), actions)
        limits = self._limits(fields.get("limits"), self._knobs(fields))
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
            keep_firing_for_seconds=kept or 0.0,
            mode=mode or "apply",
            on_clear=on_clear or "keep",
            fresh=fresh,
            verify=verify,
            persist=persist,
            positions=self.tree.positions(node),
        )

    def _fields(self, node: Node, what: str, table: keys.Table) -> dict[str, Node]:
        return self.tree.fields(node, what, keys.required(table), keys.optional(table))

    def _persist(self, node: Node | None, actions: Iterable[Action]) -> bool:
        persist = self.tree.scalar(node, "'persist'", domainpolicy.truth)
        lost = [action.knob for action in actions if not KNOBS[action.knob].can_persist]
        if node is not None and persist and lost:
            self.tree.error(
                node,
                f"no boot can set {', '.join(lost)}: 'persist' is for sysctl.vm.* and hugepages.pool; set the others "
                "by a rule without it",
            )
        return bool(persist)

    def _require_fresh(self, node: Node | None) -> tuple[Fresh, ...]:
        found = []
        for name, (key, value) in self.tree.entries(node, "'require_fresh'").items() if node else ():
            within = self.tree.scalar(value, f"{name!r}", duration_seconds)
            if not re.fullmatch(keys.AGE_METRIC, name):
                self.tree.error(
                    key, f"{name!r} is no age: name a metric that ends in _age_seconds or _timestamp_seconds"
                )
            elif within is not None:
                found.append(Fresh(self._vector(name), within, name.endswith("_timestamp_seconds")))
        return tuple(found)

    def _verify(self, node: Node | None) -> Verify | None:
        if node is None:
            return None
        fields = self._fields(node, "'verify'", keys.VERIFY)
        expr = self.tree.scalar(fields.get("expr"), "'expr'", self._vector)
        within = self.tree.scalar(fields.get("within"), "'within'", duration_seconds)
        self.tree.scalar(fields.get("else"), "'else'", one_of(keys.ELSE))
        if expr is None or within is None:
            return None
        looks_back = looks_back_ms(expr.root) / 1000
        if within <= looks_back:
            self.tree.error(
                fields["within"],
                f"'within' must be longer than the {format_seconds(looks_back)} that its expression looks back, "
                "since only what comes after the write counts",
            )
        return Verify(expr, within, looks_back)

    def _claim(self, name: str | None, node: Node | None) -> None:
        if name is None or node is None:
            return
        if name in self._names:
            self.tree.error(node, f"rule {name!r} is already defined at {self._names[name]}")
        else:
            self._names[name] = self.tree.where(node)

    def _actions(self, rule: Node, fields: Mapping[str, Node]) -> list[Action]:
        given = [repr(key) for key in keys.ACTIONS if key in fields]
        if len(given) != 1:
            has = f", and this one has {' and '.join(given)}: make a rule of each" if given else ""
            self.tree.error(rule, f"a tuning rule needs one of 'set', 'place' and 'allocate'{has}")
        actions: list[Action] = []
        if "set" in fields:
            actions += self._set(fields["set"])
        if "place" in fields:
            place = self._place(fields["place"])
            actions += [place] if place else []
        if "allocate" in fields:
            allocate = self._allocate(fields["allocate"])
            actions += [allocate] if allocate else []
        return actions

    def _knobs(self, fields: Mapping[str, Node]) -> list[str]:
        """The knobs that a rule names, also where something else is wrong with what it says of them."""
        named: list[str] = []
        for action in keys.ACTIONS:
            entries = self.tree.entries(fields[action], repr(action)) if action in fields else {}
            if action == "set":
                named += entries
            elif "knob" in entries:
                named.append(str(entries["knob"][1].value))
        return [knob for knob in named if knob in KNOBS]

    def _set(self, node: Node) -> list[Set]:
        actions: list[Set] = []
        entries = self.tree.entries(node, "'set'")
        for knob, (key, value_node) in entries.items():
            if not self._is_knob(key, knob):
                continue
            value = self.tree.scalar(value_node, f"{knob!r}", setpoint(self._number, KNOBS[knob]))
            if value is not None:
                actions.append(Set(knob, value))
        if not entries:
            self.tree.error(node, "'set' names no knob")
        return actions

    def _place(self, node: Node) -> Place | None:
        fields = self._fields(node, "'place'", keys.PLACE)
        knob = self.tree.scalar(fields.get("knob"), "'knob'", str)
        strategy = self.tree.scalar(fields.get("strategy"), "'strategy'", one_of(STRATEGIES))
        load_expr = self.tree.scalar(fields.get("load"), "'load'", self._vector)
        memory = self.tree.scalar(fields.get("memory"), "'memory'", self._vector)
        budget = self.tree.scalar(fields.get("budget"), "'budget'", positive)
        if knob is not None and self._is_knob(fields["knob"], knob) and knob != "vcpu.affinity":
            self.tree.error(fields["knob"], f"{knob!r} cannot be placed; only vcpu.affinity can")
            return None
        if knob is None or knob not in KNOBS or strategy is None:
            return None
        return Place(
            knob=knob,
            strategy=strategy,
            load=load_expr or self._vector(DEFAULT_LOAD),
            memory=memory or self._vector(DEFAULT_MEMORY),
            budget=budget or DEFAULT_BUDGET,
        )

    def _allocate(self, node: Node) -> Allocate | None:
        fields = self._fields(node, "'allocate'", keys.ALLOCATE)
        knob = self.tree.scalar(fields.get("knob"), "'knob'", str)
        by = self.tree.scalar(fields.get("by"), "'by'", one_of(keys.DIVISIONS))
        need = self.tree.scalar(fields.get("need"), "'need'", self._vector)
        size = partial(byte_count, self._number)
        free, low, high = (self.tree.scalar(fields.get(key), repr(key), size) for key in ("free", "min", "max"))
        shares = self.tree.scalar(fields.get("shares"), "'shares'", self._number)
        memory = [name for name, row in KNOBS.items() if row.unit is Unit.BYTES and row.keys == ("domain",)]
        if knob is not None and self._is_knob(fields["knob"], knob) and knob not in memory:
            self.tree.error(fields["knob"], f"{knob!r} is not memory of guests{suggestion(knob, memory)}")
        elif knob and knob in memory and by and need and free:
            return Allocate(knob, free, need, by, shares, low, high)
        return None

    def _is_knob(self, node: Node, knob: str) -> bool:
        if knob not in KNOBS:
            self.tree.error(node, unknown_knob(knob))
        return knob in KNOBS

    def _limits(self, node: Node | None, knobs: list[str]) -> dict[str, Limits]:
        if node is None:
            return {}
        if not knobs:
            self._fields(node, "'limits'", keys.LIMITS)
            return {}
        continuous = [knob for knob in knobs if KNOBS[knob].unit in CONTINUOUS]
        limits = {knob: read_limits(self.tree, node, knob) for knob in continuous or knobs[:1]}
        budgets = [Limits(writes_per_minute=limit.writes_per_minute) for limit in limits.values()]
        return {knob: limits.get(knob, budgets[0]) for knob in knobs}
