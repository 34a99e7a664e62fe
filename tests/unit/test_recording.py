"""Recordings: what is written is read again, also when the file ends early; what is none is refused by line."""

from __future__ import annotations

import gzip
import math
from contextlib import closing
from pathlib import Path

import pytest

from actuator.data.frame import Frame
from actuator.data.store import Store
from actuator.promql.labels import Labels, get, make
from actuator.replay.recording import Recorder, Recording, RecordingError, Scrape

TARGET = {"job": "kvmtune", "instance": "host:9752"}


def series(name: str, **labels: str) -> Labels:
    return make({"__name__": name, **TARGET, **labels})


UP = series("up")
SCRAPES = [
    {series("kvm_ksm_run"): 1.0, series("kvm_x", domain='a "b"\\\n', node="0"): 0.1 + 0.2, UP: 1.0},
    {UP: 0.0},
    {series("kvm_ksm_run"): -0.0, series("kvm_y"): math.inf, series("kvm_z.utf8é", **{"a.b": "c"}): 1e300, UP: 1.0},
    {series("kvm_ksm_run"): 2.0**53, UP: 1.0},
]


def write(path: Path, scrapes: list[dict[Labels, float]], end: bool = True, **options: object) -> Path:
    """A scrape every 5 s from 1000.123 on; without its `end` the file is what a kill leaves."""
    store, frame = Store(60), Frame()
    with closing(Recorder(path, **options)) as recorder:  # type: ignore[arg-type]
        for number, scrape in enumerate(scrapes):
            time = 1000.1234 + 5 * number
            store.append_row(frame, {store.series(labels, frame): value for labels, value in scrape.items()}, time)
            store.expire(time)
            recorder.add(store, time)
        if end:
            recorder.end()
    return path


def read(path: Path) -> tuple[list[Scrape], list[str]]:
    """The scrapes, and what was told of the file without its path."""
    told: list[str] = []
    with closing(Recording(path, told.append)) as recording:
        scrapes = list(recording.scrapes())
    return scrapes, [line.removeprefix(str(path)) for line in told]


@pytest.mark.parametrize("name", ["a.om", "a.om.gz"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    scrapes, told = read(write(tmp_path / name, SCRAPES))
    assert [scrape.values for scrape in scrapes] == SCRAPES
    assert [scrape.time for scrape in scrapes] == [1000.123, 1005.123, 1010.123, 1015.123]
    assert [scrape.error for scrape in scrapes] == [None, "this scrape failed (up is 0)", None, None]
    assert told == []


def test_the_text_is_openmetrics_with_a_timestamp_on_each_line(tmp_path: Path) -> None:
    lines = write(tmp_path / "a.om", SCRAPES[2:]).read_text().splitlines()
    target = 'instance="host:9752",job="kvmtune"'
    assert lines == [
        f"kvm_ksm_run{{{target}}} -0 1000.123",
        f"kvm_y{{{target}}} +Inf 1000.123",
        f'{{"kvm_z.utf8é","a.b"="c",{target}}} 1e+300 1000.123',
        f"up{{{target}}} 1 1000.123",
        f"kvm_ksm_run{{{target}}} 9007199254740992.0 1005.123",
        f"up{{{target}}} 1 1005.123",
        "# EOF",
    ]


@pytest.mark.parametrize("name", ["a.om", "a.om.gz"])
def test_after_a_kill_each_scrape_that_was_written_counts(tmp_path: Path, name: str) -> None:
    scrapes, told = read(write(tmp_path / name, SCRAPES, end=False))
    assert [scrape.values for scrape in scrapes] == SCRAPES
    assert len(told) == 1 and told[0].startswith(":10: ends without # EOF, as after a kill")
    assert told[0].endswith(": all its scrapes count")


def test_no_half_line_and_no_half_scrape_counts(tmp_path: Path) -> None:
    """A plain file, cut off at each byte."""
    whole = write(tmp_path / "a.om", SCRAPES).read_bytes()
    ends = [
        at
        for at in range(len(whole))
        if whole[:at].endswith(b"\n") and b"\nup" in whole[:at][whole[:at].rfind(b"\n", 0, -1) :]
    ]
    for size in range(ends[0], len(whole)):
        path = tmp_path / "cut.om"
        path.write_bytes(whole[:size])
        scrapes, told = read(path)
        complete = sum(end <= size for end in ends)
        assert [scrape.values for scrape in scrapes] == SCRAPES[:complete]
        assert told or whole[:size].endswith(b"# EOF")


@pytest.mark.parametrize("damage", [lambda data: data[:-30], lambda data: data[:-30] + bytes(30)])
def test_a_torn_gzip_counts_as_far_as_it_goes(tmp_path: Path, damage: object) -> None:
    path = write(tmp_path / "a.om.gz", SCRAPES * 500)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    scrapes, told = read(path)
    assert [scrape.values for scrape in scrapes] == (SCRAPES * 500)[: len(scrapes)]
    assert len(scrapes) > 1500
    assert len(told) == 1 and "ends without # EOF" in told[0]


GOOD = 'a{b="c"} 1 1000\nup 1 1000\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": there is no whole scrape in it"),
        ("# EOF\n", ": there is no whole scrape in it"),
        ("a 1\n", ":1: there is no timestamp; is this a recording of `kvmtune-actuator record`?"),
        ('# HELP a b\n# TYPE a gauge\na{b="c d"} 1\n', ":3: there is no timestamp; is this a recording of `kvmtune-actuator record`?"),
        ("a 1 x\n", ":1: 'x' is no time in unix seconds; is this a recording of `kvmtune-actuator record`?"),
        ("a 1 1760000000000\n", ":1: '1760000000000' is no time in unix seconds; is this a recording of `kvmtune-actuator record`?"),
        ("a 1 -1\n", ":1: '-1' is no time in unix seconds; is this a recording of `kvmtune-actuator record`?"),
        ("a 1 nan\n", ":1: 'nan' is no time in unix seconds; is this a recording of `kvmtune-actuator record`?"),
        (GOOD + "# HELP a b\na 1 995.5\n", ":4: goes back in time, by 4.5 s; scrapes go by time"),
        (GOOD + "a 1 1005\na{ 2 1005\n", ": line 4: expected a label or '}', got '2'"),
        (GOOD + "# x\n\na 1 1005\na 2 1005\nup 1 1005\n", ": line 6: a occurs twice"),
        (GOOD + "# EOF\n" + GOOD, ":4: something follows # EOF: are these several recordings?"),
        ("a" * 262144, ":1: a line of 262144 bytes or more; is this a recording of `kvmtune-actuator record`?"),
        ("{\n", ":1: there is no timestamp; is this a recording of `kvmtune-actuator record`?"),
    ],
)  # fmt: skip
def test_what_is_no_recording(tmp_path: Path, text: str, message: str) -> None:
    for path, data in ((tmp_path / "a.om", text.encode()), (tmp_path / "b.om", gzip.compress(text.encode()))):
        path.write_bytes(data)
        with pytest.raises(RecordingError) as error:
            read(path)
        assert str(error.value).removeprefix(str(path)) == message


def test_not_utf8_and_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.om").write_bytes(GOOD.encode() + b'a{b="\xff"} 1 1005\n# EOF\n')
    with pytest.raises(RecordingError, match=r":3: the scrape that begins here is not UTF-8$"):
        read(tmp_path / "a.om")
    with pytest.raises(RecordingError, match=r"^cannot read /nowhere: No such file or directory$"):
        read(Path("/nowhere"))


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.om", SCRAPES)
    with pytest.raises(RecordingError, match=r"is there already: --force overwrites it"):
        write(path, SCRAPES[:1])
    assert len(read(path)[0]) == len(SCRAPES)
    assert len(read(write(path, SCRAPES[:1], overwrite=True))[0]) == 1


def test_only_some_metrics(tmp_path: Path) -> None:
    scrapes, _ = read(write(tmp_path / "a.om", SCRAPES, keeps=lambda name: name == "kvm_y"))
    assert [[get(labels, "__name__") for labels in scrape.values] for scrape in scrapes] == [["up"], ["up"], ["kvm_y", "up"], ["up"]]  # fmt: skip


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        RecordingError, match=r"cannot write /dev/full: No space left on device; what is in it can be used"
    ):
        write(Path("/dev/full"), SCRAPES, overwrite=True)
