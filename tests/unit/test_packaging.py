"""What is installed on hosts: units, users, flags, man pages and completions fit each other and the programs."""

from __future__ import annotations

import argparse
import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actuator import commands
from exporter import arguments

TOP = Path(__file__).parents[2]
PACKAGING = TOP / "packaging"
UNITS = {unit.stem: unit for unit in sorted((PACKAGING / "systemd").iterdir())}
DROP_INS = sorted((PACKAGING / "examples/kvmtune-actuator.service.d").iterdir())

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs systemd-analyze: apt install systemd"
)


@needs_systemd
@pytest.mark.parametrize(
    ("unit", "drop_ins", "most"),
    [
        ("kvmtune-exporter", [], 2.0),
        ("kvmtune-actuator", [], 3.0),
        *(("kvmtune-actuator", [drop_in], 3.0) for drop_in in DROP_INS),
        ("kvmtune-actuator", DROP_INS, 3.0),
    ],
    ids=lambda value: "+".join(path.stem for path in value) or "as-it-ships" if isinstance(value, list) else None,
)
def test_a_unit_exposes_little(unit: str, drop_ins: list[Path], most: float, tmp_path: Path) -> None:
    system = tmp_path / "etc/systemd/system"
    shutil.copytree(PACKAGING / "systemd", system)
    (system / f"{unit}.service.d").mkdir()
    for drop_in in drop_ins:
        shutil.copy(drop_in, system / f"{unit}.service.d")
    command = ("systemd-analyze", "security", "--offline=true", "--no-pager", f"--root={tmp_path}", f"{unit}.service")
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert exposure, said
    assert float(exposure[1]) <= most, said


@needs_systemd
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """With programs that it can find, and man pages that it need not."""
    system = tmp_path / "system"
    system.mkdir()
    for name, unit in UNITS.items():
        text = re.sub(r"^Documentation=.*\n", "", unit.read_text(), flags=re.M)
        text = re.sub(rf"^(Exec\w+=){name} ", r"\1/bin/true ", text, flags=re.M)
        (system / unit.name).write_text(text)
    command = ("systemd-analyze", "verify", *system.iterdir())
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert [line for line in done.stderr.splitlines() if str(system) in line] == []
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_starts_its_program_as_a_user_that_exists(unit: str) -> None:
    service = _service(unit)
    users = re.findall(r"^u (\S+)", (PACKAGING / "sysusers.d/kvmtune.conf").read_text(), re.M)
    assert service["User"] in users
    assert service["ExecStart"].split()[0] == unit


@pytest.mark.parametrize("unit", UNITS)
def test_the_flags_that_ship_and_their_examples_are_understood(unit: str) -> None:
    file = PACKAGING / "etc" / Path(_service(unit)["EnvironmentFile"]).name
    _, *given = shlex.split(_service(unit)["ExecStart"])
    variable = given.pop().removeprefix("$")
    found = re.findall(rf"^(#   )?{variable}=(.*)$", file.read_text(), re.M)
    assert [value for comment, value in found if not comment] == ['""'], "none are in force"
    assert len(found) > 1, "and there are examples"
    parser = arguments.command_line() if unit == "kvmtune-exporter" else commands.parser()
    for _, value in found:
        # systemd takes the quotes off, and divides what is left at spaces.
        parser.parse_args([*given, *"".join(shlex.split(value)).split()])


def test_the_state_is_where_units_and_tmpfiles_say() -> None:
    line = (PACKAGING / "tmpfiles.d/kvmtune.conf").read_text().split()
    service = _service("kvmtune-actuator")
    assert line[:5] == ["d", "/var/lib/kvmtune", "0750", service["User"], service["User"]]
    assert f"/var/lib/{service['StateDirectory']}" == line[1]
    assert f"--state-dir {line[1]} " in service["ExecStart"]
    assert service["StateDirectoryMode"] == line[2]


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is made for below /usr/share."""
    share = tmp_path_factory.mktemp("share")
    _make(share)
    return share


@pytest.mark.parametrize(
    "parser", [arguments.command_line(), commands.parser()], ids=lambda parser: parser.prog.rpartition("-")[2]
)
def test_man_page_and_completions_have_every_command_and_flag(parser: argparse.ArgumentParser, share: Path) -> None:
    page = (share / f"man/man1/{parser.prog}.1").read_text()
    shells = [
        (share / path).read_text()
        for path in (
            f"bash-completion/completions/{parser.prog}",
            f"zsh/site-functions/_{parser.prog}",
            f"fish/vendor_completions.d/{parser.prog}.fish",
        )
    ]
    for word in _words(parser):
        assert word in page.replace("\\", ""), word
        for shell in shells:
            assert word.lstrip("-") in shell.replace("\\", ""), word


def test_nothing_of_the_machine_that_made_them_is_in_them(share: Path) -> None:
    for file in (path for path in share.rglob("*") if path.is_file()):
        assert not [
            path
            for path in (str(TOP), str(Path.home()) + "/", sys.prefix)
            if path in file.read_text().replace("\\", "")
        ], file


@pytest.mark.skipif(not shutil.which("man"), reason="needs man: apt install man-db")
def test_man_has_nothing_to_say_of_the_pages(share: Path) -> None:
    for page in (share / "man/man1").iterdir():
        command = ("man", "--warnings", "--local-file", page)
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert done.stderr == ""
        assert "SYNOPSIS" in done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("kvmtune-actuator che", {"check"}),
        ("kvmtune-actuator run --on-stop ", {"restore", "keep"}),
        ("kvmtune-actuator run --scrape.u", {"--scrape.url"}),
        ("kvmtune-exporter --no-collector.th", {"--no-collector.thp"}),
        ("kvmtune-actuator check rules/simple/ks", {"rules/simple/ksm.yml", "rules/simple/ksm.test.yml"}),
    ],
)
def test_bash_completes(typed: str, offered: set[str], share: Path) -> None:
    program, *words = typed.split(" ")
    script = f"""
        . {share}/bash-completion/completions/{program}
        COMP_WORDS=({program} {" ".join(word or "''" for word in words)})
        COMP_CWORD={len(words)}
        _shtab_{program.replace("-", "_")}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(("bash", "-c", script), capture_output=True, text=True, check=True, cwd=TOP, timeout=30)
    assert set(done.stdout.split()) == offered, done.stderr


def test_what_is_made_is_the_same_each_time(share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("HOME", str(tmp_path))
    _make(tmp_path / "again")
    for file in (path for path in share.rglob("*") if path.is_file()):
        again = tmp_path / "again" / file.relative_to(share)
        assert re.sub(r"^\.TH .*", "", again.read_text()) == re.sub(r"^\.TH .*", "", file.read_text())


def _make(share: Path) -> None:
    command = (sys.executable, PACKAGING / "pages.py", share)
    subprocess.run(command, check=True, timeout=60, cwd=TOP, env={**os.environ, "PYTHONPATH": str(TOP)})


def _service(unit: str) -> dict[str, str]:
    """The keys of [Service] that occur once; of the others, the last."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS[unit])
    return dict(parser["Service"])


def _words(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Long flags and commands, of the commands too."""
    for action in parser._actions:
        yield from (flag for flag in action.option_strings if flag.startswith("--") and flag != "--help")
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield name
                yield from _words(command)
