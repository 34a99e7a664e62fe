"""What follows a write: its trial by `verify`, the quarantine of a target, and what a rule puts back.

What is held against a rule stands in the ledger and so outlives us. Only what a rule was the last to change is put
back, and `Writer.obstacle` sees to it that it is still ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from actuator.apply import Obstacle, Writer
from actuator.knobs import Value
from actuator.ledger.records import Held, Key, Owned
from actuator.plans.plan import Setpoint
from actuator.plans.view import Fault, View
from actuator.promql import Expr
from actuator.rules import verify
from actuator.rules.rule import UNKNOWN, Evidence, State, agree
from actuator.rules.ruleset import Tune, Verify
from actuator.rules.verify import Answer, Trial


@dataclass
class Aftermath:
    """`writer` None: a dry run, in which nothing was written and so nothing follows. Times are unix seconds."""

    writer: Writer | None
    _clocks: dict[tuple[str, Key], tuple[Held, Trial]] = field(default_factory=dict)

    def obstacle(self, rule: str, key: Key) -> Obstacle | None:
        """Why the rule must leave the target alone: one write at a time is on trial."""
        held = self._held(rule).get(key)
        if held is None:
            return None
        if held.verdict:
            return Obstacle("quarantined", held.verdict)
        return Obstacle("waiting", "its last write is on trial (verify)")

    def quarantined(self, rule: str) -> dict[Key, str]:
        """What the rule does not touch any more, and why."""
        return {key: held.verdict for key, held in self._held(rule).items() if held.verdict}

    @property
    def quarantined_targets(self) -> int:
        """How many targets are in quarantine."""
        return self.writer.quarantined_targets if self.writer else 0

    def _held(self, rule: str) -> dict[Key, Held]:
        return self.writer.held(rule) if self.writer else {}

    def follow(self, tune: Tune, view: View, now: float) -> None:
        """Take the trials of a rule's writes on. What is held against the rule as it was before a change is void."""
        if self.writer is None:
            return
        on_trial = []
        for key, held in self._held(tune.name).items():
            why = "the rule was changed" if held.digest != tune.digest else self._void(held, key, view)
            if why:
                self.writer.clear(held, why, now)
            elif not held.verdict:
                on_trial.append((key, held, why is not None))
        if on_trial and tune.verify is not None:
            evidence, as_of = _answer(tune.verify.expr, view)
            for key, held, is_seen in on_trial:
                holds = any(agree(key[1], sample.labels) for sample in evidence.samples)
                answer = Answer(holds, as_of) if evidence.known and is_seen else None
                self._judge(tune.verify, key, held, answer, now)

    def _void(self, held: Held, key: Key, view: View) -> str | None:
        """Why there is nothing any more to hold against the rule; empty if there is, None if nobody knows."""
        assert self.writer is not None
        try:
            live = view.live(key[0]).get(key[1])
        except Fault:
            return None
        if live is None:
            return None  # it may come back as it was
        if live.identity != held.identity:
            return "it is another target of the same name"
        if held.verdict:
            return ""
        if live.value == held.before and key not in self.writer.settling:
            return "the write has changed nothing, so there is nothing to judge"
        if self.writer.is_doing_of(held.rule, key, live):
            return ""
        return "another rule or someone else has changed the value since"

    def _judge(self, by: Verify, key: Key, held: Held, answer: Answer | None, now: float) -> None:
        assert self.writer is not None
        known, trial = self._clocks.pop((held.rule, key), (None, None))
        if trial is None or known != held:
            trial = verify.begin(by, min(held.time, now))  # the clock may have been set back since
        following = verify.step(by, trial, answer, now)
        if isinstance(following, Trial):
            self._clocks[held.rule, key] = held, following
        elif following is None:
            self.writer.clear(held, "verify held", now)
        else:
            self.writer.condemn(held, following, now)

    def reverts(self, tune: Tune, view: View) -> Iterator[Setpoint]:
        """What failed its trial and is not yet back to what it was."""
        failed = {key: held for key, held in self._held(tune.name).items() if held.verdict and not held.is_reverted}
        if not failed or self.writer is None:
            return
        for key in _present(self.writer.changed_by(tune.name), view):
            if key in failed:
                yield _undo(tune, key, failed[key].before, failed[key].verdict, view)

    def restorations(self, tune: Tune, state: State, view: View) -> Iterator[Setpoint]:
        """With `on_clear: restore`: what the rule changed, where it holds for nothing any more.

        This goes by the ledger, so that it is done also after a crash.
        """
        if tune.on_clear != "restore" or self.writer is None:
            return
        for key, owned in _present(self.writer.changed_by(tune.name), view).items():
            if not any(agree(labels, key[1]) for labels in state):
                yield _undo(tune, key, owned.changes[-1].before, "the rule holds no more (on_clear)", view)

    def is_back(self, rule: str, key: Key, now: float) -> None:
        """The target reads again what it was before the write that failed."""
        held = self._held(rule).get(key)
        if held is not None and held.verdict and not held.is_reverted and self.writer is not None:
            self.writer.condemn(held, held.verdict, now, is_reverted=True)


def _answer(expr: Expr, view: View) -> tuple[Evidence, float]:
    """What it says, and until when its data reach."""
    try:
        return view.evidence(expr), view.as_of([expr])
    except Fault:
        return UNKNOWN, 0.0


def _present(ours: dict[Key, Owned], view: View) -> dict[Key, Owned]:
    """Those that are still here: a new guest of an old name is another guest."""
    found = {}
    for key, owned in ours.items():
        try:
            live = view.live(key[0]).get(key[1])
        except Fault:
            continue
        if live is not None and live.identity == owned.identity:
            found[key] = owned
    return found


def _undo(tune: Tune, key: Key, value: Value, why: str, view: View) -> Setpoint:
    return Setpoint(
        rule=tune.name,
        knob=key[0],
        target=key[1],
        value=value,
        because=f"Put back: {why}.",
        evidence=None,
        refusal=view.trespass(*key, value),
        priority=tune.priority,
        acts=tune.mode != "dry-run",
        undoes=True,
        persist=tune.persist,
    )
