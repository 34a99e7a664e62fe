"""Defects of the evaluator that the comparison must find, each a change of its source."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True)
class Mutation:
    """``text`` in the module ``actuator/promql/<module>.py`` becomes ``mutant``."""

    name: str
    module: str
    text: str
    mutant: str


MUTATIONS = (
    Mutation("stale markers are values", "evaluate", "~is_stale(values))", "is_stale(values) | True)"),
    Mutation("steps of subqueries not aligned", "evaluate", "(after_ms // step_ms + 1) * step_ms", "after_ms + 1"),
    Mutation(
        "offsets into the future", "evaluate", "return self.time_ms - offset_ms", "return self.time_ms + offset_ms"
    ),
    Mutation("@ end() is @ start()", "evaluate", "return self.end_ms - offset_ms", "return self.start_ms - offset_ms"),
    Mutation("counters fall below zero", "ranges", "if counter and growth > 0", "if False"),
    Mutation("group_left copies nothing", "binary", "replace(result, name, get(one, name))", "result"),
    Mutation("without keeps the name", "aggregate", "{*node.grouping, NAME}", "node.grouping"),
    Mutation("quantiles do not interpolate", "floats", "weight = rank - lower", "weight = 0"),
    Mutation("extrapolation threshold 1.2", "ranges", "_THRESHOLD = 1.1\n", "_THRESHOLD = 1.2\n"),
    Mutation("no counter resets", "ranges", "            growth += before\n", "            growth += 0\n"),
    Mutation(
        "other window ends", "evaluate", "- self.semantics.closed_windows", "- (not self.semantics.closed_windows)"
    ),
    Mutation("lookback of 4 minutes", "evaluate", "lookback_ms: int = 300_000", "lookback_ms: int = 240_000"),
    Mutation("sums not compensated", "floats", "   compensation += (running - result) + value", "   compensation += 0"),
    Mutation(
        "or prefers its right side", "binary", 'op == "or":\n', 'op == "or":\n        left, right = right, left\n'
    ),
)


def source(mutation: Mutation, repository: Path = REPOSITORY) -> Path:
    """The module that it changes."""
    return repository / "actuator/promql" / f"{mutation.module}.py"


def mutated(mutation: Mutation) -> str:
    """The changed source; raises ValueError if the text to change is not there, or not once."""
    text = source(mutation).read_text()
    if text.count(mutation.text) != 1:
        raise ValueError(f"{mutation.module}.py must have {mutation.text!r} once: adapt the mutation to the new source")
    return text.replace(mutation.text, mutation.mutant)


def apply(mutation: Mutation, directory: Path) -> None:
    """Copy the evaluator and the comparison to ``directory``, with the mutation in it."""
    shutil.copytree(REPOSITORY / "actuator", directory / "actuator")
    shutil.copytree(REPOSITORY / "tests", directory / "tests", ignore=shutil.ignore_patterns("hosts", "scenarios"))
    source(mutation, directory).write_text(mutated(mutation))


def survives(directory: Path, seed: str, port: int, queries: int) -> tuple[bool, str]:
    """Whether the comparison in ``directory`` finds nothing, and what it prints."""
    command = ("-m", "tests.promql.differential", "--seed", seed, "--port", str(port), "--queries", str(queries))
    # The working directory comes before the installed package in Python's path.
    run = subprocess.run(
        (sys.executable, *command, "--failures", "1"),
        cwd=directory,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.stderr:
        raise RuntimeError(run.stderr)
    return run.returncode == 0, run.stdout
