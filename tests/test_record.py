"""`kvmtune-actuator record` as a process that records the real exporter on a host made of files; then `replay`."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from actuator.promql.labels import get
from actuator.replay.recording import Recording, Scrape
from tests.programs import Program, run, wait_until

RULES = """
groups:
  - name: g
    rules:
      - tune: ksm_on
        because: "It is a test."
        when: kvm_ksm_run == 0
        set: {ksm.run: 1}
"""


@contextmanager
def running(program: Program) -> Iterator[Program]:
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.process.kill()
            program.process.wait()


def exporter(directory: Path, root: Path, address: str = "127.0.0.1:0") -> Program:
    return Program(
        directory / "exporter.log", "kvmtune-exporter", "--path.rootfs", root, "--libvirt.uri", "test:///nowhere",
        "--web.listen-address", address,
    )  # fmt: skip


def url_of(program: Program) -> str:
    return program.wait_for(r"http://\S+/metrics")[0]


def record(directory: Path, url: str, *flags: str | Path) -> Program:
    return Program(
        directory / "record.log", "kvmtune-actuator", "record", "--scrape.url", url, "--interval", "100ms", *flags
    )


def scrapes_of(path: Path) -> tuple[list[Scrape], list[str]]:
    told: list[str] = []
    with closing(Recording(path, told.append)) as recording:
        return list(recording.scrapes()), told


def whole_scrapes(path: Path) -> int:
    return path.read_text().count("\nup{") if path.exists() else 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(Path(__file__).parent / "hosts/ordinary", tmp_path / "root")
    (tmp_path / "root/sys/kernel/mm/ksm/run").write_text("1\n")
    return tmp_path / "root"


def test_a_recording_shows_what_happened_and_rules_are_replayed_on_it(tmp_path: Path, root: Path) -> None:
    file = tmp_path / "a.om"
    with running(exporter(tmp_path, root)) as server, running(record(tmp_path, url_of(server), "-o", file)) as recorder:
        wait_until(lambda: whole_scrapes(file) >= 2, "it has scraped twice")
        (root / "sys/kernel/mm/ksm/run").write_text("0\n")
        before = whole_scrapes(file)
        wait_until(lambda: whole_scrapes(file) >= before + 2, "it has scraped twice more")
        assert recorder.end(signal.SIGINT) == 0
        assert "a.om: " in recorder.output
    scrapes, told = scrapes_of(file)
    assert told == []
    assert [scrape.error for scrape in scrapes] == [None] * len(scrapes)
    assert all(0 < later.time - scrape.time < 5 for scrape, later in pairwise(scrapes))
    assert len(scrapes) - 1 <= (scrapes[-1].time - scrapes[0].time) / 0.1 + 0.1  # no faster than each 100 ms
    assert len(scrapes[0].values) > 200
    runs = [
        next(value for labels, value in scrape.values.items() if get(labels, "__name__") == "kvm_ksm_run")
        for scrape in scrapes
    ]
    assert runs == sorted(runs, reverse=True) and set(runs) == {0.0, 1.0}
    (tmp_path / "rules.yml").write_text(RULES)
    done = run("kvmtune-actuator", "replay", file, "--rules", tmp_path / "rules.yml", "--output", "json")
    assert (done.returncode, done.stderr) == (0, "")
    (decision,) = json.loads(done.stdout)["decisions"]
    assert (decision["outcome"], decision["before"], decision["after"]) == ("would write", 0, 1)
    assert decision["time"] == scrapes[runs.index(0.0)].time


def test_an_exporter_that_goes_is_a_gap_and_a_kill_leaves_what_there_was(tmp_path: Path, root: Path) -> None:
    file = tmp_path / "a.om"
    with running(exporter(tmp_path, root)) as server:
        url = url_of(server)
        with running(record(tmp_path, url, "-o", file)) as recorder:
            wait_until(lambda: whole_scrapes(file) >= 2, "it has scraped twice")
            server.end(signal.SIGTERM)
            recorder.wait_for(r"\d\d:\d\d:\d\d a gap begins: \S+: Connection refused")
            with running(exporter(tmp_path, root, url.split("/")[2])):
                recorder.wait_for("the exporter answers again")
                before = whole_scrapes(file)
                wait_until(lambda: whole_scrapes(file) > before, "it has scraped once more")
                recorder.end(signal.SIGKILL)
    scrapes, told = scrapes_of(file)
    failed = [scrape.error is not None for scrape in scrapes]
    assert failed[0] is False and failed[-1] is False and any(failed)
    assert [len(scrape.values) for scrape in scrapes if scrape.error] == [2] * sum(failed)
    assert len(told) == 1 and "ends without # EOF, as after a kill" in told[0]


def test_a_place_that_is_not_there_is_another_fault_than_a_file_that_is(tmp_path: Path, root: Path) -> None:
    with running(exporter(tmp_path, root)) as server:
        flags = ("--scrape.url", url_of(server), "-o", tmp_path / "missing/a.om")
        assert run("kvmtune-actuator", "record", *flags).returncode == 1


def test_it_ends_in_time_and_keeps_only_some_metrics(tmp_path: Path, root: Path) -> None:
    file = tmp_path / "a.om.gz"
    with running(exporter(tmp_path, root)) as server:
        url = url_of(server)
        flags = ("--scrape.url", url, "--interval", "300ms", "--for", "900ms", "-o", file)
        nothing = run("kvmtune-actuator", "record", *flags, "-o", tmp_path / "nothing.om", "--match", "nothing")
        assert "no metric has a name like --match 'nothing': only `up` is recorded" in nothing.stderr
        assert " scrapes of 0 samples" in nothing.stderr
        done = run("kvmtune-actuator", "record", *flags, "--match", "kvm_ksm_.*")
        assert (done.returncode, done.stdout) == (0, "")
        before = file.read_bytes()
        again = run("kvmtune-actuator", "record", *flags)
        assert again.returncode == 2
        assert again.stderr == f"{file} is there already: --force overwrites it, -o names another\n"
        assert file.read_bytes() == before
    scrapes, told = scrapes_of(file)
    assert (len(scrapes), told) == (4, [])
    names = {get(labels, "__name__") for scrape in scrapes for labels in scrape.values}
    assert "kvm_ksm_run" in names and all(name == "up" or name.startswith("kvm_ksm_") for name in names)
    gone = run("kvmtune-actuator", "record", *flags, "--force")
    assert gone.returncode == 1
    assert "Connection refused; is the exporter running? (nothing is recorded)" in gone.stderr
    assert file.read_bytes() == before
