"""The trial of a write as timelines: what `verify` says each second after it, and what becomes of the trial."""

import pytest

from actuator import promql
from actuator.rules import verify
from actuator.rules.ruleset import Verify
from actuator.rules.verify import Answer, Trial

WRITTEN = 1000.0
ANSWERS = {"T": True, "F": False, "?": None}


def timeline(asked: Verify, answers: str, delay: float = 0.0) -> str:
    """A letter a second: `.` on trial, `p` passed, `q` quarantine. Inputs: T holds, F does not, ? is not known."""
    trial: Trial | str | None = verify.begin(asked, WRITTEN)
    told = ""
    for now, letter in enumerate(answers, start=int(WRITTEN)):
        assert isinstance(trial, Trial), "it goes on after its end"
        holds = ANSWERS[letter]
        trial = verify.step(asked, trial, None if holds is None else Answer(holds, now - delay), now)
        told += "p" if trial is None else "q" if isinstance(trial, str) else "."
    return told


def asked(within: float, text: str = "x > 1", looks_back: float = 0.0) -> Verify:
    return Verify(promql.compile(text), within, looks_back)


@pytest.mark.parametrize(
    ("verify", "answers", "delay", "told"),
    [
        # The answer at the time of the write itself is older than its effect.
        (asked(3), "TT", 0, ".p"),
        (asked(3), "FFFT", 0, "...p"),
        (asked(3), "FFFF", 0, "...q"),
        # Of an average over two seconds counts what is wholly after the write.
        (asked(4, looks_back=2), "TTT", 0, "..p"),
        (asked(4, looks_back=2), "TTFFF", 0, "....q"),
        # Missing data take nothing back, and their time does not count.
        (asked(2), "F????FF", 0, "......q"),
        (asked(2), "F????T", 0, ".....p"),
        # A server's data come late: they are waited for.
        (asked(2), "FFFFF", 1, "..q"),
        (asked(2), "TTT", 1, "..p"),
        (asked(2), "FFFFF", 3, "....q"),
    ],
)  # fmt: skip
def test_timelines(verify: Verify, answers: str, delay: float, told: str) -> None:
    assert timeline(verify, answers[: len(told)], delay) == told


def test_a_failure_says_why() -> None:
    trial = verify.begin(asked(3), WRITTEN)
    failed = verify.step(asked(3), trial, Answer(holds=False, as_of=WRITTEN + 3), WRITTEN + 3)
    assert failed == "verify did not hold within 3s after the write: x > 1"
