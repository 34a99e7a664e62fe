"""What `make wheel` builds has all that an operator needs, and runs from where pip and pipx put it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.programs import Program

TOP = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel() -> Path:
    built = subprocess.run((TOP / "scripts/build", "wheel"), capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stderr
    return TOP / built.stdout.strip()


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new one with the wheel, that sees the libraries of this one."""
    environment = tmp_path_factory.mktemp("wheel") / "venv"
    python = environment / "bin/python"
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", environment), check=True)
    install = ("pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    subprocess.run((sys.executable, "-m", *install), check=True, timeout=120)
    site = Path(sysconfig.get_path("purelib", vars={"base": environment}))
    libraries = dict.fromkeys(path for path in sys.path if path.endswith(("site-packages", "dist-packages")))
    (site / "libraries.pth").write_text("\n".join(libraries))
    return environment


def test_it_has_the_programs_and_what_they_need(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [re.sub(r"^kvmtune-[^/]*\.data/data/", "", name) for name in archive.namelist()]
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"actuator", "exporter", "kvmhost", "kvmweb", "share"}
    assert {name for name in names if name.startswith("actuator/rules/shipped/")} == {
        f"actuator/rules/shipped/{path.name}" for path in (TOP / "rules").glob("*.yml")
    }
    shared = {name for name in names if name.startswith("share/")}
    assert {name for name in shared if name.startswith("share/kvmtune/")} == {
        f"share/kvmtune/{path.relative_to(TOP / 'packaging')}"
        for path in (TOP / "packaging").rglob("*")
        if path.is_file() and path.parent != TOP / "packaging" and path.parts[len(TOP.parts) + 1] != "debian"
    }
    for program in ("kvmtune-exporter", "kvmtune-actuator"):
        assert {
            f"share/man/man1/{program}.1",
            f"share/bash-completion/completions/{program}",
            f"share/zsh/site-functions/_{program}",
            f"share/fish/vendor_completions.d/{program}.fish",
        } <= shared


def test_both_programs_run_with_what_ships(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exporter, actuator = (environment / "bin" / name for name in ("kvmtune-exporter", "kvmtune-actuator"))
    serving = Program(tmp_path / "exporter.log", exporter, "--web.listen-address=127.0.0.1:0")
    url = serving.wait_for(r"metrics on (\S+)")[1]
    acting = Program(
        tmp_path / "actuator.log", actuator, "run", f"--scrape.url={url}", "--web.listen-address=127.0.0.1:0",
        f"--state-dir={tmp_path / 'state'}",
    )  # fmt: skip
    try:
        acting.wait_for("the exporter answers")
        if not Path("/etc/kvmtune").exists():
            acting.wait_for(f"rules: {re.escape(str(environment))}.*/actuator/rules/shipped; policy: .*/policy.yml")
    finally:
        assert acting.end(signal.SIGTERM) == 0
        assert serving.end(signal.SIGTERM) == 0


def test_init_gives_rules_whose_tests_pass(environment: Path, tmp_path: Path) -> None:
    actuator = environment / "bin/kvmtune-actuator"
    subprocess.run((actuator, "init", tmp_path / "etc"), check=True, timeout=30)
    done = subprocess.run(
        (actuator, "test", tmp_path / "etc/rules/autopilot-ksm.test.yml"),
        capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
