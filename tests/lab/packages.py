"""Files out of distribution packages that are fetched but not installed, so that the host stays as it is."""

import re
import shutil
import subprocess
from pathlib import Path

from .errors import LabError


def dependencies(package: str) -> tuple[str, ...]:
    """Names of the packages that `package` depends on; () when apt does not know it."""
    listing = _run("apt-cache", "depends", "--important", package, check=False)
    return tuple(re.findall(r"^ +Depends: (\S+)", listing, re.MULTILINE))


def missing(*packages: str) -> tuple[str, ...]:
    """Names of the packages that apt would install for these, their dependencies included."""
    simulation = ("apt-get", "install", "--simulate", "-qq", "--no-install-recommends", *packages)
    try:
        plan = _run(*simulation)
    except LabError:  # a fresh machine knows no packages
        refresh()
        plan = _run(*simulation)
    return tuple(re.findall(r"^Inst (\S+)", plan, re.MULTILINE))


def refresh() -> None:
    """Have apt read its package lists anew; a fresh machine has none."""
    _run("apt-get", "update", "-qq")


def unpack(package: str, into: Path) -> None:
    """Download `package` with apt and unpack its files under the directory `into`."""
    into.mkdir(parents=True, exist_ok=True)
    # apt would give up its rights for the download, and then could not write to root's directory
    download = ("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", package)
    try:
        _run(*download, cwd=into)
    except LabError:  # the lists may name a version that is no longer there
        refresh()
        _run(*download, cwd=into)
    for archive in into.glob("*.deb"):
        _run("dpkg-deb", "-x", str(archive), str(into))
        archive.unlink()


def unpacked(package: str, cache: Path) -> Path:
    """Directory with the files of `package`, fetched if `cache` does not have it yet."""
    directory = cache / package
    if not directory.exists():
        partial = directory.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        unpack(package, partial)
        partial.rename(directory)
    return directory


def program(name: str, package: str, cache: Path) -> Path:
    """Path of program `name`: the installed one, else the one in apt's `package`, kept under `cache`.

    Installing a package such as prometheus would start its service on the host.
    """
    installed = shutil.which(name)
    return Path(installed) if installed else unpacked(package, cache) / "usr/bin" / name


def _run(*command: str, check: bool = True, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    except FileNotFoundError as missing:
        raise LabError(f"{missing.filename} is not installed; the lab needs Debian's or Ubuntu's tools") from None
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout
