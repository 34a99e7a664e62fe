"""Metrics that nobody exports, and labels that a metric does not have (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from actuator.lint import shape
from actuator.lint.catalogue import OF_TARGET, Catalogue
from actuator.lint.finding import Finding, Rule, Subject, at, expressions
from actuator.lint.shape import Labels
from actuator.promql.labels import NAME
from actuator.promql.nodes import Aggregate, Binary, Matching, Node, Selector, walk
from actuator.rules.ruleset import RuleSet
from kvmhost.yamltree import suggestion

_OURS = "kvm_"
"""How the names of all metrics of the exporter begin, but those that each process has."""


def check(subject: Subject) -> Iterator[Finding]:
    """Every expression of every rule."""
    for rule in (rule for group in subject.rules.groups for rule in group.rules):
        for key, expr in expressions(rule):
            for name in sorted(expr.metric_names):
                if name not in subject.catalogue:
                    yield from _unknown(subject, rule, key, name)
            if not subject.for_server:  # a server can have given any label to any series
                for message in dict.fromkeys(_labels(expr.root, subject.catalogue)):
                    yield at(rule, key, f"{_last(key)!r} {message}")


def unknown(rules: RuleSet) -> tuple[str, ...]:
    """The metrics that rules ask for, and that neither the exporter nor they themselves make."""
    catalogue = Catalogue(rules)
    names = {
        name for group in rules.groups for rule in group.rules for expr in rule.exprs for name in expr.metric_names
    }
    return tuple(sorted(name for name in names if name not in catalogue))


def _unknown(subject: Subject, rule: Rule, key: str, name: str) -> Iterator[Finding]:
    close = subject.catalogue.similar(name)
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    asks = f"{_last(key)!r} asks for {name}, which"
    if name.startswith(_OURS):
        message = (
            f"{asks} no collector exports and no rule here records{hint or ': docs/metrics.md lists what there is'}"
        )
        yield at(rule, key, message, is_error=not subject.for_server)
    elif subject.for_server:
        return
    elif ":" in name:
        yield at(rule, key, f"{asks} no rule here records{hint or ': give the file that does, too'}")
    else:
        elsewhere = ": other exporters' metrics are there with --query.url only"
        yield at(rule, key, f"{asks} kvmtune-exporter does not have{hint or elsewhere}")


def _labels(root: Node, catalogue: Catalogue) -> Iterator[str]:
    for node in walk(root):
        match node:
            case Selector(matchers):
                found = shape.labels(node, catalogue.labels)
                for matcher in matchers:
                    if found is not None and matcher.name not in {*found, NAME}:
                        yield f"selects {shape.metric(node)} by {_never(matcher.name, found)}"
            case Aggregate(operand=operand, grouping=grouping, without=False):
                found = shape.labels(operand, catalogue.labels)
                yield from (f"groups by {_never(name, found)}" for name in _beyond(grouping, found))
            case Binary(left=left, right=right, matching=matching):
                yield from _matching(matching, *(shape.labels(side, catalogue.labels) for side in (left, right)))


def _matching(matching: Matching, left: Labels, right: Labels) -> Iterator[str]:
    """Labels that one of both sides never has cannot match those that the other has."""
    if matching.on:
        for name in matching.labels:
            for side, found in (("left", left), ("right", right)):
                if found is not None and name in _beyond([name], found):
                    yield f"matches on ({name}), but its {side} side has no label {name!r}{_known(name, found)}"
    one = right if matching.many == "left" else left
    yield from (f"copies {_never(name, one)}" for name in _beyond(matching.include, one))


def _beyond(names: Iterable[str], found: Labels) -> list[str]:
    return [] if found is None else [name for name in names if name not in found | OF_TARGET]


def _never(name: str, found: Labels) -> str:
    return f"{name!r}, a label that it never has{_known(name, found)}"


def _known(name: str, found: Labels) -> str:
    own = (found or frozenset()) - OF_TARGET
    return suggestion(name, own) if own else " (it has none)"


def _last(key: str) -> str:
    """`free` of `allocate.free`; a knob stays whole, and a metric is named anyway."""
    first, _, rest = key.partition(".")
    return rest if rest and first != "require_fresh" else first
