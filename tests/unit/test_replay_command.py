"""`kvmtune-actuator replay` in this process: what it prints where, what it draws, and its exit status."""

from __future__ import annotations

import json
import sys
import time
import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path

import pytest

from actuator.__main__ import main
from actuator.data.frame import Frame
from actuator.data.store import Store
from actuator.promql.labels import make
from actuator.replay import plot
from actuator.replay.recording import Recorder
from tests import promserver

RULES = """
groups:
  - name: g
    rules:
      - tune: faster
        because: "Memory is short."
        when: kvm_memory_available_bytes < 1000
        set: {ksm.pages_to_scan: kvm_ksm_pages_to_scan * 1.5}
      - tune: shrink
        because: "It can spare some."
        when: kvm_domain_balloon_usable_bytes > 100
        set: {balloon.target: kvm_domain_balloon_actual_bytes - 1048576}
"""
START = 1_760_000_000


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "rules.yml").write_text(RULES)
    return tmp_path / "rules.yml"


def scrape(available: float | None) -> dict[str, float]:
    return (
        {"up": 0.0}
        if available is None
        else {"up": 1.0, "kvm_memory_available_bytes": available, "kvm_ksm_pages_to_scan": 100.0}
    )


def fill(store: Store, frame: Frame, number: int, available: float | None, start: float = START) -> float:
    time = start + 5.0 * number
    row = {
        make({"__name__": name, "job": "kvmtune", "instance": "h"}): value for name, value in scrape(available).items()
    }
    store.append_row(frame, {store.series(labels, frame): value for labels, value in row.items()}, time)
    return time


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.om.gz"
    store, frame = Store(60), Frame()
    with closing(Recorder(path)) as recorder:
        for number, available in enumerate([2000.0, 500.0, None, 500.0, 2000.0]):
            recorder.add(store, fill(store, frame, number, available))
        recorder.end()
    return path


def test_a_table_and_what_became_of_each_rule(recording: Path, rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recording), "--rules", str(rules)]) == 0
    output = capsys.readouterr()
    assert (
        output.out
        == """\
TIME      RULE    KNOB               TARGET  OUTCOME      CHANGE      DETAIL
08:53:25  faster  ksm.pages_to_scan  host    would write  100 -> 150

5 scrapes over 20s, from 2025-10-09 08:53:20 to 2025-10-09 08:53:40
nothing is known from 08:53:30 to 08:53:35: nothing is decided there
faster: active for 15s, would write 2
shrink: never active
    could not decide for 15s: waits for data of kvm_domain_balloon_usable_bytes

An open loop, as in a dry run: what was recorded stays as it was, whatever was decided. The first decision on a target
is what would have been done; those after it do not see its effect. --closed-loop has the knobs follow.
"""
    )
    assert (
        output.err
        == """\
no scrape has kvm_domain_balloon_actual_bytes, which shrink would read
no scrape has kvm_domain_balloon_usable_bytes, which shrink would read
"""
    )


def test_json_of_a_closed_loop(recording: Path, rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recording), "--rules", str(rules), "--output", "json", "--closed-loop"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["time"] - START, one["target"], one["before"], one["after"]) for one in found["decisions"]] == [
        (5.0, {}, 100, 150), (15.0, {}, 150, 225),
    ]  # fmt: skip
    assert found["gaps"] == [{"from": START + 10, "to": START + 15}]
    assert found["rules"]["faster"]["outcomes"] == {"written": 2}
    assert found["rules"]["shrink"]["undecided"] == [
        {"why": "waits for data of kvm_domain_balloon_usable_bytes", "seconds": 15.0}
    ]


def test_the_same_from_a_server(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, frame = Store(100_000), Frame()
    now = time.time()
    for number, available in enumerate([2000.0, 500.0, None, 500.0, 2000.0]):
        fill(store, frame, number, available, now - 100)
    with promserver.serving(store) as server:
        arguments = ["replay", "--query.url", server.url, "--since", "20m", "--rules", str(rules), "--output", "json"]
        assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["outcome"], one["before"], one["after"]) for one in found["decisions"]] == [("would write", 100, 150)]
    assert found["rules"]["faster"]["outcomes"] == {"would write": 2}
    assert found["decisions"][0]["time"] == pytest.approx(now - 95, abs=0.001)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "say what to replay: a recording (it goes before --rules), or --query.url and --since"),
        (["--query.url", "http://127.0.0.1:1"], 2, "say how far back to look on the server: --since 6h"),
        (["RECORDING", "--since", "6h"], 2, "are for a server: give its --query.url"),
        (["--query.url", "http://127.0.0.1:1", "--since", "1h"], 1, "Connection refused; is the server running?"),
        (["/nowhere"], 2, "cannot read /nowhere: No such file or directory"),
        (["RULES"], 2, "is this a recording of `kvmtune-actuator record`?"),
    ],
)
def test_what_is_told(
    recording: Path, rules: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    places = {"RECORDING": str(recording), "RULES": str(rules)}
    assert main(["replay", *(places.get(one, one) for one in arguments), "--rules", str(rules)]) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_a_plot_is_drawn(
    recording: Path, rules: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"a{suffix}"
    assert main(["replay", str(recording), "--rules", str(rules), "--plot", str(file), "--closed-loop"]) == 0
    assert f"plotted: {file}\n" in capsys.readouterr().err
    starts = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}
    assert file.read_bytes().startswith(starts[suffix])


def test_a_plot_names_knob_and_rule(recording: Path, rules: Path, tmp_path: Path) -> None:
    main(["replay", str(recording), "--rules", str(rules), "--plot", str(tmp_path / "a.svg")])
    text = (tmp_path / "a.svg").read_text()
    ET.fromstring(text)
    for word in ("ksm.pages_to_scan (host)", "faster", "as it was recorded"):
        assert f"<!-- {word} -->" in text


def test_a_plot_of_nothing_and_without_matplotlib(
    recording: Path, rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rules.write_text(RULES.replace("< 1000", "< 1"))
    arguments = ["replay", str(recording), "--rules", str(rules), "--plot", str(tmp_path / "a.svg")]
    assert main(arguments) == 1
    assert "there is nothing to plot: no rule wanted to change anything" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(arguments) == 2
    assert "--plot needs matplotlib, which is not here: pip install matplotlib" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"must end in .svg, .png, .pdf"):
        plot.path("a.gif")
