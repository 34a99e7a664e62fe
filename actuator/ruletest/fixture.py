"""The `host:` of a test: what its series do not say; and knobs and series as tests name them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from actuator.knobs import KNOBS, Knob, Target, Value
from actuator.placement import HostCpus
from actuator.promql.labels import Labels, get
from actuator.promql.types import PromqlError
from actuator.promqltest.script import series_labels
from actuator.rules.unknown import unknown_knob
from actuator.rules.values import one_line, one_of
from actuator.simulated.simulatedhost import Fixture, Guest
from kvmhost import cpulist, domainpolicy
from kvmhost.domains import DeclaredPolicy
from kvmhost.units import size_bytes
from kvmhost.yamltree import Node, Tree


def series_named(text: str) -> Labels:
    """A series; `ValueError` if it is none."""
    try:
        found = series_labels(text)
    except PromqlError as error:
        raise ValueError(str(error)) from error
    if not get(found, "__name__"):
        raise ValueError(f"{text!r} has no name")
    return found


def knob_named(text: str) -> tuple[type[Knob], Target]:
    """`balloon.target{domain="web"}`: a knob, and labels of its targets; `ValueError` if it is none."""
    name, brace, rest = text.partition("{")
    if name not in KNOBS:
        raise ValueError(unknown_knob(name))
    knob = KNOBS[name]
    try:
        found = dict(series_labels(brace + rest)) if brace else {}
    except PromqlError as error:
        raise ValueError(f"{error} in {brace + rest!r}") from error
    for label in found:
        if label not in knob.keys:
            have = f"its targets have {', '.join(knob.keys)}" if knob.keys else "it is one of the host"
            raise ValueError(f"{name} has no label {label!r}: {have}")
    return knob, tuple((key, found[key]) for key in knob.keys if key in found)


def target_named(text: str) -> tuple[type[Knob], Target]:
    """As `knob_named`, with all labels of one target."""
    knob, target = knob_named(text)
    if len(target) != len(knob.keys):
        wanted = ",".join(f'{key}="..."' for key in knob.keys)
        raise ValueError(f"name its target in full: {knob.name}{{{wanted}}}")
    return knob, target


def value_of(knob: type[Knob]) -> Callable[[str], Value]:
    """A parser of what a knob reads, in its unit."""
    return one_of(knob.words) if knob.words else knob.unit.parse


def read_host(tree: Tree, node: Node) -> Fixture:
    """The fixture; its problems are noted in `tree`."""
    fields = tree.fields(node, "'host'", (), ("knobs", "guests", "cpus", "cores", "nodes", "isolated"))
    return Fixture(
        dict(_knobs(tree, fields["knobs"])) if "knobs" in fields else {},
        dict(_guests(tree, fields["guests"])) if "guests" in fields else {},
        _cpus(tree, fields),
    )


def _knobs(tree: Tree, node: Node) -> Iterator[tuple[tuple[str, Target], Value]]:
    for key, value in tree.entries(node, "'knobs'").values():
        named = tree.scalar(key, "a knob", target_named)
        if named is None:
            continue
        knob, target = named
        start = tree.scalar(value, repr(knob.name), value_of(knob))
        if start is not None:
            yield (knob.name, target), start


def _guests(tree: Tree, node: Node) -> Iterator[tuple[str, Guest]]:
    for name, (_, value) in tree.entries(node, "'guests'").items():
        fields = tree.fields(value, "a guest", (), (*domainpolicy.ATTRIBUTES, "refusal"))
        declared = DeclaredPolicy(
            min_guarantee_bytes=tree.scalar(fields.get("min_guarantee"), "'min_guarantee'", size_bytes),
            shares=tree.scalar(fields.get("shares"), "'shares'", domainpolicy.shares),
            pin=tree.scalar(fields.get("pin"), "'pin'", domainpolicy.pin),
            opt_out=tree.scalar(fields.get("opt_out"), "'opt_out'", domainpolicy.truth) or False,
        )
        yield name, Guest(declared, tree.scalar(fields.get("refusal"), "'refusal'", one_line))


def _cpus(tree: Tree, fields: dict[str, Node]) -> HostCpus | None:
    """Each CPU is a core of its own, and all are on node 0, unless it says otherwise."""
    online = tree.scalar(fields.get("cpus"), "'cpus'", cpulist.parse)
    isolated = tree.scalar(fields.get("isolated"), "'isolated'", cpulist.parse)
    cores = [tree.scalar(item, "a core", cpulist.parse) for item in tree.items(fields.get("cores"), "'cores'")]
    nodes = {}
    for key, value in tree.entries(fields["nodes"], "'nodes'").values() if "nodes" in fields else ():
        number, cpus = tree.scalar(key, "a node", int), tree.scalar(value, "its CPUs", cpulist.parse)
        if number is not None and cpus is not None:
            nodes[number] = cpus
    if online is None:
        for name in ("cores", "nodes", "isolated"):
            if name in fields and "cpus" not in fields:
                tree.error(fields[name], f"{name!r} needs 'cpus', which says all that are online")
        return None
    of_cores = [core for core in cores if core] or [frozenset({cpu}) for cpu in sorted(online)]
    for name, parts in (("cores", of_cores), ("nodes", [*nodes.values()] or [online])):
        if sorted(cpu for part in parts for cpu in part) != sorted(online):
            tree.error(fields[name], f"{name!r} must have each of the CPUs {cpulist.format(online)} once")
    return HostCpus(cores=tuple(of_cores), nodes=nodes or {0: online}, isolated=isolated or frozenset())
