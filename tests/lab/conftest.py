"""Fixtures: a lab of two guests for the whole run, the host's knobs kept as they were, the real programs."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import hoststate, packages, programs
from .guests import Guest
from .lab import CACHE, REPOSITORY, TEST_DIRECTORY, Lab
from .specs import usual


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The exporter's families first: they are about guests that nobody has pinned and no page of which was scanned."""
    items.sort(key=lambda item: item.path.name != "test_exporter_families.py")


@pytest.fixture(scope="session", autouse=True)
def host_state() -> Iterator[None]:
    """Whatever the tests do, also if they are killed, every knob of the host returns to its value."""
    with hoststate.kept():
        yield


@pytest.fixture(autouse=True)
def knobs() -> Iterator[None]:
    """Each test finds the knobs as the one before found them, and no page shared if none was."""
    before = hoststate.read()
    nothing_shared = hoststate.ksm("pages_shared") == 0
    yield
    if nothing_shared and hoststate.ksm("pages_shared") > 0:
        (hoststate.KSM / "run").write_text("2")
    assert hoststate.restore(before) == []


@pytest.fixture(scope="session")
def lab(host_state: None) -> Iterator[Lab]:
    """A lab that ends with the tests, however they end."""
    lab = Lab(TEST_DIRECTORY)
    lab.start(tied=True)
    yield lab
    lab.down()


@pytest.fixture(scope="session")
def booted(lab: Lab) -> list[Guest]:
    return lab.boot(*usual(2))


@pytest.fixture
def guests(lab: Lab, booted: list[Guest]) -> Iterator[list[Guest]]:
    """kvmtune-lab-1 and -2, idle, with their balloons at the maximum."""
    yield booted
    for guest in booted:
        lab.virsh("setmem", guest.name, f"{guest.spec.memory_mib}MiB")
        guest.wait_ready()
        guest.command("idle")
        guest.command("free")


@pytest.fixture
def kvmtune(lab: Lab, tmp_path: Path) -> Iterator[programs.Programs]:
    """Starts the exporter and the actuator against the lab, and stops them after the test."""
    with programs.running(tmp_path, lab.uri) as started:
        yield started


@pytest.fixture
def kvmtune_alone(tmp_path: Path) -> Iterator[programs.Programs]:
    """The same for tests in which guests do not matter."""
    with programs.running(tmp_path, "test:///default") as started:
        yield started


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' own checker, installed or fetched without installing."""
    return packages.program("promtool", "prometheus", CACHE)


@pytest.fixture
def as_nobody() -> tuple[str, ...]:
    """Prefix of a command that a user without any rights shall run."""
    prefix = ("/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    python = REPOSITORY / ".venv/bin/python"
    if subprocess.run((*prefix, "sh", "-c", f"exec {python} -c ''"), capture_output=True, check=False).returncode:
        pytest.skip(f"other users cannot run {python}: this clone, or its Python, is in a private directory")
    return prefix
