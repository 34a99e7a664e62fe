"""A pause is a file: which contents are one, and until when."""

import json
import os
from pathlib import Path

import pytest

from actuator.console import pause
from actuator.console.pause import NAME, Pause
from tests.disks import full_disk

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("begun", "in_force"),
    [
        (Pause(since=NOW - 5), True),
        (Pause(since=NOW - 5, until=NOW + 1, because="upgrade"), True),
        (Pause(since=NOW - 5, until=NOW), False),
        (Pause(since=NOW + 9999, until=NOW + 1), True),  # the clock has jumped back since
    ],
)
def test_a_pause_lasts_as_long_as_it_says(begun: Pause, in_force: bool, tmp_path: Path) -> None:
    pause.begin(tmp_path / "new", begun)
    assert pause.read(tmp_path / "new", NOW) == (begun if in_force else None)
    pause.end(tmp_path / "new")
    assert pause.read(tmp_path / "new", NOW) is None
    pause.end(tmp_path / "new")  # again, which is no error


@pytest.mark.parametrize(
    "content", ["", "yes", "[]", '{"until": "tomorrow"}', '{"since": 1e999}', '{"until": 1e300}', "\0", "[" * 100_000]
)
def test_a_file_that_is_not_understood_is_a_pause(content: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(content)
    found = pause.read(tmp_path, NOW)
    assert found is not None
    assert found.until is None
    assert f"{tmp_path / NAME} is not understood" in found.because
    assert found.text == pause.read(tmp_path, NOW + 5).text  # type: ignore[union-attr] # so that it is told once


def test_on_a_full_disk_it_has_no_end_and_is_one_all_the_same(tmp_path: Path) -> None:
    with full_disk(10):
        pause.begin(tmp_path, Pause(since=NOW, until=NOW + 5))
    assert [file.name for file in tmp_path.iterdir()] == [NAME]
    found = pause.read(tmp_path, NOW + 9)
    assert found is not None
    pause.begin(tmp_path, Pause(since=NOW, until=NOW + 5))
    with full_disk(10):
        pause.begin(tmp_path, Pause(since=NOW, until=NOW + 7))
    assert pause.read(tmp_path, NOW + 9) is not None


def test_a_pipe_is_a_pause_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    found = pause.read(tmp_path, NOW)
    assert found is not None
    assert "not a regular file" in found.because


@pytest.mark.parametrize("content", ["{}", '{"because": "by hand"}', '{"since": 1, "until": null, "other": 2}'])
def test_a_pause_may_be_made_by_hand(content: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(content)
    found = pause.read(tmp_path, NOW)
    assert found is not None
    assert found.because == json.loads(content).get("because", "")


def test_a_directory_where_nobody_can_put_one_is_no_pause(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert pause.read(tmp_path / "absent", NOW) is None
    assert pause.read(tmp_path / "file", NOW) is None


@pytest.mark.parametrize(
    ("begun", "text"),
    [
        (Pause(since=0), "paused until `kvmtune-actuator resume`"),
        (Pause(since=0, because="upgrade"), "paused until `kvmtune-actuator resume`: upgrade"),
    ],
)
def test_what_is_told(begun: Pause, text: str) -> None:
    assert begun.text == text
    assert Pause(since=0, until=NOW, because="x").text.startswith("paused until 1970-01-1")


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("as it was")
    (tmp_path / f".{pause.NAME}.new").symlink_to(other)
    pause.begin(tmp_path, Pause(since=1.0))
    assert other.read_text() == "as it was"
    assert not (tmp_path / pause.NAME).is_symlink()
