"""Guests that have cores of their own (pure).

A vCPU of such a guest *holds* a core when it may run on that core alone. Then no other guest may use the core, not
even the SMT sibling of the vCPU's CPU. Whole cores are given out, of one node if they fit, with the siblings to one
guest, as the kubelet does with full-pcpus-only. Whoever may use a core that is wanted is moved away first: no plan puts
a vCPU on a core that another guest may use after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from actuator.placement.cost import Memory
from actuator.placement.model import HostCpus, Move, Plan, State, Vcpu
from kvmhost import cpulist

Core = frozenset[int]

_NOTHING_LEFT = "its cores would leave no CPU to all others"


def held(host: HostCpus, vcpus: Mapping[Vcpu, State]) -> Mapping[Core, str]:
    """The cores that guests have to themselves, and whose they are: of two who claim one, the first."""
    cores: dict[Core, str] = {}
    for vcpu in sorted(vcpu for vcpu, state in vcpus.items() if state.pin != "shared"):
        cpus = host.runs_on(vcpus[vcpu].cpus)
        core = host.core_of[min(cpus)] if cpus else frozenset()
        if cpus and cpus <= core:
            cores.setdefault(core, vcpu.guest)
    return cores


def trespass(host: HostCpus, vcpus: Mapping[Vcpu, State], guest: str, cpus: frozenset[int]) -> str | None:
    """Why no thread of `guest` must be given `cpus`: another guest has one of their cores to itself; else None."""
    for core, owner in held(host, vcpus).items():
        if owner != guest and not core.isdisjoint(cpus):
            return f"CPU {cpulist.format(core & cpus)} is on a core that {owner} has to itself"
    return None


def arrange(host: HostCpus, vcpus: Mapping[Vcpu, State], guests: Collection[str], memory: Memory, budget: int) -> Plan:
    """Cores for `guests`, one guest after the other in order of their names, in at most `budget` moves.

    A core is taken by the plan that finds it cleared: not by the one that sends somebody away, whose move may fail or
    be held back. What does not fit into the budget is left to the next plan, too.
    """
    arrangement = _Arrangement(host, vcpus)
    moves: dict[Vcpu, Move] = {}
    claims: dict[str, Sequence[Core]] = {}
    refusals: dict[str, str] = {}
    for guest in sorted(guests):
        try:
            claims[guest] = arrangement.claim(guest, memory.get(guest, {}))
        except _NoRoomError as error:
            refusals[guest] = str(error)
    # Only now, so that who stands in the way of several moves once.
    for guest, cores in claims.items():
        try:
            for move in arrangement.moves(guest, cores):
                if move.vcpu not in moves and len(moves) == budget:
                    return Plan(_in_order(moves), refusals)
                moves[move.vcpu] = move
                arrangement.carry_out(move)
        except _NoRoomError as error:
            refusals[guest] = str(error)
    return Plan(_in_order(moves), refusals)


def _in_order(moves: Mapping[Vcpu, Move]) -> tuple[Move, ...]:
    """Room is made before it is taken."""
    return tuple(sorted(moves.values(), key=lambda move: move.sake == move.vcpu.guest))


class _NoRoomError(Exception):
    """A guest cannot have cores of its own now; says why."""


class _Arrangement:
    """Who may run where, and whose each core is."""

    def __init__(self, host: HostCpus, vcpus: Mapping[Vcpu, State]) -> None:
        self._host = host
        self._states = vcpus
        self._owner = dict(held(host, vcpus))
        # A core that a guest is to give up is not free before it has left.
        self._taken = frozenset[int]().union(*self._owner)
        runs_on = {cpus: host.runs_on(cpus) for cpus in {state.cpus for state in vcpus.values()}}
        self._found = {vcpu: runs_on[vcpus[vcpu].cpus] for vcpu in sorted(vcpus)}
        self._cpus = dict(self._found)
        self._of_guest: dict[str, list[Vcpu]] = {}
        self._users: Counter[Core] = Counter()
        self._stuck: dict[Core, list[Vcpu]] = {}
        self._cores: dict[frozenset[int], frozenset[Core]] = {}
        for vcpu in self._cpus:
            self._of_guest.setdefault(vcpu.guest, []).append(vcpu)
            self._users.update(self._cores_of(self._cpus[vcpu]))
            if vcpus[vcpu].refusal:
                for core in self._cores_of(self._cpus[vcpu]):
                    self._stuck.setdefault(core, []).append(vcpu)

    def claim(self, guest: str, memory: Mapping[int, float]) -> Sequence[Core]:
        """The cores that are this guest's from now on."""
        own = self._of_guest[guest]
        cores = self._kept(guest, own) or self._choose(guest, own, memory)
        for core in self._owner.keys() - set(cores):
            if self._owner[core] == guest:
                del self._owner[core]
        self._owner.update(dict.fromkeys(cores, guest))
        self._taken = self._taken.union(*cores)
        return cores

    def moves(self, guest: str, cores: Sequence[Core]) -> Iterator[Move]:
        """Of the others off these cores; once they have left, of the guest's own vCPUs, each onto a CPU of its own."""
        wanted = frozenset[int]().union(*cores)
        for vcpu in self._cpus:
            if vcpu.guest != guest and not wanted.isdisjoint(self._cpus[vcpu]) and not self._states[vcpu].refusal:
                yield Move(vcpu, self._elsewhere(vcpu), guest)
        if any(vcpu.guest != guest and not wanted.isdisjoint(found) for vcpu, found in self._found.items()):
            return
        free = [cpu for core in cores for cpu in sorted(core)]
        homeless = []
        for vcpu in self._of_guest[guest]:
            if len(self._cpus[vcpu]) == 1 and min(self._cpus[vcpu]) in free:
                free.remove(min(self._cpus[vcpu]))
            else:
                homeless.append(vcpu)
        yield from (Move(vcpu, frozenset({cpu}), guest) for vcpu, cpu in zip(homeless, free, strict=False))

    def carry_out(self, move: Move) -> None:
        """Let the vCPU use the CPUs of a move."""
        self._cpus[move.vcpu] = move.cpus

    def _kept(self, guest: str, own: Sequence[Vcpu]) -> Sequence[Core]:
        """The cores that it has, if each of its vCPUs has a CPU of its own there; else none."""
        cpus = [min(self._cpus[vcpu]) for vcpu in own if len(self._cpus[vcpu]) == 1]
        cores = {self._host.core_of[cpu] for cpu in cpus}
        if len(set(cpus)) < len(own) or any(self._owner.get(core) != guest for core in cores):
            return ()
        stuck = self._stuck_on(cores, guest)
        if stuck:
            raise _NoRoomError(f"{_name(stuck)} may run on its CPUs, and must not be moved: {self._why(stuck)}")
        return sorted(cores, key=min)

    def _choose(self, guest: str, own: Sequence[Vcpu], memory: Mapping[int, float]) -> Sequence[Core]:
        for vcpu in own:
            if self._states[vcpu].refusal:
                raise _NoRoomError(f"{_name(vcpu)} must not be moved: {self._why(vcpu)}")
        pin = self._states[own[0]].pin
        pool = self._host.pool(pin)
        whole = [core for core in self._host.cores if core <= pool and self._owner.get(core, guest) == guest]
        usable = [core for core in whole if not self._stuck_on([core], guest)]
        cores = self._of_best_nodes(guest, usable, len(own), memory)
        given = frozenset[int]().union(*cores)
        if len(given) < len(own):
            raise _NoRoomError(_no_room(pin, len(own), usable, self._stuck_on(whole, guest)))
        if not self._host.pool("shared") - self._taken - given:
            raise _NoRoomError(_NOTHING_LEFT)
        return cores

    def _of_best_nodes(
        self, guest: str, usable: Sequence[Core], need: int, memory: Mapping[int, float]
    ) -> Sequence[Core]:
        """Cores for `need` CPUs: of the node where all fit, it has cores or its memory lies, then of the next best."""
        host = self._host
        by_node: dict[int, list[Core]] = {}
        for core in usable:
            by_node.setdefault(host.node_of[min(core)], []).append(core)

        def worth(node: int) -> tuple[bool, int, float, int, int]:
            room = sum(map(len, by_node[node]))
            has = sum(self._owner.get(core) == guest for core in by_node[node])
            return (room < need, -has, -memory.get(node, 0.0), -room, node)

        own = Counter(core for vcpu in self._of_guest[guest] for core in self._cores_of(self._cpus[vcpu]))

        def trouble(core: Core) -> tuple[bool, int, int]:
            return (self._owner.get(core) != guest, self._users[core] - own[core], min(core))

        cores: list[Core] = []
        for core in (core for node in sorted(by_node, key=worth) for core in sorted(by_node[node], key=trouble)):
            if need > 0:
                cores.append(core)
                need -= len(core)
        return cores

    def _elsewhere(self, vcpu: Vcpu) -> frozenset[int]:
        """What is left of a vCPU's CPUs without those of other guests; if nothing is, all that are nobody's."""
        taken = self._taken.difference(*(core for core, owner in self._owner.items() if owner == vcpu.guest))
        left = self._cpus[vcpu] - taken or self._host.pool("shared") - self._taken
        if not left:
            raise _NoRoomError(_NOTHING_LEFT)
        return left

    def _cores_of(self, cpus: frozenset[int]) -> frozenset[Core]:
        if cpus not in self._cores:
            self._cores[cpus] = frozenset(self._host.core_of[cpu] for cpu in cpus)
        return self._cores[cpus]

    def _stuck_on(self, cores: Iterable[Core], guest: str) -> Vcpu | None:
        """A vCPU of another guest that may run on one of these cores, and must not be moved."""
        stuck = (vcpu for core in cores for vcpu in self._stuck.get(core, ()) if vcpu.guest != guest)
        return next(stuck, None)

    def _why(self, vcpu: Vcpu) -> str:
        return self._states[vcpu].refusal or ""


def _no_room(pin: str, need: int, usable: Sequence[Core], stuck: Vcpu | None) -> str:
    room = sum(map(len, usable))
    kept = f"; {_name(stuck)} keeps others, since it must not be moved" if stuck else ""
    return f"it needs {need} {pin} CPUs on whole cores, and there are {room}{kept}"


def _name(vcpu: Vcpu) -> str:
    return f"vCPU {vcpu.number} of {vcpu.guest}"
