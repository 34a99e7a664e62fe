"""What the next boot sets: drop-in files for sysctl.d(5) and, for what has no sysctl, for tmpfiles.d(5).

Each holds what is kept and nothing else, and is made anew from the ledger; with nothing to keep, it is removed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from actuator.ledger import files
from actuator.ledger.records import Kept
from actuator.ledger.standing import Settings

SYSCTL = "etc/sysctl.d/90-kvmtune.conf"
TMPFILES = "etc/tmpfiles.d/90-kvmtune.conf"

# The ledger belongs to the user of the service, and what a boot sets is done as root: nothing else gets there.
_SETTING = re.compile(r"vm\.\w+|/sys/(?:devices/system/node/node\d+|kernel/mm)/hugepages/hugepages-\d+kB/nr_hugepages")

_OURS = "# Written by kvmtune-actuator, and written anew with each change: do not edit."
_HEAD = f"""\
{_OURS}
# It sets at each boot what rules with `persist: true` have set. `kvmtune-actuator restore`
# puts back what was there before and removes this file.
"""


class DropIns:
    """The drop-in files of the host whose /etc is below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keep(self, settings: Settings) -> str:
        """As `ledger.NextBoot`. A file that is not ours is left alone."""
        parts: dict[str, list[Kept]] = {SYSCTL: [], TMPFILES: []}
        refused = []
        for setting, kept in sorted(settings.items()):
            if _SETTING.fullmatch(setting) and isinstance(kept.value, int):
                parts[TMPFILES if setting.startswith("/") else SYSCTL].append(kept)
            else:
                what = f"the ledger has the next boot set {setting!r}, which no rule can"
                refused.append(f"{what}: it is left out; see who else writes the ledger")
        problems = (*refused, *(_put(self._root / file, _text(part)) for file, part in parts.items()))
        return "; ".join(problem for problem in problems if problem)


def _text(part: Sequence[Kept]) -> str:
    if not part:
        return ""
    return _HEAD + "".join(
        f"\n# {' '.join(f'{kept.rule}: {kept.because} It was {kept.original}.'.split())}\n{_line(kept)}\n"
        for kept in part
    )


def _line(kept: Kept) -> str:
    if kept.setting.startswith("/"):
        return f"w {kept.setting} - - - - {kept.value}"
    return f"{kept.setting} = {kept.value}"


def _put(path: Path, text: str) -> str:
    """Have the file hold `text`, or be gone; returns what went wrong."""
    try:
        there = _read(path)
        if there is not None and not there.startswith(_OURS):
            return f"{path} is not ours, so nothing is kept for the next boot: rename it" if text else ""
        if there == text or (there is None and not text):
            return ""
        if text:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(files.replace(path, text.encode(), 0o644))
        else:
            path.unlink()
            files.flush_directory(path.parent)
    except OSError as error:
        what = "written, so the next boot will not set what rules have set" if text else "removed: do it by hand"
        return f"{path} cannot be {what}: {error.strerror}"
    return ""


def _read(path: Path) -> str | None:
    """None if it is not there. A link is not ours, whatever it leads to."""
    if path.is_symlink():
        return "a link"
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return path.read_text(errors="replace")
    return None
