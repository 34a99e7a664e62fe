"""What rule files say, as frozen dataclasses (pure)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Literal

from actuator import promql
from actuator.placement import Strategy
from actuator.rules.limits import Limits
from kvmhost.yamltree import Position

Positions = Mapping[str, Position]
"""Where a rule stands in its file (``""``), and each of its values, by key: `when`, `set.ksm.run`, `verify.within`."""


@dataclass(frozen=True, slots=True)
class Record:
    """A recording rule: `expr` becomes the series `name`, with `labels` added."""

    name: str
    expr: promql.Expr
    labels: tuple[tuple[str, str], ...] = ()
    positions: Positions = field(default_factory=dict, compare=False, repr=False)

    @property
    def conditions(self) -> tuple[promql.Expr, ...]:
        """What is evaluated each time."""
        return (self.expr,)

    @property
    def exprs(self) -> tuple[promql.Expr, ...]:
        """All expressions of the rule."""
        return (self.expr,)


@dataclass(frozen=True, slots=True)
class Set:
    """`set: {knob: value}`: a number from PromQL, or a CPU list as it stands."""

    knob: str
    value: promql.Expr | str

    @property
    def exprs(self) -> tuple[promql.Expr, ...]:
        """What is evaluated when the rule acts."""
        return () if isinstance(self.value, str) else (self.value,)


@dataclass(frozen=True, slots=True)
class Place:
    """`place:` vCPUs on host CPUs by a strategy.

    `load`: CPU seconds a second that each vCPU wants. `memory`: bytes of each guest on each NUMA node. `budget`: how
    many vCPUs one plan may move.
    """

    knob: str
    strategy: Strategy
    load: promql.Expr
    memory: promql.Expr
    budget: int

    @property
    def exprs(self) -> tuple[promql.Expr, ...]:
        """What is evaluated when the rule acts."""
        return (self.load, self.memory)


@dataclass(frozen=True, slots=True)
class Allocate:
    """`allocate:` a budget among guests, by a strategy of `allocation`; all expressions are in bytes but `shares`."""

    knob: str
    free: promql.Expr
    need: promql.Expr
    by: str
    shares: promql.Expr | None = None
    min: promql.Expr | None = None
    max: promql.Expr | None = None

    @property
    def exprs(self) -> tuple[promql.Expr, ...]:
        """What is evaluated when the rule acts."""
        return tuple(expr for expr in (self.free, self.need, self.shares, self.min, self.max) if expr)


Action = Set | Place | Allocate


Mode = Literal["off", "dry-run", "apply"]
OnClear = Literal["keep", "restore"]


@dataclass(frozen=True, slots=True)
class Verify:
    """`verify:` what must hold within so many seconds after a write, or the write is taken back.

    `looks_back_seconds`: how far; only an answer from data that are all younger than the write counts.
    """

    expr: promql.Expr
    within_seconds: float
    looks_back_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Fresh:
    """One entry of `require_fresh`: the age, or unix time, that a metric has of a target must not be older."""

    metric: promql.Expr
    within_seconds: float
    is_timestamp: bool = False


@dataclass(frozen=True, slots=True)
class Tune:
    """A tuning rule: while `when` holds, move knobs. Times in seconds; docs/rules.md explains each key."""

    name: str
    because: str
    when: promql.Expr
    actions: tuple[Action, ...]
    until: promql.Expr | None = None
    for_seconds: float = 0.0
    every_seconds: float = 0.0
    limits: Mapping[str, Limits] = field(default_factory=dict)
    priority: int = 0
    keep_firing_for_seconds: float = 0.0
    mode: Mode = "apply"
    on_clear: OnClear = "keep"
    fresh: tuple[Fresh, ...] = ()
    verify: Verify | None = None
    persist: bool = False
    positions: Positions = field(default_factory=dict, compare=False, repr=False)

    @property
    def digest(self) -> str:
        """The same as long as the rule says the same, also in another process."""
        return hashlib.sha256(_said(self).encode()).hexdigest()[:16]

    @property
    def exprs(self) -> tuple[promql.Expr, ...]:
        """All expressions of the rule."""
        checks = [fresh.metric for fresh in self.fresh] + ([self.verify.expr] if self.verify else [])
        return (*self.conditions, *(expr for action in self.actions for expr in action.exprs), *checks)

    @property
    def conditions(self) -> tuple[promql.Expr, ...]:
        """What is evaluated each time, and not only when the rule acts."""
        if self.mode == "off":
            return ()
        return (self.when, self.until) if self.until else (self.when,)

    def is_about_the_same_as(self, other: Tune) -> bool:
        """Whether both hold and end under the same conditions."""
        texts = [(tune.when.text, tune.until.text if tune.until else "") for tune in (self, other)]
        return texts[0] == texts[1]


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together and in order; `interval_seconds` None means at each tick."""

    name: str
    rules: tuple[Record | Tune, ...]
    interval_seconds: float | None = None
    positions: Positions = field(default_factory=dict, compare=False, repr=False)

    @property
    def records(self) -> tuple[Record, ...]:
        """The recording rules of the group."""
        return tuple(rule for rule in self.rules if isinstance(rule, Record))

    @property
    def tunes(self) -> tuple[Tune, ...]:
        """The tuning rules of the group."""
        return tuple(rule for rule in self.rules if isinstance(rule, Tune))


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules in force."""

    groups: tuple[Group, ...]
    left_to_server: tuple[str, ...] = ()
    """Names of recording rules that are not here, since the server of the data makes them."""

    @property
    def for_server(self) -> RuleSet:
        """The tuning rules alone: a server makes the records itself."""
        names = [rule.name for group in self.groups for rule in group.records]
        return RuleSet(tuple(replace(group, rules=group.tunes) for group in self.groups), tuple(dict.fromkeys(names)))

    @property
    def tunes(self) -> tuple[Tune, ...]:
        """All tuning rules, in the order of the files."""
        return tuple(tune for group in self.groups for tune in group.tunes)

    @property
    def window_seconds(self) -> float:
        """The longest look back that any expression needs."""
        exprs = [expr for group in self.groups for rule in group.rules for expr in rule.exprs]
        return max((expr.window_seconds for expr in exprs), default=0.0)


def _said(value: object) -> str:
    """What was said, as text: defaults are left out, so that a key that a later version adds changes nothing."""
    if isinstance(value, promql.Expr):
        return value.text
    if is_dataclass(value):
        given = ((entry, getattr(value, entry.name)) for entry in fields(value) if entry.compare)
        return (
            f"{{{', '.join(f'{entry.name}: {_said(one)}' for entry, one in given if one not in (entry.default, {}))}}}"
        )
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_said(one)}' for key, one in sorted(value.items()))}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_said, value))}]"
    return repr(value)
