"""The worked examples of docs/examples.md: each is a rule file and its tests, and the page shows both as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actuator.__main__ import main
from actuator.rules import config

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "examples.md"
TESTS = sorted((DOCS / "examples").glob("*.test.yml"))
RULES = sorted(set((DOCS / "examples").glob("*.yml")) - set(TESTS))
SHOWN = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.M | re.S)


def test_there_are_ten_each_with_its_tests() -> None:
    assert [path.name.partition("-")[0] for path in RULES] == [f"{number:02}" for number in range(1, 11)]
    assert [path.with_suffix(".test.yml").name for path in RULES] == [path.name for path in TESTS]


def test_the_page_shows_each_file_as_it_is() -> None:
    files = [file for rule, test in zip(RULES, TESTS, strict=True) for file in (rule, test)]
    for file, shown in zip(files, SHOWN, strict=True):
        assert shown == file.read_text(), f"{PAGE.name} and {file.name} differ"


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_a_rule_loads_and_check_has_no_doubt(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(config.load([path]).tunes) == 1
    assert main(["check", "--strict", str(path)]) == 0, capsys.readouterr().out


def test_their_tests_pass_and_make_every_rule_act(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "--require-tests", str(DOCS / "examples")]) == 0, capsys.readouterr().out
