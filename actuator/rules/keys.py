"""Every key of a rule file: what it means, whether it must be there, and what form its value has (pure).

The reader (`config`), the JSON Schema (`schema`) and docs/rules.md all go by these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from actuator.placement import STRATEGIES
from actuator.plans import allocation
from actuator.rules.ruleset import Mode, OnClear
from kvmhost.domainpolicy import PINS
from kvmhost.units import DURATION

Form = Mapping[str, object]
"""A JSON Schema of a value."""

MODES: tuple[Mode, ...] = get_args(Mode)
ON_CLEAR: tuple[OnClear, ...] = get_args(OnClear)
DIVISIONS = tuple(allocation.STRATEGIES)
ACTIONS = ("set", "place", "allocate")
ELSE = ("revert",)

RULE_NAME = "[a-zA-Z_][a-zA-Z0-9_]*"
METRIC_NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
AGE_METRIC = rf"{METRIC_NAME}_(age|timestamp)_seconds"

TEXT: Form = {"type": "string", "minLength": 1}
PROMQL: Form = {"type": ["string", "number"]}
DURATION_FORM: Form = {"type": "string", "pattern": f"^(?=.){DURATION.pattern}$"}
AMOUNT: Form = {"type": ["string", "integer"]}


def _word(words: tuple[str, ...]) -> Form:
    return {"enum": list(words)}


def _named(pattern: str) -> Form:
    return {"type": "string", "pattern": f"^{pattern}$"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a mapping. `meaning` is for the operator, in Markdown; an empty `form` is made by `schema`."""

    name: str
    meaning: str
    form: Form = field(default_factory=dict)
    is_required: bool = False


Table = tuple[Key, ...]

GROUP: Table = (
    Key("name", "of the group", TEXT, is_required=True),
    Key("interval", "evaluate it at most this often (default: at each tick)", DURATION_FORM),
    Key("rules", "in order", is_required=True),
)

RECORD: Table = (
    Key("record", "name of the series to make", _named(METRIC_NAME), is_required=True),
    Key("expr", "its value, in PromQL", PROMQL, is_required=True),
    Key("labels", "added to the result's labels", {"type": "object"}),
)

TUNE: Table = (
    Key("tune", "the rule's name, unique over all files", _named(RULE_NAME), is_required=True),
    Key("because", "why, for the person who reads the log at 3 a.m.", TEXT, is_required=True),
    Key(
        "when",
        "PromQL. Each label set of the result is an instance of the rule with a life of its own",
        PROMQL,
        is_required=True,
    ),
    Key("for", "an instance must hold this long before it acts (default: not at all)", DURATION_FORM),
    Key(
        "until",
        "PromQL. Once acting, an instance goes on until this has a result that agrees with its labels; "
        "without `until`, while `when` holds",
        PROMQL,
    ),
    Key(
        "keep_firing_for",
        "what ends an instance must last this long before it does; meanwhile it goes on acting (default: not at all)",
        DURATION_FORM,
    ),
    Key("every", "act again at most this often (default: at each evaluation)", DURATION_FORM),
    Key("set", "`knob: setpoint`, written in this order. A number in PromQL, a CPU list such as `0-3`, or a word"),
    Key("place", "`{knob: vcpu.affinity, strategy: spread}`: see [Placement](#placement)"),
    Key(
        "allocate",
        "memory divided among guests: see [below](#dividing-memory). A rule has one of `set`, `place` and `allocate`",
    ),
    Key("limits", "`min`, `max`, `step`, `deadband`, `writes_per_minute`, within those of the policy"),
    Key("require_fresh", "`metric: duration`: act on a target only if this metric says that its data are younger"),
    Key("verify", "`{expr, within}`: what must hold after a write, or it is taken back: see below"),
    Key(
        "on_clear",
        "what becomes of what it has set when an instance ends: `keep` it (default), or `restore` what it found",
        _word(ON_CLEAR),
    ),
    Key(
        "persist",
        "`true`: the next boot sets what it has set, too, until that is put back; see below",
        {"type": "boolean"},
    ),
    Key(
        "priority",
        "of two rules that set one knob of one target, the higher wins, then the first (default: 0)",
        {"type": "integer"},
    ),
    Key(
        "mode",
        "`apply` (default): it acts if the actuator runs with `--apply`; `dry-run`: it only says what it would do; "
        "`off`: it is read and not evaluated",
        _word(MODES),
    ),
)

PLACE: Table = (
    Key("knob", "`vcpu.affinity`", _word(("vcpu.affinity",)), is_required=True),
    Key("strategy", "one of those below", _word(STRATEGIES), is_required=True),
    Key(
        "load",
        "PromQL: CPU seconds a second that each vCPU wants, with the labels `domain` and `vcpu` (default: the CPU "
        "time it got plus the time it waited, over a minute)",
        PROMQL,
    ),
    Key(
        "memory",
        "PromQL: bytes of each guest on each NUMA node, with the labels `domain` and `node` (default: "
        "`kvm_domain_numa_memory_bytes`)",
        PROMQL,
    ),
    Key(
        "budget",
        "how many vCPUs one plan may move (default: 16); the next plan goes on from there",
        {"type": "integer", "minimum": 1},
    ),
)

ALLOCATE: Table = (
    Key("knob", "`balloon.target`", TEXT, is_required=True),
    Key(
        "free",
        "bytes that the host should gain; below 0, what it may give. Each sample is a budget of its own",
        PROMQL,
        is_required=True,
    ),
    Key("need", "bytes that a guest should have. Guests without a sample take no part", PROMQL, is_required=True),
    Key("by", "who gives first and gets most, see below", _word(DIVISIONS), is_required=True),
    Key(
        "shares",
        "the weight of each guest (default: its policy's, or its maximum in MiB). 0 gives first and gets last",
        PROMQL,
    ),
    Key("min", "the least of each guest in bytes, within what `limits`, the policy and the guest itself allow", PROMQL),
    Key("max", "the most of each guest in bytes, likewise", PROMQL),
)

VERIFY: Table = (
    Key(
        "expr", "PromQL. It holds for a target if it has a result that agrees with its labels", PROMQL, is_required=True
    ),
    Key("within", "how long after the write it may take to hold", DURATION_FORM, is_required=True),
    Key("else", "what is done if it does not: `revert`, the only choice", _word(ELSE)),
)

LIMITS: Table = (
    Key("min", "lowest setpoint", AMOUNT),
    Key("max", "highest setpoint", AMOUNT),
    Key("step", "the farthest that one write may move, as `30%` or a number", AMOUNT),
    Key("deadband", "smaller moves are not worth a write", AMOUNT),
    Key("writes_per_minute", "to each target", {"type": "integer", "minimum": 1}),
)

RADIUS: Table = (
    Key("share", "of the guests that have the knob, as `50%` (the default)", _named(r"\d+(\.\d+)?%")),
    Key("at_least", "so many guests in any case (default: 8)", {"type": "integer", "minimum": 1}),
)

GUEST: Table = (
    Key(
        "match", "a shell pattern on the guest's name or uuid; the first entry that fits holds", TEXT, is_required=True
    ),
    Key("min_guarantee", "its balloon is never set below this", TEXT),
    Key("shares", "its weight when memory is divided among guests", {"type": "integer", "minimum": 1}),
    Key("pin", "`shared`, `exclusive` or `isolated`: whether its vCPUs have CPUs of their own", _word(PINS)),
    Key("opt_out", "`true`: nothing of this guest is ever touched", {"type": "boolean"}),
)
"""Of a guest in the policy; those after the first also as attributes in the domain's metadata."""


def required(table: Table) -> tuple[str, ...]:
    """The keys that must be there."""
    return tuple(key.name for key in table if key.is_required)


def optional(table: Table) -> tuple[str, ...]:
    """The keys that may be left out."""
    return tuple(key.name for key in table if not key.is_required)
