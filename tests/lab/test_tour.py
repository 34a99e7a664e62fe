"""The tour, walked once: what it claims is so, and nothing is left of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import hoststate
from .lab import Lab
from .tour import hugepages, tuned
from .tour.memory import FILE_MIB
from .tour.story import Row, Story
from .tour.tour import walk

MIB = 2**20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
FILE_PAGES = FILE_MIB * MIB // PAGE_BYTES


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    return hoststate.read()


@pytest.fixture(scope="module")
def story(before: dict[str, str], lab: Lab) -> Story:
    return walk(lab, print)


def rows(story: Story, chapter: str, step: str) -> dict[str, Row]:
    return {row.watch.what: row for row in story.chapter(chapter).step(step).rows}


def test_a_profile_of_our_own_is_applied_and_left_again(story: Story) -> None:
    applied = rows(story, "4.2", "a profile of our own")
    assert applied["active profile"].after == "kvm-os"
    assert applied["vm.dirty_ratio, percent"].numbers == (tuned.FOUND, tuned.WANTED)
    assert applied["the host is as the profile says"].after == 1
    assert story.chapter("4.2").step("a profile of our own").remarks == (f"{tuned.DIRTY_RATIO} says {tuned.WANTED}.",)
    assert rows(story, "4.2", "back again")["vm.dirty_ratio, percent"].numbers == (tuned.WANTED, tuned.FOUND)


def test_the_balloon_takes_half_and_gives_it_back(story: Story) -> None:
    taken, given = (rows(story, "4.3", name) for name in ("the balloon takes memory", "and gives it back"))
    assert taken["balloon leaves to tour-1"].numbers == (512 * MIB, 256 * MIB)
    assert given["balloon leaves to tour-1"].numbers == (256 * MIB, 512 * MIB)
    was, held = taken["tour-1 holds on the host"].numbers
    assert was - held > 100 * MIB


def test_the_file_is_merged_once_and_its_saving_is_what_the_metrics_say(story: Story) -> None:
    merged = rows(story, "4.3", "KSM faster (run = 1)")
    assert merged["merged pages of tour-1"].numbers[1] > 0.9 * FILE_PAGES
    for step in ("KSM faster (run = 1)", "KSM stopped (run = 0)", "KSM undone (run = 2)"):
        saved = rows(story, "4.3", step)
        pages = saved["pages_sharing"].numbers
        assert saved["pages_sharing x page size"].numbers == tuple(count * PAGE_BYTES for count in pages)
    before, after = merged["pages looked at"].numbers
    assert after > 3 * before


def test_stopping_keeps_what_is_merged_and_unmerging_does_not(story: Story) -> None:
    stopped, unmerged = (
        rows(story, "4.3", name)["pages_sharing"].numbers for name in ("KSM stopped (run = 0)", "KSM undone (run = 2)")
    )
    assert stopped[1] > 0.9 * FILE_PAGES
    assert unmerged[1] == 0
    less, more = rows(story, "4.3", "KSM undone (run = 2)")["memory used on the host"].numbers
    assert more > less


def test_a_guest_with_nosharepages_stays_out(story: Story) -> None:
    merged = rows(story, "4.3", "KSM faster (run = 1)")
    assert merged["merged pages of tour-private"].numbers == (0, 0)
    assert merged["KSM and tour-private"].after == "nosharepages"


def test_a_guest_takes_just_its_memory_from_the_pool(story: Story) -> None:
    free = rows(story, "4.4", "a guest on 2MiB pages")["free pages of 2MiB"].numbers
    assert (free[0] - free[1]) * 2 * MIB == hugepages.SMALL.memory_mib * MIB
    assert "vm.nr_hugepages" in story.chapter("4.4").step("a pool of 2 MiB pages").shown
    assert story.chapter("4.4").step("pools put back").remarks == ("The file for the next boot is gone.",)


def test_so_does_one_on_a_page_of_1_gib_where_there_is_room(story: Story) -> None:
    if hugepages.obstacle() or rows(story, "4.4", "a pool of 1 GiB pages")["pages of 1GiB in the pool"].after == 0:
        pytest.skip("this machine has no page of 1 GiB")
    free = rows(story, "4.4", "a guest on 1GiB pages")["free pages of 1GiB"].numbers
    assert (free[0] - free[1]) * 1024 * MIB == hugepages.LARGE.memory_mib * MIB


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="to pin apart takes two CPUs")
def test_two_guests_are_pinned_apart(story: Story) -> None:
    together, apart = (rows(story, "4.5", name) for name in ("two busy guests on one CPU", "pinned apart"))
    cpus = "may run on CPUs"
    assert [together[f"{guest} {cpus}"].after for guest in ("tour-1", "tour-2")] == ["0", "0"]
    assert [apart[f"{guest} {cpus}"].after for guest in ("tour-1", "tour-2")] == ["1", "0"]


def test_the_alert_on_emulated_devices_and_its_end(story: Story) -> None:
    found, moved = (rows(story, "4.6", name) for name in ("emulated devices, found", "the same guest with virtio"))
    alert = "guests that KvmEmulatedDevices names"
    assert (found["emulated devices"].after, found[alert].numbers) == (2, (0, 1))
    assert (moved["emulated devices"].numbers, moved[alert].numbers) == ((2, 0), (1, 0))
    assert moved["disks and NICs are"].after == "virtio"


def test_everything_is_put_back(story: Story, before: dict[str, str], lab: Lab) -> None:
    assert story.left == ()
    assert hoststate.changes(before, hoststate.read()) == []
    assert [name for name in lab.guest_names() if name.startswith("tour-")] == []
    assert not list(Path("/tmp").glob("kvmtune-tour-*"))
