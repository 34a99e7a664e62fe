"""What the commands say of real guests: the balloon that a rule moves, held still by a pause, explained afterwards."""

import subprocess
from pathlib import Path

import pytest

from tests.programs import BIN, wait_until

from .programs import Programs

RULES = """
groups:
  - name: lab
    rules:
      - tune: lend
        because: "It is a test."
        when: kvm_domain_balloon_actual_bytes{domain="kvmtune-lab-1"} > 200e6
        every: 1s
        set: {balloon.target: kvm_domain_balloon_actual_bytes - 8 * 1048576}
"""


def ask(kvmtune: Programs, *command: str) -> str:
    """What a command says, without an error."""
    state = str(kvmtune.directory / "state")
    done = subprocess.run(
        [BIN / "kvmtune-actuator", *command, "--state-dir", state],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.usefixtures("guests")
def test_a_guests_balloon_is_shown_paused_and_explained(kvmtune: Programs, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES)
    exporter = kvmtune.exporter()
    actuator = kvmtune.actuator(exporter, rules, "--apply")
    actuator.wait_for("written +lend: kvmtune-lab-1 balloon.target")
    ask(kvmtune, "pause", "--because", "a look")
    actuator.wait_for("paused +lend: kvmtune-lab-1 balloon.target .*a look")
    frame = ask(kvmtune, "top", "--once", "--scrape.url", exporter.metrics_url)
    (guest,) = (line for line in frame.splitlines() if line.startswith("kvmtune-lab-1  "))
    assert guest.count("MiB") >= 4  # actual, used, target, maximum
    assert "kvmtune-lab-1 balloon.target" in frame
    told = ask(kvmtune, "explain", "kvmtune-lab-1", "--rules", str(rules))
    assert "changed now\n  kvmtune-lab-1 balloon.target 256 MiB -> " in told
    assert "written     lend: kvmtune-lab-1 balloon.target 256 MiB -> 248 MiB | It is a test. (when = 2.684e+08" in told
    assert "paused until `kvmtune-actuator resume`: a look" in told
    ask(kvmtune, "resume")
    lent = actuator.output.count(" written ")
    wait_until(lambda: actuator.output.count(" written ") > lent, "it acts again")
