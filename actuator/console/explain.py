"""What there is to say of a rule, a knob or a guest: its text, what holds now, and what was decided when (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from actuator.console.history import Event, Faults, Noted
from actuator.console.status import Status
from actuator.decision import Decision, shown
from actuator.knobs import HOST, KNOBS, Target, label
from actuator.ledger.release import Asked
from actuator.ledger.release import names as names_of
from actuator.ledger.standing import Owning
from actuator.rules.ruleset import Action, Allocate, Set, Tune
from kvmhost.units import format_seconds

HOST_NAME = label(HOST)
SCRAPE = "scrape"
"""Where the faults stand that keep all rules from deciding."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known. `status` None: no actuator has run yet; `why_idle`: why none is at work now.

    `owned`, `left_alone`: what is changed now, and what rules leave alone, by the ledger.
    """

    history: Sequence[Noted] = ()
    owned: Owning = field(default_factory=dict)
    left_alone: Sequence[Asked] = ()
    status: Status | None = None
    why_idle: str = ""
    tunes: Mapping[str, Tune] = field(default_factory=dict)


def names(facts: Facts) -> Mapping[str, str]:
    """Everything that can be asked for, and what it is: a rule, a knob, a guest or the host."""
    entries = [noted.entry for noted in facts.history]
    decisions = [entry for entry in entries if isinstance(entry, Decision)]
    targets = [decision.target for decision in decisions] + [target for _, target in facts.owned]
    guests = [dict(target)["domain"] for target in targets if "domain" in dict(target)]
    rules = [*facts.tunes, *(decision.rule for decision in decisions)]
    rules += [entry.rule for entry in entries if isinstance(entry, Faults)]
    rules += [rule.name for rule in facts.status.rules] if facts.status else []
    guests += [dict(record.target)["domain"] for record, _ in facts.left_alone if "domain" in dict(record.target)]
    knobs = [*KNOBS, *(decision.knob for decision in decisions)]
    known = ((HOST_NAME,), "target"), (guests, "guest"), (rules, "rule"), (knobs, "knob")
    return {name: kind for words, kind in known for name in words}


def explain(facts: Facts, name: str, *, last: int, since: float | None = None) -> Iterator[str]:
    """The lines about one of `names`; of its decisions the `last` ones, or those since a time (unix seconds)."""
    kind = names(facts)[name]
    yield f"{kind} {name}"
    if kind == "knob" and name in KNOBS:
        yield f"  {KNOBS[name].summary}"
    if name in facts.tunes:
        yield from _text(facts.tunes[name])
    if kind == "rule":
        yield from _state(facts, name)
    yield "changed now"
    yield from list(_changed(facts, name)) or ["  nothing"]
    yield from _left_alone(facts, name)
    yield "decisions, newest last"
    found = _entries(facts.history, name, last, since)
    yield from (f"  {_line(noted)}" for noted in found)
    if not any(isinstance(noted.entry, Decision) for noted in found):
        when = "" if since is None else f" since {_time(since)}"
        if when and not facts.why_idle and _entries(facts.history, name, 1):
            yield f"  nothing new{when}: what stays the same is not told again"
        else:
            yield f"  none{when}: {_why_none(facts)}"


def _text(tune: Tune) -> Iterator[str]:
    durations = (
        ("for", tune.for_seconds),
        ("keep_firing_for", tune.keep_firing_for_seconds),
        ("every", tune.every_seconds),
    )
    yield f"  because: {tune.because}"
    yield f"  when: {' '.join(tune.when.text.split())}"
    if tune.until:
        yield f"  until: {' '.join(tune.until.text.split())}"
    yield from (f"  {key}: {format_seconds(seconds)}" for key, seconds in durations if seconds)
    yield from (f"  {_action(action)}" for action in tune.actions)
    if tune.verify:
        within = format_seconds(tune.verify.within_seconds)
        yield f"  verify: {' '.join(tune.verify.expr.text.split())}, within {within}, else revert"
    if tune.on_clear == "restore":
        yield "  on_clear: restore"
    if tune.mode != "apply":
        yield f"  mode: {tune.mode}"


def _action(action: Action) -> str:
    if isinstance(action, Set):
        value = action.value if isinstance(action.value, str) else " ".join(action.value.text.split())
        return f"set {action.knob}: {value}"
    if isinstance(action, Allocate):
        return f"allocate {action.knob} by {action.by}: free {action.free.text}, need {action.need.text}"
    return f"place {action.knob}: strategy {action.strategy}, at most {action.budget} at a time"


def _state(facts: Facts, name: str) -> Iterator[str]:
    rule = next((rule for rule in facts.status.rules if rule.name == name), None) if facts.status else None
    yield "now" if not facts.why_idle else "when an actuator was last at work"
    if rule is None:
        yield "  no actuator has this rule in force"
        return
    if rule.mode == "off":
        yield "  mode off: it is not evaluated"
        return
    holds = [f"holds for {rule.active}"] if rule.active else []
    waits = [f"waits for its `for` with {rule.pending}"] if rule.pending else []
    yield f"  {', '.join(holds + waits) or 'holds for nothing'}"
    yield from (f"  cannot decide: {fault}" for fault in rule.faults)


def _changed(facts: Facts, name: str) -> Iterator[str]:
    for (knob, target), owned in facts.owned.items():
        rules = list(dict.fromkeys([*(change.rule for change in owned.changes), owned.last.rule]))
        if name in rules or _is_about(name, knob, target):
            original = shown(knob, owned.original)
            now = " or ".join(dict.fromkeys(shown(knob, value) for value in owned.written))
            yield f"  {label(target)} {knob} {original} -> {now}, by {', '.join(rules)} at {_time(owned.last.time)}"


def _left_alone(facts: Facts, name: str) -> Iterator[str]:
    found = [what for record, what in facts.left_alone if name in names_of(record)]
    if found:
        yield f"left alone, until `kvmtune-actuator release {name}` or the time is over"
    yield from (f"  {what}" for what in found)


def _is_about(name: str, knob: str, target: Target) -> bool:
    return name == knob or ("domain", name) in target or (name == HOST_NAME and target == HOST)


def _entries(history: Sequence[Noted], name: str, last: int, since: float | None = None) -> list[Noted]:
    """The newest that are about it, with what befell all rules since the first of them."""
    own = [
        index
        for index, noted in enumerate(history)
        if _is_own(noted, name) and (since is None or noted.entry.time >= since)
    ][-last:]
    chosen = set(own)
    return [
        noted
        for index, noted in enumerate(history)
        if index in chosen or (own and index > own[0] and _is_of_all(noted))
    ]


def _is_own(noted: Noted, name: str) -> bool:
    match noted.entry:
        case Decision() as decision:
            return decision.rule == name or _is_about(name, decision.knob, decision.target)
        case Faults(rule=rule):
            return rule == name
    return False


def _is_of_all(noted: Noted) -> bool:
    return isinstance(noted.entry, Event) or (isinstance(noted.entry, Faults) and noted.entry.rule == SCRAPE)


def _line(noted: Noted) -> str:
    match noted.entry:
        case Decision() as decision:
            text = decision.text
        case Faults(rule=rule, faults=()):
            text = f"{rule}: works again"
        case Faults(rule=rule, faults=faults):
            text = f"{rule}: cannot decide: {'; '.join(faults)}"
        case Event(what=what, detail=detail):
            text = f"actuator {what}" + (f": {detail}" if detail else "")
    return f"{_time(noted.entry.time)} {'dry run: ' if noted.dry_run else ''}{text}"


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%F %T}"


def _why_none(facts: Facts) -> str:
    if facts.why_idle:
        return f"no actuator is at work, {facts.why_idle}"
    return "the rules have asked for nothing here; `kvmtune-actuator status` shows which hold"
