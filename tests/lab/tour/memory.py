"""4.3: memory. A balloon, and pages that guests have in common."""

from __future__ import annotations

from collections.abc import Sequence

from tests.lab.guests import Guest
from tests.lab.specs import GuestSpec

from .stage import RATE_SECONDS, RATE_WINDOW, Stage
from .story import Chapter, Unit, Watch

PRIVATE = GuestSpec(name="tour-private", memory_mib=512, share_pages=False)
FILE_MIB = 300
"""The same in all guests, page by page."""

USED = Watch(
    what="memory used on the host", expr="kvm_memory_total_bytes - kvm_memory_available_bytes", unit=Unit.BYTES
)
SHARING = Watch(what="pages_sharing", expr="kvm_ksm_pages_sharing", unit=Unit.COUNT, drawn=False)
SAVED = Watch(
    what="pages_sharing x page size", expr="kvm_ksm_pages_sharing * kvm_memory_page_size_bytes", unit=Unit.BYTES
)
PRIVATE_MERGED = Watch(
    what="merged pages of tour-private",
    expr=f'kvm_domain_ksm_merging_pages{{domain="{PRIVATE.name}"}}',
    unit=Unit.COUNT,
)
MERGED = Watch(what="merged pages of tour-1", expr='kvm_domain_ksm_merging_pages{domain="tour-1"}', unit=Unit.COUNT)
WHY_NOT = Watch(
    what="KSM and tour-private", expr=f'kvm_domain_ksm_status{{domain="{PRIVATE.name}"}} == 1', unit=Unit.WORD,
    label="status",
)  # fmt: skip
SCANNED = Watch(what="pages looked at", expr=f"rate(kvm_ksm_pages_scanned_total[{RATE_WINDOW}])", unit=Unit.RATE)
KSMD = Watch(what="CPU time of ksmd", expr=f"rate(kvm_ksm_ksmd_cpu_seconds_total[{RATE_WINDOW}])", unit=Unit.RATIO)
UNSHARED = Watch(what="pages_unshared", expr="kvm_ksm_pages_unshared", unit=Unit.COUNT, drawn=False)
VOLATILE = Watch(what="pages_volatile", expr="kvm_ksm_pages_volatile", unit=Unit.COUNT, drawn=False)


def show(stage: Stage, pair: Sequence[Guest], private: Guest) -> Chapter:
    """`pair` are guests that share memory, `private` is one that does not."""
    first = len(stage.steps)
    _balloon(stage, pair[0])
    _ksm(stage, [*pair, private])
    return Chapter(
        number="4.3",
        title="Memory: balloon and KSM",
        steps=tuple(stage.steps[first:]),
        read_on="[balloons](concepts.md#balloons), [KSM](concepts.md#ksm)",
    )


def _balloon(stage: Stage, guest: Guest) -> None:
    about = f'{{domain="{guest.name}"}}'
    watch = (
        Watch(what="balloon leaves to tour-1", expr=f"kvm_domain_balloon_actual_bytes{about}", unit=Unit.BYTES),
        Watch(what="MemTotal in tour-1", expr=f"kvm_domain_balloon_available_bytes{about}", unit=Unit.BYTES),
        Watch(what="tour-1 holds on the host", expr=f"kvm_domain_memory_rss_bytes{about}", unit=Unit.BYTES),
    )
    half_bytes = guest.spec.memory_mib // 2 * 2**20
    _fill(guest)
    guest.command("free")  # so that the host has given memory that the guest no longer uses
    low = f"kvm_domain_memory_used_bytes{about} < {half_bytes}"
    stage.wait_for(low, "the guest tells that it uses less than half of its memory")
    with stage.step(
        "the balloon takes memory",
        "tour-1 has used memory and freed it again, and the host does not know. The balloon in it takes half of all, "
        "while it runs; what it takes the host has back.",
        "virsh dommemstat tour-1",
        f"virsh setmem tour-1 {guest.spec.memory_mib // 2}M --live",
        watch=watch,
    ):
        stage.rule("balloon.yml")
        stage.wait_for(f"kvm_domain_balloon_actual_bytes{about} <= {half_bytes}", "the balloon has taken half")
        stage.wait_for(f"kvm_domain_balloon_available_bytes{about} <= {half_bytes}", "the guest tells of less")

    with stage.step(
        "and gives it back",
        "Stopping the actuator puts the balloon back. The guest has its memory again; the host gives it page by page, "
        "when the guest touches it.",
        f"virsh setmem tour-1 {guest.spec.memory_mib}M --live",
        watch=watch,
    ):
        stage.stop()
        stage.wait_for(f"kvm_domain_balloon_actual_bytes{about} >= {2 * half_bytes}", "the balloon has given it back")
        stage.wait_for(f"kvm_domain_balloon_available_bytes{about} > {half_bytes}", "the guest tells of more")


def _ksm(stage: Stage, guests: Sequence[Guest]) -> None:
    with stage.step(
        "the same file in three guests",
        f"Each guest has a file of {FILE_MIB} MiB in its tmpfs, equal in all. Nobody looks for equal pages yet, so the "
        "host holds it three times. tour-private says `<nosharepages/>`.",
        watch=(USED, SHARING),
    ):
        for guest in guests:
            _fill(guest)

    with stage.step(
        "KSM at the kernel's pace (run = 1)",
        "ksmd wakes up, looks at pages_to_scan = 100 pages, sleeps for sleep_millisecs = 20, and so on.",
        "echo 1 > /sys/kernel/mm/ksm/run",
        watch=(SCANNED, KSMD),
        over_seconds=RATE_SECONDS,
    ):
        stage.rule("ksm-slow.yml")
        stage.wait_for("kvm_ksm_run == 1", "KSM is on")

    merged = FILE_MIB * 256 * 0.95  # a page of it is equal in both guests; some are always on their way
    with stage.step(
        "KSM faster (run = 1)",
        "5000 pages and 10 ms: the same work is done sooner, at the price of CPU time of the host. What the two guests "
        "have in common is merged; tour-private stays out of it.",
        "echo 5000 > /sys/kernel/mm/ksm/pages_to_scan; echo 10 > /sys/kernel/mm/ksm/sleep_millisecs",
        watch=(SCANNED, KSMD, USED, SHARING, SAVED, UNSHARED, VOLATILE, MERGED, PRIVATE_MERGED, WHY_NOT),
        over_seconds=RATE_SECONDS,
    ):
        stage.rule("ksm-fast.yml")
        stage.wait_for(f"kvm_ksm_pages_sharing > {merged}", "the file is merged")
        stage.wait_for(f'kvm_domain_ksm_merging_pages{{domain="{guests[0].name}"}} > {merged}', "the guest shares it")
        stage.wait_until_still("kvm_ksm_pages_sharing", 2.0, 20.0)

    states = (USED, SHARING, SAVED)
    with stage.step(
        "KSM stopped (run = 0)",
        "ksmd stops. What is merged stays merged, until someone writes to it.",
        "echo 0 > /sys/kernel/mm/ksm/run",
        watch=states,
    ):
        stage.rule("ksm-stop.yml")
        stage.wait_for("kvm_ksm_run == 0", "KSM is off")

    with stage.step(
        "KSM undone (run = 2)",
        "ksmd stops, and each page comes apart: the host needs again what it had saved. On a host that lives on its "
        "savings that is how it runs out of memory, so the actuator looks first whether there is room.",
        "echo 2 > /sys/kernel/mm/ksm/run",
        watch=states,
    ) as doing:
        saved_bytes = stage.number(SAVED.expr)
        used_bytes = stage.number(USED.expr)
        stage.rule("ksm-unmerge.yml")
        stage.wait_for("kvm_ksm_run == 2 and kvm_ksm_pages_sharing == 0", "all is unmerged")
        grown_bytes = stage.number(USED.expr) - used_bytes
        doing.remarks.append(
            f"What pages_sharing x page size had said: {saved_bytes / 2**20:.0f} MiB; "
            f"the host uses {grown_bytes / 2**20:.0f} MiB more."
        )
    stage.stop()
    for guest in guests:
        guest.command("free")


def _fill(guest: Guest) -> None:
    """As the lab's own `fill MIB same`, in a tenth of its time: it starts fewer programs."""
    guest.command(f"sh for i in $(seq {FILE_MIB // 10}); do cat {' '.join(['/same'] * 10)}; done >/load/fill")
