"""A guest that does not get as small as it was told to, on a model host: state in, time, state out."""

from __future__ import annotations

from pathlib import Path

from actuator.rules import config
from tests.scenarios.model import Guest, Host, Run

TEXT = """
groups:
  - name: g
    rules:
      - tune: shrink
        because: b
        when: kvm_memory_available_bytes < 4 * 1024 * 1024 * 1024
        every: 1h
        limits: {step: 30%}
        set: {balloon.target: kvm_domain_balloon_actual_bytes - 256 * 1024 * 1024}
"""
RULES = config.loads(TEXT)


def host(directory: Path, guest: Guest) -> Host:
    return Host(directory, available=2048, guests={"a": guest})


def test_a_balloon_that_does_not_move_is_told_to_stay(tmp_path: Path) -> None:
    guest = Guest(balloon_rate=0)
    with Run(host(tmp_path, guest), rules=RULES) as run:
        told = [(decision.time, decision.outcome, decision.detail) for decision in run.tick(6)]
        assert told == [
            (5, "written", ""),
            (15, "fell short", "asked for 768 MiB, it reads 1 GiB; it stays there"),
            (20, "settled", ""),
        ]
        # The driver is back, hours later: it must not take then what was decided for another hour.
        guest.balloon_rate = 100
        run.tick(6)
        assert guest.actual == 1024


def test_a_guest_that_needs_its_memory_on_the_way_down_gets_it_back(tmp_path: Path) -> None:
    guest = Guest(balloon_rate=10)
    with Run(host(tmp_path, guest), rules=RULES) as run:
        run.tick(1)
        guest.used = 960
        (end,) = run.tick(1)
        assert end.detail == "asked for 768 MiB, it reads 974 MiB: it needs its memory by now; it is undone"
        run.tick(6)
        assert guest.actual == 1024


def test_a_slow_guest_goes_on_at_the_next_evaluation(tmp_path: Path) -> None:
    guest = Guest(balloon_rate=10)
    with Run(host(tmp_path, guest), rules=config.loads(TEXT.replace("every: 1h", "every: 15s"))) as run:
        run.tick(60)
        assert guest.actual < 400
