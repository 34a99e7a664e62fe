"""The evaluator and a real Prometheus 2.42 answer ten thousand random queries alike.

The seed is the same in each run, so that a failure tells of a change. KVMTUNE_FUZZ_SEED=random asks other queries of
other data, and prints the seed by which they can be asked again. `python -m tests.promql.differential --help` tells how to ask one query, or more of them.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.promql.differential import data, mutations, server
from tests.promql.differential.mutations import MUTATIONS, Mutation
from tests.promql.differential.run import compare
from tests.promql.differential.server import Server

from . import packages
from .lab import CACHE

QUERIES = 4_000
SEED = os.environ.get("KVMTUNE_FUZZ_SEED") or "09b8b8c4"
if SEED == "random":
    SEED = secrets.token_hex(4)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the data of this run."""
    program = packages.program("prometheus", "prometheus", CACHE)
    with server.running(program, tmp_path_factory.mktemp("prometheus")) as started:
        started.write(data.generate(SEED))
        yield started


def test_no_answer_differs_but_by_name(prometheus: Server, capsys: pytest.CaptureFixture[str]) -> None:
    report = compare(prometheus, data.store(data.generate(SEED)), SEED, range(QUERIES))
    with capsys.disabled():
        print(f"\n{report}")
    assert report.failures == []
    assert report.outcomes["answered"] > QUERIES / 2


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_comparison_finds(mutation: Mutation, prometheus: Server, tmp_path: Path) -> None:
    mutations.apply(mutation, tmp_path)
    survives, report = mutations.survives(tmp_path, SEED, prometheus.port, QUERIES)
    assert not survives, report
