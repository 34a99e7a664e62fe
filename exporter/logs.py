"""The log: lines on standard error, for which nobody waits. Whoever reads them may be slow, or stand still."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from contextlib import suppress

_MOST_WAITING = 1000
_LAST_LINES_SECONDS = 1.0
_STDERR = 2


class Log(logging.Handler):
    """Writes in a thread of its own. Lines beyond a thousand that wait are dropped, and how many is said later."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: queue.Queue[str] = queue.Queue(_MOST_WAITING)
        self._dropped = 0
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait for the lines so far, for a moment."""
        deadline = time.monotonic() + _LAST_LINES_SECONDS
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)

    def _write(self) -> None:
        while True:
            lines = self._lines.get()
            dropped, self._dropped = self._dropped, 0
            if dropped:
                lines += f"\n({dropped} lines before this one were lost: nobody read them)"
            with suppress(OSError):  # nobody will ever read it
                os.write(_STDERR, f"{lines}\n".encode(sys.stderr.encoding or "utf-8", "backslashreplace"))
            self._lines.task_done()


def to_standard_error() -> None:
    """Have all logging of this process go there."""
    handler = Log()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
