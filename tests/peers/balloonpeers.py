"""What the peers that move balloons decide, step by step, written after their algorithms: oracles for the rules.

Sizes are bytes unless a name says otherwise. Where each algorithm is from stands in the head of its file in rules/peers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import trunc
from statistics import fmean

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Guest:
    """One guest, as its host sees it. `least`: what its owner configured as the least that its balloon leaves to it."""

    actual: int
    maximum: int
    used: int
    unused: int
    least: int = 0
    rss: int = 0
    shares: int = 1000
    major_faults: int = 0


Guests = Mapping[str, Guest]
Targets = dict[str, int]


class Mom:
    """02-balloon.policy of vdsm, on averages of the last ten samples."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._sizes: dict[str, list[tuple[int, int]]] = {}

    def step(self, total: int, free: int, guests: Guests) -> Targets:
        self._free = [*self._free[-9:], free]
        ratio = fmean(self._free) / total
        targets = {}
        for name, guest in guests.items():
            sizes = self._sizes[name] = [*self._sizes.get(name, [])[-9:], (guest.actual, guest.unused)]
            used = fmean(size for size, _ in sizes) - fmean(unused for _, unused in sizes)
            part = ratio - 0.05 if ratio <= 0.05 else 0.20 * (ratio / 0.20)
            least = max(guest.least, used + part * guest.actual)
            target: float = guest.actual
            if ratio < 0.20:
                target = max(0.95 * guest.actual, least)
                is_wanted = target <= guest.actual
            else:
                target = min(max(1.05 * guest.actual, least), guest.maximum)
                is_wanted = guest.actual < guest.maximum
            if is_wanted and abs(target - guest.actual) > 0.0025 * guest.actual:
                targets[name] = int(target)
            if guest.actual < guest.least:
                targets[name] = guest.least
        return targets


@dataclass
class Proxmox:
    """compute_alg1 of PVE::AutoBalloon. `rounds`: how often the last step went through its guests. `wavered`: it moved some
    of those that come first, and the other way in all, at the first time or in the end."""

    rounds: int = 0
    wavered: bool = False
    _progress: bool = False

    def step(self, total: int, available: int, guests: Guests) -> Targets:
        goal = trunc(total * 80 / 100 - (total - available))
        mine = {name: one for name, one in guests.items() if one.least and one.shares}
        relaxed = {name for name, one in mine.items() if one.unused > one.least * 0.25 and one.actual >= one.least}
        self.rounds, self.wavered = 0, False
        result: Targets = {}
        if abs(goal) <= 10 * MIB:
            return result
        first = [name for name in mine if (name in relaxed) == (goal < 0)]
        rest = self._change(result, mine, first, goal)
        if rest >= goal if goal > 0 else rest <= goal:
            self.wavered |= bool(result)
            self.rounds = 0
            self._change(result, mine, list(mine), rest)
        return {name: size for name, size in result.items() if size != guests[name].actual}

    def _change(self, result: Targets, guests: Guests, names: list[str], goal: int) -> int:
        rest, done = goal, set[str]()
        while rest:
            self.rounds += 1
            members = [name for name in names if name not in done]
            shares = sum(guests[name].shares for name in members)
            above = sum(result.get(name, guests[name].actual) - guests[name].least for name in members) + rest
            changes = 0
            repeat = False
            for name in members:
                guest = guests[name]
                desired = guest.least + trunc(above / shares * guest.shares)
                if desired > guest.maximum:
                    desired, repeat = guest.maximum, True
                elif desired < guest.least:
                    desired, repeat = guest.least, True
                if goal > 0 and desired > guest.actual:
                    size = min(guest.actual + 100 * MIB, desired)
                elif desired < guest.actual:
                    size = max(guest.actual - 100 * MIB, desired)
                else:
                    done.add(name)
                    continue
                change = size - result.get(name, guest.actual)
                result[name] = size
                changes += change
                repeat |= change != 0
                self._progress |= change != 0
            rest -= changes
            self.wavered |= self.rounds == 1 and self._progress and changes * goal <= 0
            if not repeat or not self._took_progress():
                break
        return rest

    def _took_progress(self) -> bool:
        made, self._progress = self._progress, False
        return made


@dataclass
class Qmemman:
    """balance() of qubes.qmemman.algo, and whether do_balance() finds it significant. `free`: Xen's, all of it."""

    rounds: int = 0

    @staticmethod
    def pref(guest: Guest) -> int:
        return int(max(min(guest.used * 1.3, guest.maximum), 200 * MIB))

    def step(self, free: int, guests: Guests) -> Targets:
        targets = self._balance(free - 50 * MIB, guests)
        return targets if self._is_significant(targets, free, guests) else {}

    def _balance(self, free: int, guests: Guests) -> Targets:
        pref = {name: self.pref(guest) for name, guest in guests.items()}
        surplus = free - sum(pref[name] - guest.actual for name, guest in guests.items())
        if surplus > 0:
            return self._share_out(surplus, pref, guests)
        donors = [name for name, one in guests.items() if pref[name] < one.actual or one.actual >= one.maximum]
        acceptors = [name for name in guests if name not in donors]
        targets = {name: pref[name] for name in donors if guests[name].actual - pref[name] >= 10 * MIB}
        # What donors give is not there yet: it is taken away from what is, not added.
        squeezed = free - sum(guests[name].actual - size for name, size in targets.items())
        if squeezed < 0:
            return targets
        wanted = sum(pref[name] for name in acceptors)
        for name in acceptors:
            target = int(0.999 * (guests[name].actual + pref[name] / wanted * squeezed))
            targets[name] = min(target, guests[name].maximum)
        return targets

    def _share_out(self, surplus: int, pref: Targets, guests: Guests) -> Targets:
        total, left, acceptors = sum(pref.values()), 0, 0
        targets: Targets = {}
        for name, guest in guests.items():
            target = int(0.999 * (pref[name] + pref[name] / total * surplus))
            if target > guest.maximum:
                left += target - guest.maximum
                target = guest.maximum
            else:
                acceptors += 1
            targets[name] = target
        self.rounds = 0
        while left > 0 and acceptors > 0:
            self.rounds += 1
            still, next_acceptors = 0, acceptors
            for name, target in targets.items():
                maximum = guests[name].maximum
                if target < maximum:
                    bonus = int(0.999 * (left / acceptors))
                    if target + bonus >= maximum:
                        still += target + bonus - maximum
                        targets[name] = maximum
                        next_acceptors -= 1
                    else:
                        targets[name] = target + bonus
            left, acceptors = still, next_acceptors
        return targets

    def _is_significant(self, targets: Targets, free: int, guests: Guests) -> bool:
        if 50 * MIB - free > 15 * MIB:
            return True
        for name, target in targets.items():
            if guests[name].actual < self.pref(guests[name]) and target - guests[name].actual > 15 * MIB:
                return True
        moved = sum(abs(target - guests[name].actual) for name, target in targets.items())
        return moved + abs(free - 50 * MIB) > 150 * MIB


@dataclass
class Squeezed:
    """change_host_free_memory() of squeeze.ml, one look of its loop. `inaccuracy`: within which a target is hit."""

    keep: int
    inaccuracy: int = 4096
    _targets: dict[str, int] = field(default_factory=dict)
    _last: dict[str, int] = field(default_factory=dict)
    _progress: dict[str, float] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)

    def step(self, free: int, guests: Guests, now: float) -> Targets:
        for name, guest in guests.items():
            self._watch(name, guest, now)
        active = {name: guest for name, guest in guests.items() if name not in self.stuck}
        freeable = sum(max(0, guest.actual - guest.least - 2 * self.inaccuracy) for guest in active.values())
        surplus = max(0, free + freeable - self.keep)
        whole = sum(max(0, guest.maximum - guest.least) for guest in active.values())
        gamma = min(surplus / whole, 1.0) if whole else 0.0
        plan = {
            name: guest.least + trunc(gamma * max(0, guest.maximum - guest.least)) for name, guest in active.items()
        }
        frees = {name: size for name, size in plan.items() if active[name].actual - size > self.inaccuracy}
        targets = frees or plan
        self._targets |= targets
        return targets

    def _watch(self, name: str, guest: Guest, now: float) -> None:
        missing = self._targets.setdefault(name, guest.actual) - guest.actual
        direction = 0 if abs(missing) <= self.inaccuracy else missing
        moved = guest.actual - self._last.get(name, guest.actual)
        self._last[name] = guest.actual
        self._progress.setdefault(name, now)
        if moved * direction > 0:
            self._progress[name] = now
            self.stuck.discard(name)
        if direction and now - self._progress[name] > 5:
            self.stuck.add(name)


@dataclass
class Senpai:
    """tick() of senpai.py, for one guest, once a second. `stall`: microseconds that it has waited so far."""

    last: int | None = None
    integral: int = 0
    grace: int = 6

    def step(self, stall: int, limit: int, maximum: int) -> int | None:
        """The new limit in bytes; None if it stays."""
        self.integral += stall - (stall if self.last is None else self.last)
        self.last = stall
        if self.integral > 10_000:
            factor = min((self.integral / 10_000 / 20) ** 2 * 1.0, 1.0)
        elif self.grace:
            self.grace -= 1
            return None
        else:
            factor = -min((10_000 / max(self.integral, 1) / 10) ** 2 * 0.01, 0.01)
        self.integral, self.grace = 0, 5
        return max(100 * MIB, min(maximum, int(limit + limit * factor))) & ~4095
