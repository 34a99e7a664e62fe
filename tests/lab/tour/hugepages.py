"""4.4: hugepages. A pool by a rule, a guest that takes its memory from it, and how both outlive a boot."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

from tests.lab import smallhost
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.specs import HUGEPAGES, GuestSpec

from .stage import Stage
from .story import Chapter, Unit, Watch

SMALL = GuestSpec(name="tour-huge", memory_mib=512, memory_backing=HUGEPAGES, boots=False)
# By memfd, since the lab has a file system for hugepages of the usual size only.
LARGE = GuestSpec(
    name="tour-huge-1g", memory_mib=1024, boots=False,
    memory_backing="<hugepages><page size='1' unit='GiB'/></hugepages><source type='memfd'/>",
)  # fmt: skip
ROOM_BYTES = 3 * 2**30
"""So much must be available for a page of 1 GiB: one for the pool, and the rest for the host."""

_LARGE_POOL = Path("/sys/kernel/mm/hugepages/hugepages-1048576kB")


def show(stage: Stage, lab: Lab, directory: Path) -> Chapter:
    """`directory` becomes the host's /etc as far as kvmtune writes there."""
    first = len(stage.steps)
    root = _root(directory)
    _small(stage, root)
    _guest(stage, lab, SMALL, "2MiB")
    if _large(stage, root):
        _guest(stage, lab, LARGE, "1GiB")
    _back(stage, root)
    _boot(stage)
    return Chapter(
        number="4.4",
        title="Hugepages",
        steps=tuple(stage.steps[first:]),
        read_on="[hugepages and THP](concepts.md#hugepages-and-thp), "
        "[kept for the next boot](ledger.md#kept-for-the-next-boot)",
    )


def _small(stage: Stage, root: Path) -> None:
    with stage.step(
        "a pool of 2 MiB pages",
        "A rule sets aside what a guest of 512 MiB needs: 256 pages. Nothing else can use that memory then. The rule "
        "says `persist: true`, so the next boot sets it, too; the tour has an /etc of its own for that.",
        "sysctl vm.nr_hugepages=256; echo vm.nr_hugepages=256 > /etc/sysctl.d/90-hugepages.conf",
        watch=(
            _pool("2MiB"),
            _free("2MiB"),
            Watch(what="memory available on the host", expr="kvm_memory_available_bytes", unit=Unit.BYTES),
        ),
    ):
        stage.rule("hugepages-2m.yml", "--path.rootfs", root, "--on-stop", "keep")
        stage.wait_for('kvm_hugepages_node_free{node="0",size="2MiB"} >= 256', "the pool has its pages")
        stage.stop()  # else the rule would make room for one more guest as soon as one has started
        for file in _kept(root):
            stage.show(f"$ cat /{file.relative_to(root)}\n{file.read_text().rstrip()}")


def _guest(stage: Stage, lab: Lab, spec: GuestSpec, size: str) -> None:
    held = f'kvm_domain_memory_hugetlb_bytes{{domain="{spec.name}"}}'
    step = stage.step(
        f"a guest on {size} pages",
        f"Its domain says `<hugepages/>`, and it has {spec.memory_mib} MiB: so much goes from the pool, to the page.",
        f"virsh start {spec.name}; grep -i huge /proc/meminfo",
        watch=(_free(size), Watch(what=f"{spec.name} holds of the pool", expr=held, unit=Unit.BYTES)),
    )
    with ExitStack() as until_looked_at, step:
        until_looked_at.enter_context(lab.crowd([spec], paused=False))
        stage.wait_for(f"{held} >= {spec.memory_mib * 2**20}", "the guest holds its memory")


def _large(stage: Stage, root: Path) -> bool:
    """Whether there is a page of 1 GiB then."""
    why = "One page of 1 GiB covers as much as 262144 of 4 KiB."
    if problem := obstacle():
        with stage.step("a pool of 1 GiB pages", f"{why} {problem}"):
            return False
    enough = 'kvm_hugepages_node_free{node="0",size="1GiB"} >= 1'
    with stage.step(
        "a pool of 1 GiB pages",
        why,
        "echo 1 > /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
        watch=(_pool("1GiB"),),
    ) as doing:
        stage.rule("hugepages-1g.yml", "--path.rootfs", root, "--on-stop", "keep")
        with suppress(LabError):
            stage.wait_for(enough, "the pool has its page", 15.0)
        stage.stop()
        if not (got := bool(stage.ask(enough))):
            doing.remarks.append("The kernel finds no GiB in one piece any more: reserve it at boot, as below.")
    return got


def obstacle() -> str:
    """Why this machine can have no page of 1 GiB; empty if it can."""
    if not _LARGE_POOL.exists():
        return "This machine has no pages of that size."
    if smallhost.available_bytes() < ROOM_BYTES:
        return f"This machine has no room for one: {ROOM_BYTES >> 30} GiB should be available."
    return ""


def _back(stage: Stage, root: Path) -> None:
    with stage.step(
        "pools put back",
        "`kvmtune-actuator restore` puts back what an actuator has kept: the pools, and the file for the next boot.",
        "kvmtune-actuator restore",
        watch=(_pool("2MiB"), _pool("1GiB")),
    ) as doing:
        stage.restore("--path.rootfs", root)
        doing.remarks.append(f"The file for the next boot is {'still there' if _kept(root) else 'gone'}.")


def _boot(stage: Stage) -> None:
    at_boot = [word for word in Path("/proc/cmdline").read_text().split() if "hugepages" in word]
    with stage.step(
        "pages from the boot on",
        "After days of use no GiB of memory is left in one piece, so pages of 1 GiB are set aside when the kernel "
        "starts. The tour does not change how this machine boots. On a host of yours, put this into /etc/default/grub, "
        "with as many pages as its guests need, and boot.",
        'GRUB_CMDLINE_LINUX="default_hugepagesz=1G hugepagesz=1G hugepages=5"',
        "update-grub   # on Fedora and RHEL: grubby --update-kernel=ALL --args='...'",
    ) as doing:
        doing.remarks.append(f"This machine was booted with {' '.join(at_boot) or 'no such parameter'}.")


def _pool(size: str) -> Watch:
    return Watch(what=f"pages of {size} in the pool", expr=f'kvm_hugepages_nr{{size="{size}"}}', unit=Unit.COUNT)


def _free(size: str) -> Watch:
    return Watch(what=f"free pages of {size}", expr=f'kvm_hugepages_free{{size="{size}"}}', unit=Unit.COUNT)


def _kept(root: Path) -> list[Path]:
    """The files that the next boot would read."""
    return sorted((root / "etc").rglob("90-kvmtune.conf"))


def _root(directory: Path) -> Path:
    """The host as the actuator sees it, with an /etc of its own."""
    directory.mkdir()
    for there in ("proc", "sys"):
        (directory / there).symlink_to(f"/{there}")
    return directory
