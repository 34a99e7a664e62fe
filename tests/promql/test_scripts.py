"""The language, as told by the scripts in tests/promql/scripts."""

from collections import Counter
from pathlib import Path

import pytest

from actuator.promqltest import run

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.test"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script(script: Path) -> None:
    verdicts = run(script.read_text())
    assert [verdict for verdict in verdicts if verdict.outcome != "passed"] == []
    assert len(verdicts) >= 10


def test_every_expression_is_judged() -> None:
    for script in SCRIPTS:
        evals = Counter(line.split(" ")[0] for line in script.read_text().splitlines())["eval"]
        assert len(run(script.read_text())) == evals, script.name
