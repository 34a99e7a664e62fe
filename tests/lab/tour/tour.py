"""All chapters of the tour, one after the other, and what they have left behind: nothing, if all went well."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.lab import hoststate
from tests.lab.lab import Lab
from tests.lab.specs import GuestSpec

from . import devices, hugepages, memory, tuned, vcpus
from .stage import Say, Stage, exporter, quietly_running
from .story import Chapter, Story

PAIR = [GuestSpec(name=f"tour-{number}", memory_mib=512) for number in (1, 2)]


def walk(lab: Lab, say: Say) -> Story:
    """Show everything in a lab that is up; call it within `hoststate.kept`, which also restores if it is killed."""
    before = hoststate.read()
    with tempfile.TemporaryDirectory(prefix="kvmtune-tour-") as name:
        directory = Path(name)
        say("\n4.2 tuned")
        chapters = (tuned.show(_made(directory / "tuned"), say), *_on_guests(lab, directory, say))
    return Story(chapters=chapters, left=tuple(path for path, _ in hoststate.changes(before, hoststate.read())))


def _on_guests(lab: Lab, directory: Path, say: Say) -> tuple[Chapter, ...]:
    say("\nstarting three guests")
    *pair, private = guests = lab.boot(*PAIR, memory.PRIVATE)
    with quietly_running(_made(directory / "programs"), lab.uri) as started:
        stage = Stage(started, exporter(started, "--libvirt.stats-interval", "1s"), say)
        say("\n4.3 memory: balloon and KSM")
        chapters = [memory.show(stage, pair, private)]
        lab.destroy(private.name)
        say("\n4.4 hugepages")
        chapters.append(hugepages.show(stage, lab, directory / "host"))
        say("\n4.5 CPU affinity")
        chapters.append(vcpus.show(stage, lab, pair))
        say("\n4.6 paravirtual drivers")
        chapters.append(devices.show(stage, lab))
    for guest in guests[:-1]:
        lab.destroy(guest.name)
    return tuple(chapters)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
