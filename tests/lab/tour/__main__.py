"""`python -m tests.lab.tour`: the tour, as `make tour` calls it."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import circumstances
from tests.lab import hoststate
from tests.lab.errors import LabError
from tests.lab.lab import TEST_DIRECTORY, Lab

from . import page, picture
from .story import Story
from .tour import walk

_DESCRIPTION = """\
Walks through the classic steps of tuning a KVM host on real guests, each with
numbers before and after, and puts everything back. As root; needs 4 GiB of free
memory and some minutes. KSM is one for the whole machine, and its merging is
undone: take a machine that runs no guests of yours.
"""
_EPILOG = """\
Example:
  make tour TOUR="--write docs/tour.md"

Exit status: 0 all was shown and is as it was before; 1 something failed, or was
not as before and had to be put back; 130 after Ctrl-C, which puts all back, too.
"""

_COLUMNS = 110


def main() -> int:
    options = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))  # so that what was started ends, too
    try:
        story, began, seconds = _walk()
    except (LabError, AssertionError, pytest.fail.Exception) as error:  # what the lab's own helpers raise
        print(f"tour: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tour: ended early; the host is as it was", file=sys.stderr)
        return 128 + signal.SIGINT
    console = Console()
    console.print(page.table(story), width=max(console.width, _COLUMNS))
    for path in story.left:
        print(f"tour: {path} was not as before, and is now", file=sys.stderr)
    if not story.left:
        print("Every knob of the host is as it was.")
    if options.write:
        _write(
            options.write, story, {"run": f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(began))} UTC, {seconds:.0f} s"}
        )
    return 1 if story.left else 0


def _walk() -> tuple[Story, float, float]:
    """What was shown, when it began (unix seconds), and how long it took."""
    print("noting the host's knobs; who else uses the lab on this machine is waited for", flush=True)
    with hoststate.kept():
        began = time.time()
        lab = Lab(TEST_DIRECTORY)
        try:
            lab.start(tied=True)
            story = walk(lab, lambda line: print(line, flush=True))
            return story, began, time.time() - began
        finally:
            lab.down()


def _write(file: Path, story: Story, run: dict[str, str]) -> None:
    drawing = file.parent / "pictures" / f"{file.stem}.svg"
    drawing.parent.mkdir(exist_ok=True)
    drawing.write_text(picture.svg(story))
    facts = circumstances.machine() | {"load average": circumstances.load()} | run
    command = f"make tour TOUR={shlex.quote(shlex.join(sys.argv[1:]))}"
    text = page.markdown(story, facts, command=command, picture=f"pictures/{drawing.name}")
    file.write_text(text)
    print(f"written to {file} and {drawing}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make tour", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write it as a page, and a picture beside it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
