"""The tour as text: a table for a terminal, and docs/tour.md (pure)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from rich.table import Table

from benchmarks.report import table as rows_table

from .story import Chapter, Step, Story

_COLUMNS = 120

_INTRODUCTION = """\
# A tour of tuning a KVM host

The classic steps, as a guide to KVM on RHEL 7 walks through them ({chapters}), here on real guests of the
[lab](../README.md). Each step says what is done and why, how an operator does it by
hand, and which rule does it; the numbers before and after are kvmtune's own metrics. It needs root and 4 GiB of free
memory, takes a few minutes, and puts everything back. KSM is one for the whole machine, and the tour undoes its
merging: take a machine that runs no guests of yours. How things work, and what goes wrong: [concepts.md](concepts.md).

The guests are emulated (no KVM needed), so their vCPUs cost more CPU time than those of a host of yours.

`kvmtune-actuator query EXPR` gives the number of each metric on a host of yours.

`make tour` walks through all of it. This page is written by

```sh
{command}
```
"""
_END_WELL = """\
## Everything is put back

Each actuator puts back what it has changed when it stops. At the end every knob of the host was compared with its value
before the tour: none differed.
"""
_END_ILL = """\
## Not everything was as before

When the last chapter had ended, these were not as before; the lab has put them back then:
"""


def table(story: Story) -> Table:
    """All numbers, for a terminal."""
    drawn = Table("step", "what", "before", "after", title="The tour in numbers")
    last = None
    for chapter, step, row in story.rows():
        drawn.add_row(f"{chapter.number} {step.name}" if step is not last else "", row.watch.what, *row.texts)
        last = step
    return drawn


def markdown(story: Story, facts: Mapping[str, str], *, command: str, picture: str) -> str:
    """The whole page. `facts`: what to know of the machine and the run; `picture`: its address from the page."""
    numbers = ", ".join(chapter.number for chapter in story.chapters)
    return "\n".join(
        (
            _INTRODUCTION.format(chapters=numbers, command=command),
            rows_table(("", ""), facts.items()),
            f"![Numbers before and after each step]({picture})\n",
            *(_chapter(chapter) for chapter in story.chapters),
            _end(story),
        )
    )


def _chapter(chapter: Chapter) -> str:
    steps = "\n".join(_step(step) for step in chapter.steps)
    return f"## {chapter.number} {chapter.title}\n\nRead on: {chapter.read_on}.\n\n{steps}"


def _step(step: Step) -> str:
    return "\n".join(_parts(step))


def _parts(step: Step) -> Iterator[str]:
    yield f"### {step.name[:1].upper()}{step.name[1:]}\n\n{_wrapped(step.why)}\n"
    if step.by_hand:
        yield "By hand:\n\n```sh\n{}\n```\n".format("\n".join(step.by_hand))
    if step.rule:
        yield f"By a rule: [{step.rule}](../tests/lab/tour/rules/{step.rule})\n"
    if step.shown:
        yield f"```\n{step.shown}\n```\n"
    if step.rows:
        rows = ((row.watch.what, *row.texts, f"`{_code(row.watch.expr)}`") for row in step.rows)
        yield rows_table(("what", "before:", "after:", "metric"), rows)
    for remark in step.remarks:
        yield f"{_wrapped(remark)}\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _COLUMNS, break_on_hyphens=False, break_long_words=False)


def _code(expr: str) -> str:
    return expr.replace("|", "\\|")


def _end(story: Story) -> str:
    if not story.left:
        return _END_WELL
    return _END_ILL + "\n" + "".join(f"- `{path}`\n" for path in story.left)
