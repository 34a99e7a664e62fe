"""Which configuration counts, and how an operator gets one to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from actuator.__main__ import main
from actuator.rules import config, defaults, policy
from kvmhost.yamltree import InvalidConfig
from tests.host import unprivileged

TOP = Path(__file__).parents[2]


def test_what_the_operator_does_not_have_is_what_ships(tmp_path: Path) -> None:
    assert defaults.in_force("rules", tmp_path).resolve() == TOP / "rules"
    assert defaults.in_force("policy.yml", tmp_path) == policy.DEFAULT_PATH

    (tmp_path / "rules").mkdir()
    assert defaults.in_force("rules", tmp_path) == tmp_path / "rules"
    assert defaults.in_force("policy.yml", tmp_path) == policy.DEFAULT_PATH


def test_init_gives_a_configuration_that_passes_its_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / "kvmtune"
    assert main(["init", str(there)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [str(there / "policy.yml"), *(str(there / "rules" / path.name) for path in _shipped())]

    assert policy.load(there / "policy.yml") == policy.load()
    assert config.load([there / "rules"]).groups == config.load([TOP / "rules"]).groups
    of_ksm = there / "rules/autopilot-ksm.test.yml"
    assert main(["test", "--policy", str(there / "policy.yml"), str(of_ksm)]) == 0


def test_init_leaves_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "policy.yml").write_text("limits: {}\n")
    assert main(["init", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""
    assert list((tmp_path / "rules").iterdir()) == []
    assert (tmp_path / "policy.yml").read_text() == "limits: {}\n"


def test_init_says_where_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["init", str(tmp_path / "file/below")]) == 1
    assert "run as root, or name a directory of yours" in capsys.readouterr().err


def _shipped() -> list[Path]:
    return sorted((TOP / "rules").glob("*.yml"))


def test_a_configuration_that_this_user_may_not_see_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    tmp_path.chmod(0)
    with unprivileged():
        rules = defaults.in_force("rules", tmp_path)
        assert rules == tmp_path / "rules"
        with pytest.raises(InvalidConfig, match="Permission denied"):
            config.load([rules])
    tmp_path.chmod(0o700)


def test_hidden_files_are_no_rules(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("groups: []")
    (tmp_path / "a.test.yml").write_text("")
    (tmp_path / "._a.yml").write_bytes(b"\xff\x00")
    (tmp_path / ".#a.yml").symlink_to("somebody@somewhere:1")  # of an editor that was killed
    assert config.rule_files(tmp_path) == [tmp_path / "a.yml"]
