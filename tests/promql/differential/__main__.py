"""Compare the evaluator with a real Prometheus: python -m tests.promql.differential --help"""

import argparse
import secrets
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

from tests.lab import packages
from tests.promql.differential import data, judge
from tests.promql.differential.expressions import query
from tests.promql.differential.run import compare
from tests.promql.differential.server import Server, running


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.promql.differential", description=__doc__)
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of data and queries; random if not given")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--only", type=int, help="ask the query of this number only")
    parser.add_argument("--failures", type=int, default=20, help="end after so many")
    parser.add_argument("--port", type=int, help="of a Prometheus that has the data of the seed already")
    options = parser.parse_args()
    series = data.generate(options.seed)
    numbers = range(options.queries) if options.only is None else [options.only]
    with ExitStack() as stack:
        if options.port:
            server = stack.enter_context(closing(Server(options.port)))
        else:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            program = packages.program("prometheus", "prometheus", Path(".lab/cache"))
            server = stack.enter_context(running(program, directory))
            server.write(series)
        if options.only is not None:
            asked = query(options.seed, options.only)
            print(asked, f"ours: {judge.answer(asked, data.store(series))}", f"theirs: {server.ask(asked)}", sep="\n")
        report = compare(server, data.store(series), options.seed, numbers, most_failures=options.failures)
    print(report)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
