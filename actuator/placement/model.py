"""What the planner is told of the host and its guests, and what it answers (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

Pin = Literal["shared", "exclusive", "isolated"]
"""The pin class of a guest. `shared`: its vCPUs share CPUs with others. `exclusive`: it has whole cores of its own,
`isolated`: and these are CPUs that the kernel was told to leave alone (isolcpus)."""

Strategy = Literal["spread", "pack", "numa", "exclusive", "release"]


class Vcpu(NamedTuple):
    """Names one vCPU. They are ordered by guest, then by number."""

    guest: str
    number: int


@dataclass(frozen=True, kw_only=True)
class HostCpus:
    """The online CPUs and how they share hardware."""

    cores: tuple[frozenset[int], ...]
    """CPUs of each core (its SMT siblings): each CPU is on one core."""
    nodes: Mapping[int, frozenset[int]]
    """CPUs of each NUMA node."""
    isolated: frozenset[int] = frozenset()
    """Left alone by the scheduler: only what may run nowhere else runs there."""
    allowed: frozenset[int] | None = None
    """CPUs that the control group of all guests may use; None is all."""

    @cached_property
    def online(self) -> frozenset[int]:
        """All CPUs."""
        return frozenset[int]().union(*self.cores)

    @cached_property
    def core_of(self) -> Mapping[int, frozenset[int]]:
        """The core of each CPU."""
        return {cpu: core for core in self.cores for cpu in core}

    @cached_property
    def node_of(self) -> Mapping[int, int]:
        """The node of each CPU; -1 for one that is on none."""
        return dict.fromkeys(self.online, -1) | {cpu: node for node, cpus in self.nodes.items() for cpu in cpus}

    def pool(self, pin: Pin) -> frozenset[int]:
        """CPUs that guests of a pin class may be given."""
        allowed = self.online if self.allowed is None else self.online & self.allowed
        return allowed & self.isolated if pin == "isolated" else allowed - self.isolated

    def runs_on(self, affinity: frozenset[int]) -> frozenset[int]:
        """Of the CPUs that a thread may use, those it is found on: the scheduler moves nothing to isolated ones."""
        return (affinity & self.online) - self.isolated or affinity & self.online


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Of one vCPU. `load`: CPU seconds a second that it wants. `cpus`: those that it may use now."""

    load: float
    cpus: frozenset[int]
    pin: Pin = "shared"
    refusal: str | None = None
    """Why it must not be moved, or None."""


@dataclass(frozen=True, slots=True)
class Move:
    """New `cpus` for a vCPU, for the sake of a guest: its own, or the one that it makes room for."""

    vcpu: Vcpu
    cpus: frozenset[int]
    sake: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`moves` in the order to make them; `refusals`: by guest, why it was not placed."""

    moves: tuple[Move, ...] = ()
    refusals: Mapping[str, str] = field(default_factory=dict)
