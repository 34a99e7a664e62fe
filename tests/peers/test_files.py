"""Each file of rules/peers is one that an operator can load alone, and that has tests; none is loaded with the others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actuator.__main__ import main
from actuator.rules import config
from tests.peers.actuator import PEERS

FILES = config.rule_files(PEERS)
PAGE = (PEERS.parents[1] / "docs/peers.md").read_text()


def test_they_are_all_there() -> None:
    assert {path.stem for path in FILES} == {
        "harvester-ksm", "kata-ksm", "ksmtuned", "kubevirt-ksm", "mom-balloon", "mom-ksm", "proxmox-balloon", "qmemman",
        "scan-time-advisor", "senpai-psi", "squeezed",
    }  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_stands_alone(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for policy in ([], ["--policy", str(PEERS / "policy/wide.yml")]):
        assert main(["check", "--strict", *policy, str(path)]) == 0, capsys.readouterr().err


def test_the_directory_of_the_rules_that_ship_does_not_have_them() -> None:
    assert not set(FILES) & set(config.rule_files(PEERS.parent))


def test_their_tests_pass_and_every_rule_has_some(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "--require-tests", str(PEERS)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_says_where_it_is_from_and_how_it_differs(path: Path) -> None:
    head = path.read_text().partition("groups:")[0]
    assert all(f"\n# {word}" in head for word in ("Source: ", "Load it alone"))
    assert "differs in this" in head or "is 10 here, too" in head
    assert f"(../rules/peers/{path.name})" in PAGE


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_records_have_its_name(path: Path) -> None:
    """So that those of two files are never mixed up."""
    records = re.findall(r"^ +- record: (\w+):", path.read_text(), re.M)
    assert len(set(records)) == 1
