"""Recordings: what the rules saw at each scrape, in a file that Prometheus' own tools read, too.

The format is OpenMetrics' text with a timestamp on each line, in the order of time: what `promtool tsdb
create-blocks-from openmetrics` takes. The labels are those that the store has, with `job` and `instance`. `up` ends
each scrape, and is 0 for one that failed; a scrape without it was cut off. `# EOF` ends the file.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from actuator.data.exposition import MAX_LINE_CHARACTERS, MAX_LINES, ExpositionError, Parser
from actuator.data.store import Selection, Store, milliseconds
from actuator.promql.columns import is_stale
from actuator.promql.labels import NAME, Labels, drop_name, get
from actuator.promql.text import quote

UP = "up"
_IS_UP = (NAME, UP)
_EOF = b"# EOF"
_GZIP = b"\x1f\x8b"
_GZIP_WBITS = 31  # zlib's word for a gzip header around a window of 32 KiB
_LATEST_SECONDS = 1e11
"""The year 5138; a larger number is one of milliseconds."""
_PLAIN_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_VALUE = re.compile(rb"[ }\t][0-9a-zA-Z.+-]+\n")
_NO_SAMPLE = (b"#", b"\n")
_HINT = "is this a recording of `kvmtune-actuator record`?"
_MOST_LINE_BYTES = 4 * MAX_LINE_CHARACTERS  # of UTF-8
_TORN = (EOFError, gzip.BadGzipFile, zlib.error)


class RecordingError(Exception):
    """The file is no recording, or cannot be read or written; the message names file and line."""


class ThereAlreadyError(RecordingError):
    """There is such a file, and it is to be kept."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """What a scrape at ``time`` (unix seconds) gave; ``error`` says why it failed, None if it did not."""

    time: float
    values: Mapping[Labels, float]
    error: str | None = None


class Recorder:
    """Writes a recording as it goes: what was written is there, also after a kill.

    ``keeps``: whether metrics of a name are recorded (truth counts). Gzip if the name of the file ends so.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, keeps: Callable[[str], object] = lambda _: True) -> None:
        """Raises RecordingError."""
        self.path = path
        self._keeps = keeps
        self._selection: Selection | None = None
        self._lines: list[tuple[int, str]] = []
        try:
            self._file: BinaryIO = path.open("wb" if overwrite else "xb", buffering=0)
        except FileExistsError:
            raise ThereAlreadyError(f"{path} is there already: --force overwrites it, -o names another") from None
        except OSError as error:
            raise RecordingError(f"cannot write {path}: {error.strerror}") from None
        self._gzip = zlib.compressobj(wbits=_GZIP_WBITS) if path.suffix == ".gz" else None

    def add(self, store: Store, now: float) -> int:
        """Append what a scrape at ``now`` (unix seconds) has put into the store; raises RecordingError.

        Returns how many samples these are, beside `up`.
        """
        selection = store.select(())
        if selection is not self._selection:
            self._selection, self._lines = selection, self._ordered(selection)
        time_ms = milliseconds(now)
        _, values = selection.latest(time_ms - 1, time_ms)
        numbers, missing = values.tolist(), is_stale(values).tolist()
        end = f" {time_ms / 1000:.3f}\n"
        written = [f"{text} {_number(numbers[at])}{end}" for at, text in self._lines if not missing[at]]
        self._write("".join(written).encode())
        return len(written) - 1

    @property
    def size_bytes(self) -> int:
        """How large the file is."""
        return self._file.tell()

    def end(self) -> None:
        """Write the end of the file; raises RecordingError."""
        self._write(_EOF + b"\n", zlib.Z_FINISH)

    def close(self) -> None:
        """Close the file, also one that could not be written to its end."""
        self._file.close()

    def _ordered(self, selection: Selection) -> list[tuple[int, str]]:
        """Where each series is and its text, by name; `up` is the last."""
        names = [get(labels, NAME) for labels in selection.sets.labels]
        lines = [
            (name == UP, _text(labels), at)
            for at, (name, labels) in enumerate(zip(names, selection.sets.labels, strict=True))
            if name == UP or self._keeps(name)
        ]
        return [(at, text) for _, text, at in sorted(lines)]

    def _write(self, data: bytes, flush: int = zlib.Z_SYNC_FLUSH) -> None:
        if self._gzip is not None:
            data = self._gzip.compress(data) + self._gzip.flush(flush)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise RecordingError(f"cannot write {self.path}: {error.strerror}; what is in it can be used") from None


class Recording:
    """A file to read. ``warn`` hears of what is missing at its end."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        """Raises RecordingError."""
        self._path = path
        self._warn = warn
        self._number = 0
        self._torn: str | None = ""
        try:
            self._raw = path.open("rb")
            is_gzip = self._raw.peek(len(_GZIP)).startswith(_GZIP)
            self._size = max(path.stat().st_size, 1)
        except OSError as error:
            raise RecordingError(f"cannot read {path}: {error.strerror}") from None
        self._file: BinaryIO = gzip.GzipFile(fileobj=self._raw) if is_gzip else self._raw  # type: ignore[assignment]

    @property
    def read_ratio(self) -> float:
        """How much of it has been read, from 0 to 1."""
        return self._raw.tell() / self._size

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._raw.close()

    def scrapes(self) -> Iterator[Scrape]:
        """The scrapes in the order of time; raises RecordingError."""
        parser: Parser[Labels] = Parser(lambda labels: labels)
        last_ms, is_whole = -1, True
        for first, stamp, lines, is_last in self._blocks():
            time_ms = self._time_ms(first, stamp, lines)
            if time_ms <= last_ms:
                raise self._error(first, f"goes back in time, by {(last_ms - time_ms) / 1000:g} s; scrapes go by time")
            values = self._values(parser, first, lines)
            states = [value for labels, value in values.items() if _IS_UP in labels]
            is_whole = bool(states) or not is_last or self._torn is None
            if is_whole:
                last_ms = time_ms
                yield Scrape(time_ms / 1000, values, None if all(states) else "this scrape failed (up is 0)")
        if last_ms < 0:
            raise RecordingError(f"{self._path}: there is no whole scrape in it{self._torn or ''}")
        if self._torn is not None:
            counts = "all its scrapes count" if is_whole else "its last scrape is not whole, and is left out"
            self._warn(f"{self._path}:{self._number}: ends without # EOF, as after a kill{self._torn}: {counts}")

    def _values(self, parser: Parser[Labels], first: int, lines: list[bytes]) -> dict[Labels, float]:
        try:
            return parser.parse(b"".join(lines).decode(), first_line=first)
        except UnicodeDecodeError:
            raise self._error(first, "the scrape that begins here is not UTF-8") from None
        except ExpositionError as error:
            raise RecordingError(f"{self._path}: {error}") from None

    def _time_ms(self, first: int, stamp: bytes, lines: list[bytes]) -> int:
        """The timestamp of these lines."""
        number, line = next((number, line) for number, line in enumerate(lines, first) if line[:1] != b"#")
        if not _VALUE.search(line):
            raise self._error(number, f"there is no timestamp; {_HINT}")
        try:
            seconds = float(stamp)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < _LATEST_SECONDS:
            raise self._error(number, f"{stamp.decode(errors='replace').strip()!r} is no time in unix seconds; {_HINT}")
        return milliseconds(seconds)

    def _blocks(self) -> Iterator[tuple[int, bytes, list[bytes], bool]]:
        """The lines of each timestamp: the number of the first one, the timestamp, the lines without it, and whether
        they are the last of all.

        A comment stays among them as an empty one, so that lines can be counted.
        """
        first, block, lines = 1, b"", list[bytes]()
        for line in self._lines():
            head, _, stamp = line.rpartition(b" ")
            if line[:1] in _NO_SAMPLE:
                head, stamp = b"#", block
            if stamp != block and block:
                yield first, block, lines, False
                first, lines = self._number, []
            block = stamp
            lines.append(head + b"\n")
            if len(lines) > MAX_LINES:
                raise self._error(first, f"more than {MAX_LINES} lines have this timestamp")
        if block:
            yield first, block, lines, True

    def _lines(self) -> Iterator[bytes]:
        """The whole lines before # EOF. Afterwards ``_torn`` is None if it was there, else what else is known."""
        try:
            while line := self._file.readline(_MOST_LINE_BYTES):
                if len(line) == _MOST_LINE_BYTES:
                    raise self._error(self._number + 1, f"a line of {_MOST_LINE_BYTES} bytes or more; {_HINT}")
                if line.rstrip() == _EOF:
                    self._torn = None
                    break
                if line[-1:] != b"\n":
                    return
                self._number += 1
                yield line
            if self._torn is None and self._file.readline(1):
                raise self._error(self._number + 2, "something follows # EOF: are these several recordings?")
        except _TORN as error:
            self._torn = f" ({error})"
        except OSError as error:
            raise RecordingError(f"cannot read {self._path}: {error.strerror or error}") from None

    def _error(self, line: int, what: str) -> RecordingError:
        return RecordingError(f"{self._path}:{line}: {what}")


def _text(labels: Labels) -> str:
    """A series as OpenMetrics writes it; names that are not plain as Prometheus 3 does, in quotes."""
    name = get(labels, NAME)
    pairs = [f"{key if _PLAIN_NAME.fullmatch(key) else quote(key)}={quote(value)}" for key, value in drop_name(labels)]
    if not _PLAIN_NAME.fullmatch(name):
        return f"{{{','.join([quote(name), *pairs])}}}"
    return f"{name}{{{','.join(pairs)}}}" if pairs else name


def _number(value: float) -> str:
    """As Go reads it, and short."""
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value)) if value or math.copysign(1, value) > 0 else "-0"
    return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(text := repr(value), text)
