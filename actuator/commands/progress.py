"""How far a long command is, on stderr: a line that is rewritten on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TextIO


class Progress:
    """`every_seconds`: how often there is a line where nothing can be rewritten."""

    def __init__(self, every_seconds: float, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._rewrites = bool(self._stream) and self._stream.isatty()
        self._every_seconds = 0.2 if self._rewrites else every_seconds
        self._next = time.monotonic() + self._every_seconds
        self._width = 0

    def show(self, line: str) -> None:
        """This is how far it is, if it is time to say so."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every_seconds
        if self._rewrites:
            self._print(f"\r{line.ljust(self._width)}", end="")
            self._width = len(line)
        else:
            self._print(line)

    def tell(self, line: str) -> None:
        """Something to keep; it takes the place of a line that is rewritten."""
        self.clear()
        self._print(line)

    def clear(self) -> None:
        """Leave no line behind."""
        if self._width:
            self._print(f"\r{' ' * self._width}\r", end="")
            self._width = 0

    def _print(self, text: str, end: str = "\n") -> None:
        with suppress(OSError, UnicodeError):
            print(text, end=end, file=self._stream, flush=True)
