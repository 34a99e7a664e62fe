"""What a write takes of a user that is not root: told in the docs and in errors, and granted by packaging/polkit."""

from __future__ import annotations

from dataclasses import dataclass

from kvmhost.virt import ERR_ACCESS_DENIED, VirtError


@dataclass(frozen=True, slots=True)
class Privilege:
    """`needs` ends the sentence "A write needs"; `fix` is the next step of a user that lacks it.

    `capability`: the one that suffices, as a service has by `AmbientCapabilities=`. `actions`: what polkit must allow
    for the write itself, and `rules`: the files of packaging/polkit that do.
    """

    needs: str
    fix: str
    capability: str | None = None
    actions: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()

    def refused(self, error: VirtError) -> str:
        """What libvirt says, and the next step if it is an access rule that refuses."""
        return f"{error.message}; {self.fix}" if error.code == ERR_ACCESS_DENIED else str(error)


SYS_FILE = Privilege(
    "CAP_DAC_OVERRIDE, or a file that a group of the user may write",
    "grant CAP_DAC_OVERRIDE (AmbientCapabilities= in the unit), or let a group of this user write the file",
    capability="CAP_DAC_OVERRIDE",
)
"""A file of /sys with mode 0644, owned by root."""

SYSCTL = Privilege(
    "to run as root, of whom no capability is asked: the kernel looks at the user only (sysctl_perm)",
    "run as root; that takes no capability (CapabilityBoundingSet= in the unit), and none replaces it",
)
"""A file of /proc/sys: neither its mode nor its owner can be changed."""

CONNECTION = (
    "org.libvirt.unix.manage",
    "org.libvirt.api.connect.getattr",
    "org.libvirt.api.connect.search-domains",
    "org.libvirt.api.domain.getattr",
    "org.libvirt.api.domain.read",
)
"""What polkit must allow before any write through libvirt."""


def _libvirt(needs: str, actions: tuple[str, ...], *rules: str) -> Privilege:
    actions = tuple(f"org.libvirt.api.{action}" for action in actions)
    return Privilege(needs, f"polkit asks for {', '.join(actions)}: {_install(rules)}", None, actions, rules)


def _install(rules: tuple[str, ...]) -> str:
    return f"install {' and '.join(rules)} (docs/privileges.md)"


_SOCKET = "libvirt's read-write socket, which is as good as root but for polkit rules that narrow it"

GUEST = _libvirt(_SOCKET, ("domain.write",), "60-kvmtune-libvirt.rules")

PINS = _libvirt(_SOCKET, ("domain.write", "connect.read"), "60-kvmtune-libvirt.rules")
"""`connect.read` is for the number of the host's CPUs."""

NEXT_BOOT = _libvirt(
    "libvirt's read-write socket and the right to define domains, which is as good as root",
    ("domain.write", "domain.save", "domain.read-secure"),
    "60-kvmtune-libvirt.rules",
    "59-kvmtune-libvirt-next-boot.rules",
)

TUNED = Privilege(
    "leave by polkit to switch profiles, or root where there is no polkit",
    f"run as root, or let polkit allow it: {_install(('60-kvmtune-tuned.rules',))}",
    actions=tuple(f"com.redhat.tuned.{action}" for action in ("switch_profile", "auto_profile", "start", "disable")),
    rules=("60-kvmtune-tuned.rules",),
)
