"""What the tour is made of, without walking it: its rules can work, and its page, table and picture say what was seen."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from actuator.lint import Subject, lint
from actuator.rules import config, policy
from tests.lab.tour import page, picture
from tests.lab.tour.stage import POLICY, RULES
from tests.lab.tour.story import Chapter, Row, Step, Story, Unit, Value, Watch, text

MIB = 2.0**20
FREE = Watch(what="free pages", expr='kvm_hugepages_free{size=~"2MiB|1GiB"}', unit=Unit.COUNT)
USED = Watch(what="memory used", expr="kvm_memory_total_bytes - kvm_memory_available_bytes", unit=Unit.BYTES)
PROFILE = Watch(what="profile", expr="kvm_tuned_profile_info", unit=Unit.WORD, label="active")
STEP = Step(
    name="a guest on hugepages",
    why="Its memory comes from the pool.",
    by_hand=("virsh start huge",),
    rule="hugepages-2m.yml",
    rows=(
        Row(watch=FREE, before=256.0, after=0.0),
        Row(watch=USED, before=None, after=512 * MIB),
        Row(watch=PROFILE, before="lab", after="kvm-os"),
        Row(watch=Watch(what="left out", expr="up", unit=Unit.COUNT, drawn=False), before=1.0, after=1.0),
    ),
    shown="$ free\nMem: 1",
    remarks=("That is all.",),
)
STORY = Story(chapters=(Chapter(number="4.4", title="Hugepages", steps=(STEP,), read_on="[more](x.md)"),), left=())


@pytest.mark.parametrize("file", sorted(set(RULES.glob("*.yml")) - {POLICY}), ids=lambda file: file.stem)
def test_a_rule_of_the_tour_has_nothing_to_be_warned_of(file: Path) -> None:
    assert list(lint(Subject(config.load([file]), policy.load(POLICY), 0.5))) == []


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (None, Unit.COUNT, "–"),
        ("kvm-os", Unit.WORD, "kvm-os"),
        (256.0, Unit.COUNT, "256"),
        (512 * MIB, Unit.BYTES, "512 MiB"),
        (0.125, Unit.RATIO, "12.5 %"),
        (4999.6, Unit.RATE, "5000 a second"),
    ],
)
def test_values_for_people(value: Value, unit: Unit, told: str) -> None:
    assert text(value, unit) == told


def test_numbers_are_two_numbers() -> None:
    assert STEP.row("free pages").numbers == (256, 0)
    with pytest.raises(ValueError, match=r"None and 536870912\.0 are not two numbers"):
        _ = STEP.row("memory used").numbers


def test_the_page_tells_each_step_with_its_rule_and_numbers() -> None:
    told = page.markdown(STORY, {"kernel": "6.18"}, command="make tour", picture="pictures/tour.svg")
    for part in (
        "make tour\n",
        "| kernel | 6.18 |",
        "![Numbers before and after each step](pictures/tour.svg)",
        "## 4.4 Hugepages\n\nRead on: [more](x.md).",
        "### A guest on hugepages\n\nIts memory comes from the pool.",
        "```sh\nvirsh start huge\n```",
        "[hugepages-2m.yml](../tests/lab/tour/rules/hugepages-2m.yml)",
        "```\n$ free\nMem: 1\n```",
        '| free pages | 256 | 0 | `kvm_hugepages_free{size=~"2MiB\\|1GiB"}` |',
        "| memory used | – | 512 MiB |",
        "That is all.",
        "## Everything is put back",
    ):
        assert part in told


def test_the_page_says_what_was_not_put_back() -> None:
    left = Story(chapters=(), left=("/proc/sys/vm/swappiness",))
    told = page.markdown(left, {}, command="", picture="")
    assert "## Not everything was as before" in told
    assert "- `/proc/sys/vm/swappiness`" in told


def test_the_table_names_each_step_once() -> None:
    out = io.StringIO()
    Console(file=out, width=110).print(page.table(STORY))
    assert out.getvalue().count("4.4 a guest on hugepages") == 1
    assert "kvm-os" in out.getvalue()


def test_the_picture_has_two_bars_for_each_row_of_numbers_but_those_that_are_left_out() -> None:
    drawn = ElementTree.fromstring(picture.svg(STORY))
    space = "{http://www.w3.org/2000/svg}"
    texts = [each.text for each in drawn.iter(f"{space}text")]
    assert {"4.4 a guest on hugepages", "free pages", "256", "0", "memory used", "512 MiB"} <= set(texts)
    assert {"kvm-os", "left out"}.isdisjoint(texts)
    background, _, _, *bars = drawn.iter(f"{space}rect")
    assert len(bars) == 2 * 2
    lengths = [int(bar.get("width", 0)) for bar in bars]
    assert lengths[0] == lengths[3] > 100 > lengths[1] == lengths[2]
    assert background.get("height") == drawn.get("height")
