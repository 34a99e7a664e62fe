"""The operator's policy: limits that no rule can exceed, and promises to guests. A YAML file; see policy.yml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from actuator.config import read_limits
from actuator.knobs import KNOBS, Live, Target
from actuator.limits import Limits
from actuator.yamltree import InvalidConfig, Node, Problem, Tree, suggestion
from kvmhost.units import size_bytes

DEFAULT_PATH = Path(__file__).with_name("policy.yml")


@dataclass(frozen=True, slots=True)
class GuestPolicy:
    """What holds for the guests whose name (a shell pattern) or uuid is `match`."""

    match: str
    min_guarantee_bytes: int = 0
    opt_out: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits by knob; guests in order, the first match holds."""

    limits: Mapping[str, Limits] = field(default_factory=dict)
    guests: tuple[GuestPolicy, ...] = ()

    def narrow(self, knob: str, target: Target, live: Live) -> Live:
        """`live` with the promises to its guest applied."""
        domain = dict(target).get("domain")
        if domain is None:
            return live
        for guest in self.guests:
            if fnmatchcase(domain, guest.match) or guest.match == live.identity:
                return _apply(guest, knob, live)
        return live


def _apply(guest: GuestPolicy, knob: str, live: Live) -> Live:
    if guest.opt_out:
        return replace(live, refusal="the policy opts this guest out")
    if knob == "balloon.target" and guest.min_guarantee_bytes > (live.low or 0):
        return replace(live, low=guest.min_guarantee_bytes, low_because="the guest's min_guarantee")
    return live


def load(path: Path = DEFAULT_PATH) -> Policy:
    """Read a policy file; raises `InvalidConfig` with all its problems."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig([Problem(str(path), 1, 1, f"cannot be read: {error}")]) from error
    return loads(text, str(path))


def loads(text: str, file: str = "policy.yml") -> Policy:
    """Like `load`, from text."""
    tree = Tree(file, text)
    policy = _read(tree, tree.root) if tree.root is not None else Policy()
    if tree.problems:
        raise InvalidConfig(tree.problems)
    return policy


def _read(tree: Tree, root: Node) -> Policy:
    fields = tree.fields(root, "the policy", (), ("limits", "guests"))
    limits = {}
    if "limits" in fields:
        for knob, (key, value) in tree.entries(fields["limits"], "'limits'").items():
            if knob in KNOBS:
                limits[knob] = read_limits(tree, value, knob)
            else:
                tree.error(key, f"unknown knob {knob!r}{suggestion(knob, KNOBS)}")
    guests = [_guest(tree, node) for node in tree.items(fields.get("guests"), "'guests'")]
    return Policy(limits, tuple(guest for guest in guests if guest is not None))


def _guest(tree: Tree, node: Node) -> GuestPolicy | None:
    fields = tree.fields(node, "a guest's policy", ["match"], ["min_guarantee", "opt_out"])
    match = tree.scalar(fields.get("match"), "'match'", str)
    guarantee = tree.scalar(fields.get("min_guarantee"), "'min_guarantee'", size_bytes)
    opt_out = tree.scalar(fields.get("opt_out"), "'opt_out'", _truth)
    return GuestPolicy(match, guarantee or 0, bool(opt_out)) if match is not None else None


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"
