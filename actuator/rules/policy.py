"""The operator's policy: limits that no rule can exceed, and promises to guests. A YAML file; see policy.yml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path

from actuator.knobs import KNOBS, Live, Target
from actuator.plans.radius import Radius
from actuator.rules import keys
from actuator.rules.limits import Limits
from actuator.rules.unknown import unknown_knob
from actuator.rules.values import positive, read_limits, share_of_all
from kvmhost import domainpolicy, textfile
from kvmhost.domains import PinClass
from kvmhost.units import size_bytes
from kvmhost.yamltree import InvalidConfig, Node, Tree

DEFAULT_PATH = Path(__file__).with_name("policy.yml")


@dataclass(frozen=True, slots=True)
class GuestPolicy:
    """What holds for the guests whose name or uuid fits the shell pattern `match`."""

    match: str
    min_guarantee_bytes: int = 0
    opt_out: bool = False
    pin: PinClass = "shared"
    shares: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits by knob; guests in order, the first match holds; `radius`: how many of them a rule may write to in a tick.

    What a guest's own metadata say comes on top: the larger guarantee and either opt-out hold, and its pin class and
    shares go before those of the file.
    """

    limits: Mapping[str, Limits] = field(default_factory=dict)
    guests: tuple[GuestPolicy, ...] = ()
    radius: Radius = field(default_factory=Radius)

    def narrow(self, knob: str, target: Target, live: Live) -> Live:
        """`live` with the promises to its guest applied."""
        guest, declared = self._guest(target, live), live.declared
        if guest.opt_out:
            return replace(live, refusal="the policy opts this guest out")
        if declared.opt_out:
            return replace(live, refusal="the guest's own metadata opt it out")
        if declared.faults:
            return replace(
                live, refusal=f"the policy in the guest's metadata is malformed: {'; '.join(declared.faults)}"
            )
        guarantee = max(guest.min_guarantee_bytes, declared.min_guarantee_bytes or 0)
        if knob != "balloon.target":
            return live
        if live.low_soon is not None:
            live = replace(live, low_soon=max(live.low_soon, guarantee))
        if guarantee > (live.low or 0):
            return replace(live, low=guarantee, low_because="the guest's min_guarantee")
        return live

    def pin(self, target: Target, live: Live) -> PinClass:
        """The pin class of the target's guest."""
        return live.declared.pin or self._guest(target, live).pin

    def shares(self, target: Target, live: Live) -> int | None:
        """The guest's weight when memory is divided among guests, if anyone has said it."""
        return live.declared.shares or self._guest(target, live).shares

    def _guest(self, target: Target, live: Live) -> GuestPolicy:
        names = [name for name in (dict(target).get("domain"), live.identity) if name]
        if "domain" in dict(target):
            for guest in self.guests:
                if any(fnmatchcase(name, guest.match) for name in names):
                    return guest
        return GuestPolicy(match="")


def load(path: Path = DEFAULT_PATH) -> Policy:
    """Read a policy file; raises `InvalidConfig` with all its problems."""
    return loads(textfile.read_config(path), str(path))


def loads(text: str, file: str = "policy.yml") -> Policy:
    """Like `load`, from text."""
    tree = Tree(file, text)
    policy = _read(tree, tree.root) if tree.root is not None else Policy()
    if tree.problems:
        raise InvalidConfig(tree.problems)
    return policy


def _read(tree: Tree, root: Node) -> Policy:
    fields = tree.fields(root, "the policy", (), ("limits", "guests", "blast_radius"))
    limits = {}
    if "limits" in fields:
        for knob, (key, value) in tree.entries(fields["limits"], "'limits'").items():
            if knob in KNOBS:
                limits[knob] = read_limits(tree, value, knob)
            else:
                tree.error(key, unknown_knob(knob))
    nodes = tree.items(fields.get("guests"), "'guests'")
    guests = [_guest(tree, node) for node in nodes]
    _name_moot(tree, nodes, guests)
    radius = _radius(tree, fields["blast_radius"]) if "blast_radius" in fields else Radius()
    return Policy(limits, tuple(guest for guest in guests if guest is not None), radius)


def _radius(tree: Tree, node: Node) -> Radius:
    fields = tree.fields(node, "'blast_radius'", keys.required(keys.RADIUS), keys.optional(keys.RADIUS))
    share = tree.scalar(fields.get("share"), "'share'", share_of_all)
    at_least = tree.scalar(fields.get("at_least"), "'at_least'", positive)
    default = Radius()
    return Radius(default.share if share is None else share, at_least or default.at_least)


def _guest(tree: Tree, node: Node) -> GuestPolicy | None:
    fields = tree.fields(node, "a guest's policy", keys.required(keys.GUEST), keys.optional(keys.GUEST))
    match = tree.scalar(fields.get("match"), "'match'", _pattern)
    guarantee = tree.scalar(fields.get("min_guarantee"), "'min_guarantee'", size_bytes)
    opt_out = tree.scalar(fields.get("opt_out"), "'opt_out'", domainpolicy.truth)
    pin = tree.scalar(fields.get("pin"), "'pin'", domainpolicy.pin)
    shares = tree.scalar(fields.get("shares"), "'shares'", domainpolicy.shares)
    return GuestPolicy(match, guarantee or 0, bool(opt_out), pin or "shared", shares) if match is not None else None


def _pattern(text: str) -> str:
    """A shell pattern."""
    if "[" in re.sub(r"\[!?.[^]]*\]", "", text):
        raise ValueError(f"{text!r} has a '[' without its ']': write [[] for the character itself")
    return text


def _name_moot(tree: Tree, nodes: list[Node], guests: list[GuestPolicy | None]) -> None:
    """Entries that never hold, since one before them fits all of their guests: what they promise would be broken."""
    moot: set[int] = set()
    for (node, before), (other, guest) in combinations(zip(nodes, guests, strict=True), 2):
        if before and guest and id(other) not in moot and _covers(before.match, guest.match):
            moot.add(id(other))
            tree.error(
                other,
                f"never holds: {before.match!r} at {tree.where(node)} comes first, and fits every guest that "
                f"{guest.match!r} fits: put this entry before that one, or remove it",
            )


def _covers(one: str, other: str) -> bool:
    """Whether `one` certainly fits all that `other` fits."""
    if one == other:
        return True
    if re.search(r"[*?[]", other) and (re.search(r"[?[]", one) or "[" in other):
        return False
    return fnmatchcase(other, one)  # where `other` has a wildcard, only a `*` of `one` takes it
