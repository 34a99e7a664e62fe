"""The web configuration file, read again when it or a file that it names has changed."""

from __future__ import annotations

import logging
import stat
import threading
from pathlib import Path
from typing import NamedTuple

from kvmhost import textfile
from kvmhost.yamltree import InvalidConfig, Problem
from kvmweb import config
from kvmweb.config import WebConfig

_LOG = logging.getLogger(__name__)


class _Version(NamedTuple):
    """What tells two contents of a path apart; it changes, too, when a link there gets another target."""

    device: int
    inode: int
    modified_ns: int
    size: int


class ConfigFile:
    """The configuration as it is on disk now, or as it was when it was last good."""

    def __init__(self, path: Path) -> None:
        """`InvalidConfig` names every problem of the file."""
        self._path = path
        self._lock = threading.Lock()
        self._seen: dict[Path, _Version | None] = {}
        self._current = self._read()
        _warn(self._current.warnings)

    def current(self) -> WebConfig:
        """To be asked for each connection and request: while nothing has changed, it costs a stat for each file."""
        with self._lock:
            if any(_version(path) != version for path, version in self._seen.items()):
                self._renew()
            return self._current

    def _renew(self) -> None:
        old = self._current
        try:
            new = self._read()
            _refuse_less(self._path, old, new)
        except InvalidConfig as error:
            _LOG.error("the web configuration on disk is refused, the last good one stays in force:\n%s", error)
            return
        self._current = new
        _LOG.info("the web configuration is read again: %s", self._path)
        _warn(tuple(warning for warning in new.warnings if warning not in old.warnings))

    def _read(self) -> WebConfig:
        """Notes the version of every file that it looks at, before it reads, so that no change is missed."""
        self._seen = {}
        try:
            text, _ = self._read_file(self._path)
        except OSError as error:
            raise InvalidConfig([Problem(str(self._path), 1, 1, f"cannot be read: {error.strerror}")]) from None
        return config.parse(self._path, text, self._read_file)

    def _read_file(self, path: Path) -> tuple[str, bool]:
        self._seen[path] = _version(path)
        content, mode = textfile.read(path)
        return content.decode("utf-8", "replace"), bool(mode & stat.S_IROTH)


def _version(path: Path) -> _Version | None:
    """None if there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _Version(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _refuse_less(path: Path, old: WebConfig, new: WebConfig) -> None:
    """`InvalidConfig` if `new` lets in whom `old` kept out: this may be a file that is only half written."""
    lost = sorted(old.protections - new.protections)
    if lost:
        why = f"{' and '.join(lost)} would be gone: restart the program if this is meant"
        raise InvalidConfig([Problem(str(path), 1, 1, why)])


def _warn(warnings: tuple[Problem, ...]) -> None:
    for warning in warnings:
        _LOG.warning("%s", warning)
