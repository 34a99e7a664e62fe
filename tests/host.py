"""Hosts made of files, for tests, and a user whom file modes bind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from actuator.knobs import Libvirt
from kvmhost.fs import HostFS

FIXTURES = Path(__file__).parent / "hosts"


def fixture(name: str) -> HostFS:
    """One of the fixture hosts in tests/hosts."""
    assert (FIXTURES / name).is_dir(), f"there is no fixture host {name}"
    return HostFS(FIXTURES / name)


def made_of(root: Path, files: Mapping[str, str]) -> HostFS:
    """A host with these files only, by their path below `root`."""
    for path, content in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return HostFS(root)


@contextmanager
def unprivileged() -> Iterator[None]:
    """File modes do not bind root: be nobody for a while, if we are root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@contextmanager
def public_directory() -> Iterator[Path]:
    """A temporary directory that every user can reach, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def unasked() -> Libvirt:
    """A libvirt for knobs that do not ask it anything."""
    return Libvirt("test:///default", Path("/nonexistent"), lambda: 0.0, readonly=True)
