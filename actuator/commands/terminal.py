"""What the commands print."""

from __future__ import annotations

import contextlib


def say(line: str) -> None:
    """Print a line at once. A reader or terminal that is gone must not keep us from what follows, as restoring."""
    with contextlib.suppress(OSError, UnicodeError):
        print(line, flush=True)
