"""Setpoints that cannot be meant: of another unit, of another size, or at odds with each other (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from actuator.knobs import KNOBS, Knob
from actuator.knobs.knob import Unit
from actuator.lint import shape
from actuator.lint.conditions import constant, core
from actuator.lint.finding import Finding, Subject, at, expressions
from actuator.promql.nodes import Binary, Node, Selector, walk
from actuator.rules.ruleset import Set, Tune

_LEAST_BALLOON = 64 * 2**20
"""Bytes. No guest runs in less."""

_EITHER = (
    ("sysctl.vm.dirty_ratio", "sysctl.vm.dirty_bytes"),
    ("sysctl.vm.dirty_background_ratio", "sysctl.vm.dirty_background_bytes"),
)
"""Of these the kernel sets one to 0 when the other is written."""
_BELOW = (
    ("sysctl.vm.dirty_background_ratio", "sysctl.vm.dirty_ratio"),
    ("sysctl.vm.dirty_background_bytes", "sysctl.vm.dirty_bytes"),
)
"""The first is to be below the second; the kernel takes half of that else."""


def check(subject: Subject) -> Iterator[Finding]:
    """Every tuning rule."""
    for rule in subject.rules.tunes:
        yield from _together(rule)
        for action in rule.actions:
            if isinstance(action, Set) and not isinstance(action.value, str):
                yield from _unit(rule, KNOBS[action.knob], action.value.root)
        for key, expr in expressions(rule):
            if any(
                isinstance(node, Binary) and node.op in "/%" and constant(node.right) == 0 for node in walk(expr.root)
            ):
                yield at(rule, key, "it divides by 0, which gives no number that could be used")


def _together(rule: Tune) -> Iterator[Finding]:
    """What the values of one rule are to each other, in the order in which they are written."""
    values = {action.knob: action.value for action in rule.actions if isinstance(action, Set)}
    order = list(values)
    for pair in _EITHER:
        if values.keys() >= set(pair):
            first, last = sorted(pair, key=order.index)
            yield at(rule, f"set.{last}", f"the kernel sets {first} to 0 when {last} is written: set one of them")
    for low, high in _BELOW:
        numbers = [
            None if value is None or isinstance(value, str) else constant(value.root)
            for value in (values.get(low), values.get(high))
        ]
        if numbers[0] is not None and numbers[1] is not None and numbers[0] >= numbers[1] > 0:
            yield at(
                rule, f"set.{low}",
                f"{low} is not below {high} ({numbers[1]:g}), so that the kernel takes half of that: write less",
            )  # fmt: skip


def _unit(rule: Tune, knob: type[Knob], root: Node) -> Iterator[Finding]:
    number = constant(root)
    if knob.name == "balloon.target" and number is not None and number < _LEAST_BALLOON:
        meant = f": write {number * 2**20:.0f} for {number:g} MiB" if number >= 1 else ""
        yield at(rule, f"set.{knob.name}", f"balloon.target counts bytes, and no guest runs in {number:g}{meant}")
    scale = knob.metric.scale if knob.metric else 1.0
    per_unit = 1 / scale
    foreign = next((name for name in _metrics(root) if _is_of_its_unit(knob, name)), None)
    if scale < 1 and foreign and not any(_converts(factor, per_unit) for factor in _factors(root)):
        yield at(
            rule, f"set.{knob.name}",
            f"{foreign} is {scale:g} where {knob.name} is 1: multiply it by {per_unit:g}",
        )  # fmt: skip


def _is_of_its_unit(knob: type[Knob], name: str) -> bool:
    """Whether a metric is in the base unit in which the knob is shown, and not in the knob's own."""
    is_time = knob.unit is Unit.MILLISECONDS and name.endswith("_seconds")
    return is_time or (knob.metric is not None and name == knob.metric.name)


def _metrics(root: Node) -> Iterator[str]:
    for node in walk(core(root)):
        name = shape.metric(node) if isinstance(node, Selector) else None
        if name:
            yield name


def _factors(root: Node) -> Iterator[float]:
    for node in walk(root):
        if isinstance(node, Binary) and node.op in "*/":
            for side in (node.left, node.right):
                number = constant(side)
                if number:
                    yield 1 / number if node.op == "/" and side is node.right else number


def _converts(factor: float, per_unit: float) -> bool:
    """Whether it can have the conversion in it, as 1500 for half as much again in milliseconds."""
    return abs(factor) >= per_unit / 10
