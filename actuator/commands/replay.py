"""`kvmtune-actuator replay`: what these rules would have done."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from actuator.commands.data import server
from actuator.commands.flags import (
    BAD_INPUT,
    FAILED,
    OK,
    Subparsers,
    add_query_config,
    add_query_url,
    add_rules,
    positive_seconds,
)
from actuator.commands.loading import load
from actuator.commands.progress import Progress
from actuator.data.query import QueryError
from actuator.knobs import KNOBS
from actuator.replay import plot, report
from actuator.replay.past import Past, selectors_of
from actuator.replay.recording import Recording, RecordingError
from actuator.replay.run import CPUS_METRIC, Story, replay
from actuator.rules.ruleset import Place, RuleSet, Tune
from actuator.simulated.simulatedhost import metrics_of
from kvmhost.units import format_seconds
from kvmweb.arguments import checked

_DESCRIPTION = """\
What would these rules have done? Feeds what was recorded, scrape by scrape, to
the engine of `run`, on a host that is simulated: nothing of this machine is
touched. The data come from a file of `record`, or from a Prometheus server:

  kvmtune-actuator replay monday.om.gz --rules rules
  kvmtune-actuator replay --query.url http://prometheus:9090 --since 6h --rules rules
  kvmtune-actuator replay monday.om.gz --rules new.yml --plot new.svg

Prints each decision that is news, and what became of each rule. docs/replay.md
says what the result means.
"""


def add(subparsers: Subparsers) -> None:
    """`replay`."""
    parser = subparsers.add_parser(
        "replay",
        help="what rules would have done on a recording, or on what a server has",
        description=_DESCRIPTION,
        epilog="Exit status: 0 replayed, 1 the server did not answer, 2 the rules, the recording or a flag is wrong.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_rules(parser)
    parser.add_argument(
        "--closed-loop", action="store_true",
        help="decisions are carried out on the simulated host, and the metrics that show its knobs follow; without it "
        "what was recorded stays as it was (a dry run)",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="how to print it (default: %(default)s)"
    )
    parser.add_argument(
        "--plot", type=checked(plot.path), metavar="FILE",
        help="draw the knobs as recorded, and where the rules wanted them: .svg, .png or .pdf (needs matplotlib: pip "
        "install 'kvmtune[plot]')",
    )  # fmt: skip
    parser.add_argument("-v", "--verbose", action="store_true", help="also print decisions that changed nothing")
    data = parser.add_argument_group("data", "A recording, or a server and how far back to look:")
    where = data.add_mutually_exclusive_group()
    where.add_argument("recording", nargs="?", type=Path, metavar="FILE", help="made by `kvmtune-actuator record`")
    add_query_url(where)
    data.add_argument(
        "--since", type=checked(positive_seconds), metavar="DURATION", help="how far back, as in 6h; with --query.url"
    )
    data.add_argument(
        "--instance", default="", help="the label `instance` of this host's exporter, if the server has several hosts"
    )
    add_query_config(data, "the answers on ten minutes", "1m")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Replay and print; returns the exit status."""
    if problem := _misfit(options):
        _tell(problem)
        return BAD_INPUT
    rules, limits = load(options)
    progress = Progress(every_seconds=10.0)
    story: Story | None = None
    try:
        if options.plot:
            plot.require()
        with _data(options, rules, progress) as data:
            for story in replay(
                rules, limits, data.scrapes(), closed_loop=options.closed_loop, keep_tracks=bool(options.plot)
            ):
                span = format_seconds(round(story.last - story.first))
                progress.show(f"{data.read_ratio:.0%}: {span}, {len(story.decisions)} decisions")
    except (RecordingError, plot.PlotError) as error:
        progress.tell(str(error))
        return BAD_INPUT
    except QueryError as error:
        progress.tell(str(error))
        return FAILED
    except KeyboardInterrupt:
        progress.tell("stopped early; this is what there is so far")
    progress.clear()
    if story is None:
        return FAILED
    return _show(options, rules, story)


def _misfit(options: argparse.Namespace) -> str:
    """Why the flags do not go together, with the next step; empty if they do."""
    if options.recording is None and not options.query_url:
        return "say what to replay: a recording (it goes before --rules), or --query.url and --since"
    if options.query_url and not options.since:
        return "say how far back to look on the server: --since 6h"
    if options.recording is not None and (options.since or options.instance or options.query_config_file):
        return "--since, --instance and --query.config.file are for a server: give its --query.url"
    return ""


@contextmanager
def _data(options: argparse.Namespace, rules: RuleSet, progress: Progress) -> Iterator[Recording | Past]:
    if not options.query_url:
        with closing(Recording(options.recording, progress.tell)) as recording:
            yield recording
        return
    with closing(server(options)) as asked:
        end = time.time()
        yield Past(asked, selectors_of(rules, _metrics(rules)), end - options.since, end, options.instance)


def _metrics(rules: RuleSet) -> set[str]:
    """What the simulated host is made of, as far as these rules touch it."""
    knobs = {action.knob for tune in rules.tunes for action in tune.actions}
    return {CPUS_METRIC, *(name for knob in knobs for name in metrics_of(KNOBS[knob]))}


def _users(rules: RuleSet) -> dict[str, list[str]]:
    """The rules that read each metric that is not recorded by one of them, or write to a knob that it shows."""
    recorded = {record.name for group in rules.groups for record in group.records}
    users: dict[str, list[str]] = {}
    for rule in (rule for group in rules.groups for rule in group.rules):
        actions = rule.actions if isinstance(rule, Tune) else ()
        names = {metric.name for action in actions if (metric := KNOBS[action.knob].metric)}
        # A host with one NUMA node does not have the memory of placements.
        optional = {action.memory for action in actions if isinstance(action, Place)}
        names = names.union(*(expr.metric_names for expr in rule.exprs if expr not in optional))
        for name in names - recorded:
            users.setdefault(name, []).append(rule.name)
    return users


def _show(options: argparse.Namespace, rules: RuleSet, story: Story) -> int:
    for name, users in sorted(_users(rules).items()):
        if name not in story.seen:
            _tell(f"no scrape has {name}, which {', '.join(users)} would read")
    form = report.as_json if options.output == "json" else report.table
    print(form(story, verbose=options.verbose))
    if options.plot:
        try:
            left_out = plot.draw(story, options.plot)
        except plot.PlotError as error:
            _tell(str(error))
            return FAILED
        _tell(
            f"plotted: {options.plot}"
            + (f" ({left_out} targets with fewer decisions are left out)" if left_out else "")
        )
    return OK


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
