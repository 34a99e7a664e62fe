"""Frames in a terminal, one in the place of the other, until a key ends it; or as plain text where there is none."""

from __future__ import annotations

import codecs
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from rich.console import Console
from rich.live import Live

from actuator.top.scene import Scene
from actuator.top.view import frame

PLAIN = "kvmtune-plain"
"""How what an encoding does not have is written: bars are in no old one."""
_PLAIN = {**dict.fromkeys("▁▂▃▄░", "-"), **dict.fromkeys("▅▆▇█", "#"), "…": "."}

_EVERYTHING = 10_000
_ONCE_SECONDS = 1.0


def _plainly(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


codecs.register_error(PLAIN, _plainly)


def run(look: Callable[[float], Scene], interval_seconds: float, *, once: bool) -> None:
    """Show what `look` finds at a unix time. The first look is shown in a terminal only: rates need a second one."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors=PLAIN)
    console = Console(highlight=False)
    if once or not console.is_terminal or console.is_dumb_terminal:
        look(time.time())
        _print(look, console, _ONCE_SECONDS if once else interval_seconds, once=once)
    else:
        _show(look, console, interval_seconds)


def _print(look: Callable[[float], Scene], console: Console, interval_seconds: float, *, once: bool) -> None:
    height = console.height if console.is_terminal else _EVERYTHING
    while True:
        time.sleep(interval_seconds)
        console.print(frame(look(time.time()), console.width, height))
        if once:
            return


def _show(look: Callable[[float], Scene], console: Console, interval_seconds: float) -> None:
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(frame(look(time.time()), *console.size), refresh=True)
            if pressed(interval_seconds) in ("q", "Q"):
                return


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Keys as they are pressed: a function that waits for one, so many seconds at most."""
    if not sys.stdin.isatty():
        yield _nobodys
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield _pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _pressed(seconds: float) -> str:
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 1).decode("ascii", "replace") if ready else ""


def _nobodys(seconds: float) -> str:
    time.sleep(seconds)
    return ""
