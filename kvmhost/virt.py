"""libvirt: connecting, reading all domains in bulk, and its errors in our words. The only `import libvirt`.

A libvirt call can hang for ever, and then nothing can cancel it. So the functions here that take a connection
are meant for `kvmhost.virtprocess`, which runs them in a process that can be killed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

from kvmhost import cpulist
from kvmhost.domains import Balloon, Domain, Vcpu

SYSTEM_URI = "qemu:///system"

# libvirt's own numbers (libvirt-domain.h, virterror.h), so that callers need not import it.
AFFECT_LIVE = 1
AFFECT_CONFIG = 2
ERR_NO_DOMAIN = 42
ERR_OPERATION_INVALID = 55

_ACTIVE = 1
_NOWAIT = 1 << 29
_STATS_STATE = 1 << 0
_STATS_BALLOON = 1 << 2
_STATS_VCPU = 1 << 3

STATES = ("nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended")
"""Every value of `Domain.state`, in the order of virDomainState."""
_VCPU_STATES = ("offline", "running", "blocked")

_HINTS = {
    29: "this needs the read-write connection: run as root, or grant it by polkit",
    ERR_NO_DOMAIN: "it was shut down or migrated meanwhile",
    68: "the guest's QEMU process may be stuck: look at its state with ps",
    88: "an access rule (polkit) refuses it to this user",
}

_INSTALL_HINT = "install it: `apt install libvirt-dev pkg-config gcc python3-dev`, `pip install 'kvmtune[libvirt]'`"
_START_HINT = (
    "is libvirtd running? `apt install libvirt-daemon-system` or `systemctl start libvirtd`, then `virsh -c {uri} list`"
)
_PERMISSION_HINT = "add this user to the group libvirt, or use a read-only connection"


class VirtError(Exception):
    """A libvirt call that failed. `code` is libvirt's virErrorNumber, None if libvirt gave none."""

    def __init__(self, message: str, code: int | None = None, hint: str = "") -> None:
        super().__init__(message, code, hint)
        self.message = message
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class VirtUnavailable(VirtError):  # noqa: N818 - its base says Error
    """There is no connection to libvirt, or no libvirt library."""


class VirtTimeout(VirtError):  # noqa: N818 - as above
    """A call was cut off. Whether libvirt carried it out is unknown."""


def connect(uri: str, *, readonly: bool) -> Any:
    """A new virConnect; `VirtUnavailable` if library or daemon is missing. Hangs if the daemon is frozen."""
    try:
        import libvirt
    except ImportError as error:
        raise VirtUnavailable(f"the Python library libvirt is missing ({error})", hint=_INSTALL_HINT) from error
    # The default handler writes every error to stderr, also those that are handled.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        return libvirt.openReadOnly(uri) if readonly else libvirt.open(uri)
    except libvirt.libvirtError as error:
        message = str(error)
        hint = _PERMISSION_HINT if "Permission denied" in message else _START_HINT.format(uri=uri)
        raise VirtUnavailable(f"cannot connect to {uri}: {message}", error.get_error_code(), hint) from error


def is_alive(conn: Any) -> bool:
    """Whether the connection is still open, as far as the client library knows without asking."""
    try:
        with translated():
            return bool(conn.isAlive())
    except VirtError:
        return False


@contextmanager
def translated() -> Iterator[None]:
    """Raises a libvirtError from inside as `VirtError`."""
    import libvirt

    try:
        yield
    except libvirt.libvirtError as error:
        code = error.get_error_code()
        raise VirtError(str(error), code, _HINTS.get(code, "")) from error


def read_domains(conn: Any) -> tuple[Domain, ...]:
    """All active domains, in one bulk call and one for the XML of each. `VirtError` if libvirt fails.

    The bulk call costs four QEMU monitor commands a domain. It does not wait for a domain that is busy with
    another job, and leaves out what it would have had to ask: those fields are None.
    """
    with translated():
        reports = conn.getAllDomainStats(_STATS_STATE | _STATS_BALLOON | _STATS_VCPU, _ACTIVE | _NOWAIT)
    xmls = ((stats, _xml(domain)) for domain, stats in reports)
    return tuple(domain_from(stats, xml) for stats, xml in xmls if xml is not None)


def domain_from(stats: Mapping[str, object], xml: str) -> Domain:
    """The domain that one dict of getAllDomainStats and its live XML describe (pure)."""
    root = ElementTree.fromstring(xml)  # noqa: S314 - written by libvirtd, which we trust with far more
    os_type = root.find("os/type")
    return Domain(
        name=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        id=int(root.get("id", "-1")),
        state=_named(STATES, stats.get("state.state")) or STATES[0],
        virt_type=root.get("type", ""),
        machine=None if os_type is None else os_type.get("machine"),
        balloon=_balloon(stats, root),
        vcpus=tuple(_vcpus(stats, root)),
    )


def _xml(domain: Any) -> str | None:
    """The live XML, or None if the domain has ended since it was listed."""
    try:
        with translated():
            return str(domain.XMLDesc())
    except VirtError as error:
        if error.code == ERR_NO_DOMAIN:
            return None
        raise


def _balloon(stats: Mapping[str, object], root: ElementTree.Element) -> Balloon:
    def count(key: str) -> int | None:
        value = stats.get(f"balloon.{key}")
        return value if isinstance(value, int) else None

    def size_bytes(key: str) -> int | None:
        kib = count(key)
        return None if kib is None else kib * 1024

    return Balloon(
        actual_bytes=size_bytes("current"),
        maximum_bytes=size_bytes("maximum"),
        unused_bytes=size_bytes("unused"),
        available_bytes=size_bytes("available"),
        usable_bytes=size_bytes("usable"),
        disk_caches_bytes=size_bytes("disk_caches"),
        rss_bytes=size_bytes("rss"),
        swap_in_bytes=size_bytes("swap_in"),
        swap_out_bytes=size_bytes("swap_out"),
        major_faults=count("major_fault"),
        minor_faults=count("minor_fault"),
        # libvirt says 0 for a guest that has never answered.
        last_update_seconds=count("last-update") or None,
        stats_period_seconds=_stats_period_seconds(root),
    )


def _stats_period_seconds(root: ElementTree.Element) -> int | None:
    device = root.find("devices/memballoon")
    if device is None or device.get("model") == "none":
        return None
    stats = device.find("stats")
    return 0 if stats is None else int(stats.get("period", "0"))


def _vcpus(stats: Mapping[str, object], root: ElementTree.Element) -> Iterator[Vcpu]:
    vcpu = root.find("vcpu")
    if vcpu is None:
        return
    default = vcpu.get("cpuset")
    pins = {pin.get("vcpu"): pin.get("cpuset") for pin in root.iterfind("cputune/vcpupin")}
    # The list of single vCPUs is there only if they can be plugged in any order.
    plugged = [one.get("id", "") for one in root.iterfind("vcpus/vcpu[@enabled='yes']")]
    for index in plugged or map(str, range(int(vcpu.get("current") or vcpu.text or "0"))):
        cpus = pins.get(index) or default
        yield Vcpu(
            index=int(index),
            state=_named(_VCPU_STATES, stats.get(f"vcpu.{index}.state")),
            configured_cpus=cpulist.parse(cpus) if cpus else None,
        )


def _named(names: tuple[str, ...], number: object) -> str | None:
    """The name of an enumeration's value; its digits if `names` is older than libvirt, None without."""
    if not isinstance(number, int):
        return None
    return names[number] if number < len(names) else str(number)
