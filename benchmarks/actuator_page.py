"""A page as the exporter gives it of a host with many guests: `python -m benchmarks.actuator_page GUESTS`.

It is made of the page of a fixture host, one of whose guests is there as often as is asked for. Counters grow and
gauges sway from scrape to scrape. It is a process of its own, so that its work is not counted as the actuator's.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.rootfs import FIXTURE
from kvmweb.arguments import WebFlags
from kvmweb.negotiation import TEXT
from kvmweb.page import MetricsPage, MetricsRequest
from kvmweb.server import serve

_GUEST = "web"
_SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_SWAYING = ("_usable_bytes", "_unused_bytes", "_used_bytes", "_rss_bytes", "_available_bytes", "_free_bytes")


@dataclass
class _Line:
    series: str
    value: float
    name: str


def guests_of(series: int) -> int:
    """How many guests make up that many series."""
    shared, own = _template()
    return -(-(series - len(shared)) // len(own))


def lines(guests: int) -> list[str]:
    """The page at first, without comments."""
    return [f"{line.series} {line.value!r}" for line in _all(guests)]


@contextmanager
def served(guests: int) -> Iterator[str]:
    """The URL of such a page, while the block runs."""
    command = (sys.executable, "-m", "benchmarks.actuator_page", str(guests))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        yield process.stdout.readline().strip()
        process.stdin.close()


def _template() -> tuple[list[_Line], list[_Line]]:
    """The lines of the host, and those of one guest."""
    shared, own = [], []
    for text in (FIXTURE / "expected.prom").read_text().splitlines():
        if match := _SERIES.match(text):
            line = _Line(text.rpartition(" ")[0], float(match[3]), match[1])
            domain = re.search(r'domain="([^"]*)"', match[2] or "")
            if domain is None:
                shared.append(line)
            elif domain[1] == _GUEST:
                own.append(line)
    return shared, own


def _all(guests: int) -> list[_Line]:
    shared, own = _template()
    return shared + [
        _Line(
            re.sub(r'domain="[^"]*"(.*)uuid="[^"]*"', rf'domain="vm-{n}"\1uuid="u-vm-{n}"', one.series),
            one.value,
            one.name,
        )
        for n in range(guests)
        for one in own
    ]


def _move(rng: random.Random, line: _Line) -> float:
    """The value at the next scrape, five seconds later."""
    if line.name.endswith("_seconds_total"):
        line.value = round(line.value + rng.random() * 2, 3)
    elif line.name.endswith("_total"):
        line.value += rng.randrange(2000)
    elif line.name.endswith(_SWAYING):
        return float(int(line.value * rng.uniform(0.9, 1.1)))
    return line.value


def _main(guests: int) -> None:
    rng, page = random.Random(guests), _all(guests)

    def render(_: MetricsRequest) -> MetricsPage:
        text = "\n".join([f"{line.series} {_move(rng, line)!r}" for line in page])
        return MetricsPage(content=f"{text}\n".encode(), content_type=TEXT)

    with serve(WebFlags(listen_addresses=("127.0.0.1:0",)), render, title="page", version="0") as (url,):
        print(f"{url}metrics", flush=True)
        sys.stdin.read()  # until whoever started it is gone


if __name__ == "__main__":
    _main(int(sys.argv[1]))
