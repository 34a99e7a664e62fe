"""What rule files say, as frozen dataclasses (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from actuator import promql
from actuator.limits import Limits


@dataclass(frozen=True, slots=True)
class Record:
    """A recording rule: `expr` becomes the series `name`, with `labels` added."""

    name: str
    expr: promql.Expr
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def exprs(self) -> tuple[promql.Expr, ...]:
        """All expressions of the rule."""
        return (self.expr,)


@dataclass(frozen=True, slots=True)
class Set:
    """`set: {knob: value}`: a number from PromQL, or a CPU list as it stands."""

    knob: str
    value: promql.Expr | str


@dataclass(frozen=True, slots=True)
class Place:
    """`place:` vCPUs on host CPUs by a strategy; `load` is CPU seconds a second of each vCPU."""

    knob: str
    strategy: str
    load: promql.Expr


@dataclass(frozen=True, slots=True)
class Tune:
    """A tuning rule: while `when` holds, move knobs. Times in seconds; docs/rules.md explains each key."""

    name: str
    because: str
    when: promql.Expr
    actions: tuple[Set | Place, ...]
    until: promql.Expr | None = None
    for_seconds: float = 0.0
    every_seconds: float = 0.0
    limits: Mapping[str, Limits] = field(default_factory=dict)
    priority: int = 0

    @property
    def exprs(self) -> tuple[promql.Expr, ...]:
        """All expressions of the rule."""
        setpoints = [action.load if isinstance(action, Place) else action.value for action in self.actions]
        candidates = (self.when, self.until, *setpoints)
        return tuple(expr for expr in candidates if isinstance(expr, promql.Expr))

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

    @property
    def tunes(self) -> tuple[Tune, ...]:
        """The tuning rules of the group."""
        return tuple(rule for rule in self.rules if isinstance(rule, Tune))


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules in force."""

    groups: tuple[Group, ...]

    @property
    def tunes(self) -> tuple[Tune, ...]:
        """All tuning rules, in the order of the files."""
        return tuple(tune for group in self.groups for tune in group.tunes)

    @property
    def window_seconds(self) -> float:
        """The longest look back that any expression needs."""
        exprs = [expr for group in self.groups for rule in group.rules for expr in rule.exprs]
        return max((expr.window_seconds for expr in exprs), default=0.0)
