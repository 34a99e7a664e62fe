"""The live view: what a frame shows of a scene, and how a scene is gathered."""

import io
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from actuator.console import status
from actuator.console.history import History
from actuator.console.pause import Pause
from actuator.console.status import Changed, RuleStatus
from actuator.data.query import LocalQuery
from actuator.data.scrape import Scraper
from actuator.data.store import Store
from actuator.decision import Decision
from actuator.knobs import HOST
from actuator.top.feed import WINDOW_SECONDS, Feed
from actuator.top.scene import Guest, Host, KnobRow, Scene, course, knob_rows
from actuator.top.screen import PLAIN
from actuator.top.view import frame, shares, spark
from tests.target import OK, Target
from tests.unit.test_status import STATUS

GIB = 2**30
WEB = (("domain", "web-1"),)
SCANNED = Decision(
    time=2_000, rule="ksm_scan_faster", knob="ksm.pages_to_scan", target=HOST, outcome="written", before=100, after=150, because="Memory is short.", value=0.131
)  # fmt: skip
LENT = replace(
    SCANNED, rule="balloon_shrink_idle", knob="balloon.target", target=WEB, before=4 * GIB, after=3 * GIB, because="It can spare some."
)  # fmt: skip
SCENE = Scene(
    time=2_000,
    source="http://127.0.0.1:9752/metrics",
    status=STATUS,
    tick_age_seconds=2,
    host=Host(
        available=2 * GIB,
        total=16 * GIB,
        swapped=GIB / 4,
        saved=1.5 * GIB,
        pressure={"cpu": 0.034, "io": 0.001, "memory": 0.12},
        available_before=(0.5, 0.5, 0.4, 0.3, 0.2, 0.125),
        memory_before=(0, 0, 0, 0.02, 0.06, 0.12),
    ),
    knobs=(
        KnobRow(("ksm.pages_to_scan", HOST), 100, 150, "ksm_scan_faster", [100] * 15 + [150] * 5),
        KnobRow(("thp.enabled", HOST), "always", "madvise", "thp"),
        KnobRow(("balloon.target", WEB), 4 * GIB, 3 * GIB, "balloon_shrink_idle", [4 * GIB] * 18 + [3 * GIB] * 2),
    ),
    guests=(
        Guest("web-1", 3 * GIB, 1.2 * GIB, 4 * GIB, 3 * GIB, GIB / 2, "sharing", 0.53, 0.21),
        Guest("db", 8 * GIB, 6.5 * GIB, 8 * GIB, None, 0, "hugepages", 1.9, 0.02),
        Guest("batch", ksm="nosharepages"),
    ),
    decisions=(SCANNED, LENT),
)


def drawn(scene: Scene, width: int = 80, height: int = 24, *, terminal: bool = False) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, height=height, force_terminal=terminal, highlight=False).print(
        frame(scene, width, height)
    )
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_frame() -> None:
    lines = drawn(SCENE)
    assert [re.sub(r"^\d\d:\d\d:\d\d", "TIME", line) for line in lines] == [
        "TIME  the actuator applies its decisions, last tick 2s ago",
        "data of http://127.0.0.1:9752/metrics; cannot decide: r",
        "memory    █████████░ 12% of 16 GiB available ▅▅▄▃▂▂  KSM saves 1.5 GiB",
        "pressure  cpu 3.4%  io 0.1%  memory 12.0%  ▁▁▁▂▅█  swapped 256 MiB",
        "",
        "KNOB                       WAS     NOW LAST 5m              RULE",
        "ksm.pages_to_scan          100     150 ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁█████ ksm_scan_faster",
        "thp.enabled             always madvise                      thp",
        "web-1 balloon.target     4 GiB   3 GiB ██████████████████▁▁ balloon_shrink_idle",
        "",
        "GUEST               ACTUAL    USED TARGET   MAX  SHARED  CPU DELAY KSM",
        "web-1                3 GiB 1.2 GiB  3 GiB 4 GiB 512 MiB 0.53  0.21 sharing",
        "db                   8 GiB 6.5 GiB      - 8 GiB     0 B 1.90  0.02 hugepages",
        "batch                    -       -      -     -       -    -     - nosharepages",
        "",
        "LAST DECISIONS",
        "TIME written     ksm_scan_faster: host ksm.pages_to_scan 100 -> 150 | Memor…",
        "TIME written     balloon_shrink_idle: web-1 balloon.target 4 GiB -> 3 GiB |…",
    ]


CROWDED = replace(
    SCENE,
    knobs=SCENE.knobs * 20,
    guests=[replace(SCENE.guests[0], name=f"a-guest-with-a-very-long-name-{number}") for number in range(300)],
    decisions=SCENE.decisions * 100,
)
ODD = replace(
    SCENE,
    guests=[Guest("[red]web\x1b[2J", ksm="[/]"), Guest("仮想マシン" * 10)],
    no_data="[b]\x1b",
    host=Host(available=1, total=0, pressure={"[x]": 0.5}),
)


@pytest.mark.parametrize("scene", [Scene(0, "x"), SCENE, CROWDED, ODD, replace(SCENE, why_idle="it was killed")])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (40, 15), (20, 8)])
def test_a_frame_fits(scene: Scene, width: int, height: int) -> None:
    lines = drawn(scene, width, height)
    assert len(lines) <= max(height, 13)  # one line of each list there is always; a terminal cuts the rest off
    assert max(map(cell_len, lines)) <= width


def test_in_a_narrow_terminal_names_are_the_last_to_go() -> None:
    lines = drawn(SCENE, 40, 20)
    for name in ("GUEST", "web-1 ", "db ", "batch ", "KNOB", "ksm.pages_to_s", "thp.enabled"):
        assert any(line.startswith(name) for line in lines), (name, lines)


def test_bars_in_an_encoding_without_them() -> None:
    assert "█░▁▅█… 仮".encode("ascii", PLAIN) == b"#--##. ?"


def test_names_are_shown_as_they_are_and_cannot_speak_to_the_terminal() -> None:
    text = "\n".join(drawn(ODD))
    assert "[red]web\\x1b[2J" in text
    assert "\x1b" not in text


def test_of_a_long_list_is_said_how_many_are_left_out() -> None:
    lines = drawn(CROWDED)
    assert "and 56 more" in lines
    assert "and 296 more" in lines
    assert lines[-1].split()[1] == "written"


@pytest.mark.parametrize(
    ("scene", "told"),
    [
        (
            replace(SCENE, status=None, why_idle="none has run"),
            "no actuator is at work; `kvmtune-actuator status` says why",
        ),
        (replace(SCENE, status=replace(STATUS, mode="dry run")), "dry run, last tick 2s ago"),
        (
            replace(SCENE, status=replace(STATUS, paused=Pause(since=1, because="upgrade"))),
            "decisions, paused until `kvmtune-actuator re",
        ),
        (replace(SCENE, no_data="http://x: Connection refused"), "no data: http://x: Connection refused"),
        (replace(SCENE, no_data="x", host=Host(), guests=()), "memory    -"),
        (replace(SCENE, knobs=()), "nothing is changed or was decided lately"),
    ],
)
def test_what_is_amiss_is_shown(scene: Scene, told: str) -> None:
    assert told in "\n".join(drawn(scene))


@pytest.mark.parametrize(
    ("wants", "lines", "given"),
    [
        ([3, 3, 3], 20, [3, 3, 3]),
        ([50, 50, 50], 15, [5, 5, 5]),
        ([1, 50, 50], 15, [1, 7, 7]),
        ([2, 300, 4], 14, [2, 8, 4]),
        ([9, 9, 9], 0, [1, 1, 1]),
    ],
)
def test_lists_share_the_lines(wants: list[int], lines: int, given: list[int]) -> None:
    assert shares(wants, lines) == given


@pytest.mark.parametrize(
    ("values", "limits", "bars"),
    [
        ([], (None, None), ""),
        ([5, 5, 5], (None, None), "▁▁▁"),
        ([0, 1, 2, 3, 4, 5, 6, 7], (None, None), "▁▂▃▄▅▆▇█"),
        ([9, 9, 0, 1], (None, None), "██▁▂"),
        ([0, 0.5, 1], (0.0, 1.0), "▁▅█"),
        ([-1, 2], (0.0, 1.0), "▁█"),
    ],
)
def test_bars(values: list[float], limits: tuple[float | None, float | None], bars: str) -> None:
    assert spark(values, 8, *limits) == bars
    assert spark([7.0, *values], len(values), *limits) == bars or not values


def test_the_course_of_a_knob() -> None:
    assert course([], 5, [1, 2]) == [5, 5]
    assert course([(2, 100), (2, 150), (4, 150), (4, 200)], 200, [1, 2, 3, 4, 5]) == [100, 150, 150, 200, 200]
    assert course([(1, "never")], "never", [1, 2]) == []


def test_rows_of_knobs() -> None:
    refused = replace(SCANNED, time=2_050, outcome="refused", before=150, after=None)
    old = replace(SCANNED, knob="ksm.run", time=1_000, before=0, after=1)
    changed = Changed(knob="ksm.sleep_millisecs", target=HOST, original=20, now=50, rule="slow", since=1)
    rows = knob_rows([old, SCANNED, LENT, refused], [changed], 1_900, 2_100, points=4)
    assert rows == [
        KnobRow(("ksm.pages_to_scan", HOST), None, 150, "ksm_scan_faster", [100, 150, 150, 150]),
        KnobRow(("ksm.sleep_millisecs", HOST), 20, 50, "slow", [50] * 4),
        KnobRow(("balloon.target", WEB), None, 3 * GIB, "balloon_shrink_idle", [4 * GIB, 3 * GIB, 3 * GIB, 3 * GIB]),
    ]


def test_in_a_dry_run_a_knob_stays_where_it_is() -> None:
    (row,) = knob_rows([replace(SCANNED, outcome="would write")], [], 1_900, 2_100, points=2)
    assert (row.now, list(row.course)) == (100, [100, 100])


PAGE = """kvm_memory_available_bytes 4e9
kvm_memory_total_bytes 16e9
kvm_pressure_some_seconds_total{{resource="memory"}} {seconds}
kvm_memory_page_size_bytes 4096
kvm_domain_info{{domain="web-1",uuid="u"}} 1
kvm_domain_balloon_actual_bytes{{domain="web-1",uuid="u"}} 1e9
kvm_domain_ksm_merging_pages{{domain="web-1",uuid="u"}} 10
kvm_domain_ksm_status{{domain="web-1",uuid="u",status="sharing"}} 1
kvm_domain_ksm_status{{domain="web-1",uuid="u",status="stopped"}} 0
kvm_domain_vcpu_delay_seconds_total{{domain="web-1",uuid="u",vcpu="0"}} {seconds}
kvm_domain_vcpu_delay_seconds_total{{domain="web-1",uuid="u",vcpu="1"}} {seconds}
"""


@pytest.fixture
def target() -> Iterator[Target]:
    with closing(Target()) as target:
        yield target


def test_a_scene_is_gathered_from_exporter_history_and_status(target: Target, tmp_path: Path) -> None:
    store = Store(WINDOW_SECONDS)
    feed = Feed(Scraper(f"http://{target.address}/metrics", store), LocalQuery(store), tmp_path, "it")
    History(tmp_path, dry_run=False).note(SCANNED)
    status.write(
        tmp_path,
        replace(
            STATUS, changed=(Changed(knob="balloon.target", target=WEB, original=GIB, now=GIB // 2, rule="r", since=1),)
        ),
    )
    for time, seconds in ((2_001.0, 0.0), (2_011.0, 1.0)):
        target.answer = OK + PAGE.format(seconds=seconds).encode()
        scene = feed.look(time)
    assert scene.host == Host(
        available=4e9, total=16e9, pressure={"memory": pytest.approx(0.1)},
        available_before=(0.25, 0.25), memory_before=(0.0, pytest.approx(0.1)),
    )  # fmt: skip
    assert scene.guests == [
        Guest("web-1", actual=1e9, target=GIB / 2, shared=40960, ksm="sharing", delay=pytest.approx(0.2))
    ]
    assert [row.key[0] for row in scene.knobs] == ["ksm.pages_to_scan", "balloon.target"]
    assert list(scene.decisions) == [SCANNED]
    assert "the last good tick was" in scene.why_idle or scene.why_idle == ""


def test_a_scene_without_anything(tmp_path: Path) -> None:
    store = Store(WINDOW_SECONDS)
    scene = Feed(Scraper("http://127.0.0.1:9/metrics", store), LocalQuery(store), tmp_path, "it").look(1.0)
    assert "is the exporter running?" in scene.no_data
    assert "none has run with the state directory" in scene.why_idle
    assert (scene.host, list(scene.guests), list(scene.knobs)) == (Host(), [], [])


def test_rules_that_cannot_decide_are_named() -> None:
    rules = tuple(RuleStatus(name=name, mode="apply", active=0, pending=0, faults=faults) for name, faults in (("a", ()), ("b", ("x",))))  # fmt: skip
    assert "; cannot decide: b" in drawn(replace(SCENE, status=replace(STATUS, rules=rules)))[1]
