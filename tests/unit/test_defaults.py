"""Which configuration counts, and how an operator gets one to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from actuator.__main__ import main
from actuator.rules import config, defaults, policy

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
