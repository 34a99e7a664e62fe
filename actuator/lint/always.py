"""Conditions that hold whatever the values are, since a result of 0 is a result, too (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from actuator.lint import shape
from actuator.lint.catalogue import Catalogue, exported
from actuator.lint.conditions import constant
from actuator.lint.finding import Finding, Subject, at, expressions
from actuator.promql.binary import COMPARISONS, SETS
from actuator.promql.nodes import Binary, Call, Node, Number, Selector, children

_CONDITIONS = {"when": "when", "until": "until", "verify.expr": "verify"}
_OF_NOTHING = frozenset(("absent", "absent_over_time"))


def check(subject: Subject) -> Iterator[Finding]:
    """Every condition of the tuning rules."""
    for rule in subject.rules.tunes:
        for key, expr in expressions(rule):
            if key not in _CONDITIONS:
                continue
            if fix := _bool(expr.root):
                why = f"compares by 'bool', which gives 0 or 1, and a result of 0 holds, too: {fix}"
            elif not _can_be_empty(expr.root, subject.catalogue, ()):
                why = "compares nothing, and a result of 0 holds, too: compare it, as '... > 0'"
            else:
                continue
            yield at(rule, key, f"{_CONDITIONS[key]!r} {why}")


def _bool(node: Node) -> str | None:
    """What to write instead of a `bool` whose 0 is taken for a result."""
    match node:
        case Binary(op, left, right) if op in SETS:
            return _bool(left) or _bool(right)
        case Binary(return_bool=True):
            return "leave 'bool' out"
        case Call("vector", (Binary(return_bool=True),)):
            return "compare what it gives, as '... == 1'"
        case _:
            return None


def _can_be_empty(node: Node, catalogue: Catalogue, above: tuple[str, ...]) -> bool:
    """Whether it can have no result while its data are there; the benefit of the doubt counts as that.

    `above`: the records that go back to it.
    """

    def empty(child: Node) -> bool:
        return _can_be_empty(child, catalogue, above)

    match node:
        case Selector():
            return _says_by_being_there(shape.metric(node), catalogue, above)
        case Call(function) if function in _OF_NOTHING:
            return True
        case Call("vector", (argument,)):
            return constant(argument) not in (None, 0.0)  # always, on purpose
        case Binary(op, left, right):
            if op == "or":
                return empty(left) and empty(right)
            if op == "unless" or (op in COMPARISONS and not node.return_bool):
                return True
            return empty(left) or empty(right)
        case Number():
            return False
        case _:
            return any(empty(child) for child in children(node))


def _says_by_being_there(name: str | None, catalogue: Catalogue, above: tuple[str, ...]) -> bool:
    if name is None or name.endswith("_info") or name in above:
        return True
    if records := catalogue.records(name):
        return any(_can_be_empty(one.expr.root, catalogue, (*above, name)) for one in records)
    return name not in exported()
