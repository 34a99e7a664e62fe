"""A host made of files: a copy of a fixture host, whose files the programs read and write as their /proc and /sys."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.lab.lab import REPOSITORY

FIXTURE = REPOSITORY / "tests/hosts/ordinary"
_KSM = "sys/kernel/mm/ksm"


def copied(directory: Path) -> Path:
    """The copy, with KSM off and without its advisor."""
    root = directory / "root"
    shutil.copytree(FIXTURE, root)
    for file, value in (("run", "0"), ("pages_to_scan", "100"), ("advisor_mode", "[none] scan-time")):
        (root / _KSM / file).write_text(f"{value}\n")
    return root


def ksm_run(root: Path) -> str:
    """What ksmd was told last."""
    return (root / _KSM / "run").read_text().strip()


def set_available(root: Path, ratio: float) -> None:
    """Let so much of the memory be available, from one moment to the next."""
    file = root / "proc/meminfo"
    text = file.read_text()
    total = re.search(r"^MemTotal: +(\d+)", text, re.MULTILINE)
    assert total is not None
    changed = re.sub(r"(?m)^(MemAvailable: +)\d+", rf"\g<1>{int(int(total[1]) * ratio)}", text)
    new = file.with_suffix(".new")
    new.write_text(changed)
    new.replace(file)
