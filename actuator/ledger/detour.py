"""Values that a write of one knob sets of another on its way and puts back itself, as unmerging does with `ksm.run`.

The ledger has them, too: the process that makes such a write can be killed half way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from actuator.knobs import HOST, Knob, KnobError
from actuator.ledger.ledger import Ledger
from actuator.ledger.records import Intent, Outcome, Record, Released

Append = Callable[[Record], None]


def begin(knobs: Mapping[str, Knob], ledger: Ledger, append: Append, intent: Intent) -> None:
    """Have it in the ledger that the write of `intent` will set other knobs on its way."""
    for name, value in knobs[intent.knob].on_the_way(intent.after).items():
        try:
            live = knobs[name].live().get(HOST)
        except KnobError:
            continue  # then the write will fail
        if live is not None and live.value != value:
            append(
                Intent(
                    id=ledger.next_id,
                    time=intent.time,
                    knob=name,
                    target=HOST,
                    identity=live.identity,
                    before=live.value,
                    after=value,
                    rule=intent.rule,
                    because=f"on the way to {intent.knob} {intent.after}",
                    is_detour=True,
                )
            )


def end(knobs: Mapping[str, Knob], ledger: Ledger, append: Append, now: float) -> None:
    """Those that are back where they were are over. One that is not stays ours, to be put back by restoring."""
    for (name, target), owned in ledger.owned.items():
        if not owned.is_on_detour or name not in knobs or knobs[name].is_busy:
            continue
        try:
            live = knobs[name].live().get(target)
        except KnobError:
            continue
        if live is not None and live.value == owned.last.before:
            append(Outcome(id=owned.last.id, time=now, result="ok", value=live.value))
            if not owned.changes:
                append(Released(time=now, knob=name, target=target, reason="restored"))
