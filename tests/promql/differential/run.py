"""Asks the same queries here and there, and tells what differs."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from actuator.promql.columns import Source
from tests.promql.differential import judge
from tests.promql.differential.expressions import query
from tests.promql.differential.queries import Answer, Query, Refused, difference
from tests.promql.differential.server import Server

_CONNECTIONS = 4
_AHEAD = 64


@dataclass
class Report:
    """What became of the queries; ``failures`` are those that no known difference explains."""

    seed: str
    outcomes: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        lines = [f"seed {self.seed}: {self.outcomes.total()} queries in {self.seconds:.0f} s: {outcomes}"]
        lines += [f"{count:5} {name}" for name, count in self.known.most_common()]
        return "\n".join([*lines, f"{len(self.failures):5} not explained", *self.failures])


def compare(server: Server, source: Source, seed: str, numbers: Iterable[int], *, most_failures: int = 20) -> Report:
    """Ask the queries of these numbers; ends early after ``most_failures``."""
    report = Report(seed)
    begun = time.monotonic()
    for number, asked, theirs in _asked(server, seed, numbers):
        report.outcomes[_outcome(theirs)] += 1
        differs = difference(judge.answer(asked, source), theirs)
        if differs:
            names = judge.explanation(asked, source, theirs)
            report.known.update(names)
            if not names:
                report.failures.append(f"query {number}: {asked}\n    {differs[:400]}")
                if len(report.failures) == most_failures:
                    break
    report.seconds = time.monotonic() - begun
    return report


def _asked(server: Server, seed: str, numbers: Iterable[int]) -> Iterator[tuple[int, Query, Answer]]:
    """Queries with the answers of Prometheus, which is asked ahead."""
    remaining = iter(numbers)
    pending: list[tuple[int, Query, Future[Answer]]] = []
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        while True:
            for number in islice(remaining, _AHEAD - len(pending)):
                asked = query(seed, number)
                pending.append((number, asked, pool.submit(server.ask, asked)))
            if not pending:
                return
            number, asked, future = pending.pop(0)
            yield number, asked, future.result()


def _outcome(answer: Answer) -> str:
    if isinstance(answer, Refused):
        return "refused"
    return "answered" if answer else "empty"
