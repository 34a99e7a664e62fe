"""Reading files of the host: what is absent, what is unreadable, and what is damaged."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kvmhost.fs import HostError, HostFS
from tests.host import made_of, public_directory, unprivileged


def test_text_is_the_whole_file(tmp_path: Path) -> None:
    assert made_of(tmp_path, {"proc/meminfo": "a\nb\n"}).text("proc/meminfo") == "a\nb\n"


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\xffb")
    assert HostFS(tmp_path).text("file") == "a\N{REPLACEMENT CHARACTER}b"
    assert HostFS(tmp_path).content("file") == b"a\xffb"


def test_a_lasting_file_of_the_kernel_is_opened_once_and_read_anew_each_time() -> None:
    fs, path = HostFS("/"), "proc/sys/kernel/random/uuid"

    def descriptors() -> int:
        return sum(one.resolve() == Path("/", path) for one in Path("/proc/self/fd").iterdir())

    assert len({fs.text(path) for _ in range(5)}) == 5
    assert descriptors() == 1
    del fs
    assert descriptors() == 0


def test_a_file_in_place_of_another_is_read(tmp_path: Path) -> None:
    """As in a test's own tree, where nothing is kept open."""
    fs = made_of(tmp_path, {"sys/value": "1"})
    assert fs.integer("sys/value") == 1
    (tmp_path / "sys/value").unlink()
    (tmp_path / "sys/value").write_text("2")
    assert fs.integer("sys/value") == 2


def test_what_is_absent_is_none(tmp_path: Path) -> None:
    fs = HostFS(tmp_path)
    assert fs.text("sys/nothing") is None
    assert fs.content("sys/nothing") is None
    assert fs.integer("sys/nothing") is None
    assert fs.names("sys/nothing") == ()


def test_a_link_to_nowhere_is_absent(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("gone")
    assert HostFS(tmp_path).text("link") is None


@pytest.mark.parametrize(
    ("content", "number"),
    [("0\n", 0), ("42", 42), ("-68157440\n", -68157440), (" 7 \n", 7), ("18446744073709551615\n", 2**64 - 1)],
)
def test_integer(tmp_path: Path, content: str, number: int) -> None:
    assert made_of(tmp_path, {"file": content}).integer("file") == number


@pytest.mark.parametrize("content", ["", "one", "-", "1.5", "0x10", "1 2", "1_000", "+1", "²", "9" * 21])
def test_integer_refuses_and_names_the_file(tmp_path: Path, content: str) -> None:
    fs = made_of(tmp_path, {"file": content})
    with pytest.raises(HostError, match="expected a whole number, found") as refusal:
        fs.integer("file")
    assert refusal.value.path == str(tmp_path / "file")


def test_damage_is_shown_shortened(tmp_path: Path) -> None:
    fs = made_of(tmp_path, {"file": "x" * 10_000})
    with pytest.raises(HostError) as refusal:
        fs.integer("file")
    assert len(refusal.value.reason) < 150


def test_integers_are_those_there_and_the_errors_of_the_bad_ones(tmp_path: Path) -> None:
    fs = made_of(tmp_path, {"ksm/run": "1", "ksm/full_scans": "many"})
    numbers, faults = fs.integers("ksm", ("run", "full_scans", "pages_shared"))
    assert numbers == {"run": 1}
    assert [fault.path for fault in faults] == [str(tmp_path / "ksm/full_scans")]


def test_names_are_sorted(tmp_path: Path) -> None:
    assert made_of(tmp_path, {"d/b": "", "d/a": "", "d/c/e": ""}).names("d") == ("a", "b", "c")


def test_a_directory_in_place_of_a_file(tmp_path: Path) -> None:
    fs = made_of(tmp_path, {"run/file": ""})
    with pytest.raises(HostError, match="Is a directory"):
        fs.text("run")


def test_a_file_in_place_of_a_directory(tmp_path: Path) -> None:
    fs = made_of(tmp_path, {"ksm": ""})
    with pytest.raises(HostError, match="Not a directory"):
        fs.names("ksm")


def test_a_file_that_this_user_may_not_read() -> None:
    with public_directory() as root:
        fs = made_of(root, {"secret": "1"})
        (root / "secret").chmod(0)
        with unprivileged(), pytest.raises(HostError, match="Permission denied") as refusal:
            fs.integer("secret")
    assert refusal.value.path == str(root / "secret")
    assert "CAP_DAC_READ_SEARCH" in refusal.value.hint
    assert refusal.value.hint in str(refusal.value)


def test_a_directory_that_this_user_may_not_list() -> None:
    with public_directory() as root:
        fs = made_of(root, {"d/file": "1"})
        (root / "d").chmod(0)
        with unprivileged(), pytest.raises(HostError, match="Permission denied"):
            fs.names("d")
        (root / "d").chmod(0o755)


def test_a_process_that_ended_after_its_file_was_found(tmp_path: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        found = os.open(f"/proc/{child.pid}/stat", os.O_RDONLY)
    try:
        # Its path would be absent; through this link the file can still be opened, and reading it is ESRCH.
        (tmp_path / "stat").symlink_to(f"/proc/self/fd/{found}")
        with pytest.raises(ProcessLookupError):
            (tmp_path / "stat").read_bytes()
        assert HostFS(tmp_path).text("stat") is None
    finally:
        os.close(found)


def test_a_file_of_many_records_is_read_to_its_end() -> None:
    assert HostFS().content("proc/vmstat").count(b"\n") == len(Path("/proc/vmstat").read_text().splitlines())  # type: ignore[union-attr]


def test_a_kept_file_is_read_anew_each_time(tmp_path: Path) -> None:
    fs = made_of(tmp_path, {"run": "1"})
    kept = fs.kept("run")
    assert kept.content() == b"1"
    (tmp_path / "run").write_text("2")
    assert kept.content() == b"2"


def test_a_kept_file_that_is_absent_comes_when_it_is_there(tmp_path: Path) -> None:
    kept = HostFS(tmp_path).kept("run")
    assert kept.content() is None
    (tmp_path / "run").write_text("1")
    assert kept.content() == b"1"


def test_a_kept_file_of_a_process_that_ended_is_absent() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        kept = HostFS().kept(f"proc/{child.pid}/stat")
        assert kept.content()
    assert kept.content() is None


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_more_descriptors_are_kept_than_may_be(tmp_path: Path) -> None:
    fs = HostFS(made_of(tmp_path, {"a": "1", "b": "2", "c": "3"}).root, most_kept=2)
    before = open_descriptors()
    kept = [fs.kept(name) for name in "abc"]
    assert [one.content() for one in kept] == [b"1", b"2", b"3"]
    assert open_descriptors() == before + 2
    kept[0].close()
    assert kept[2].content() == b"3"
    assert open_descriptors() == before + 2
    del kept
    assert open_descriptors() == before
