"""libvirt: connecting, reading all domains in bulk, and its errors in our words. The only `import libvirt`.

A libvirt call can hang for ever, and then nothing can cancel it. So the functions here that take a connection
are meant for `kvmhost.virtprocess`, which runs them in a process that can be killed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kvmhost import domainxml
from kvmhost.domains import Balloon, Domain

SYSTEM_URI = "qemu:///system"

# libvirt's own numbers (libvirt-domain.h, virterror.h), so that callers need not import it.
AFFECT_LIVE = 1
AFFECT_CONFIG = 2
_ERR_NO_SUPPORT = 3
ERR_SYSTEM = 38
ERR_NO_DOMAIN = 42
ERR_AUTH_FAILED = 45
ERR_OPERATION_INVALID = 55
ERR_AUTH_CANCELLED = 79
ERR_ACCESS_DENIED = 88
ERR_AUTH_UNAVAILABLE = 94

_JOB_NONE = 0
_ACTIVE = 1
_NOWAIT = 1 << 29
_XML_INACTIVE = 1 << 1
_STATS_STATE = 1 << 0
_STATS_BALLOON = 1 << 2

STATES = ("nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended")
"""Every value of `Domain.state`, in the order of virDomainState."""

_HINTS = {
    29: "this needs the read-write connection: run as root, or grant it by polkit",
    ERR_NO_DOMAIN: "it was shut down or migrated meanwhile",
    68: "the guest's QEMU process may be stuck: look at its state with ps",
    ERR_ACCESS_DENIED: "an access rule (polkit) refuses it to this user",
}

_INSTALL_HINT = (
    "install it: `apt install python3-libvirt` for the Debian package, else `pip install 'kvmtune[libvirt]'`, "
    "which needs `apt install libvirt-dev pkg-config gcc python3-dev`"
)
_START_HINT = (
    "is libvirtd running? `apt install libvirt-daemon-system` or `systemctl start libvirtd`, then `virsh -c {uri} list`"
)
_PERMISSION_HINT = "add this user to the group libvirt, or use a read-only connection"
_POLKIT_HINT = "polkit does not let this user: install kvmtune's rules for it (docs/privileges.md), or run as root"
_POLKIT_ERRORS = (ERR_AUTH_FAILED, ERR_AUTH_CANCELLED, ERR_AUTH_UNAVAILABLE, ERR_ACCESS_DENIED)


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
        message, code = str(error), error.get_error_code()
        if code in _POLKIT_ERRORS:
            hint = _POLKIT_HINT
        else:
            hint = _PERMISSION_HINT if "Permission denied" in message else _START_HINT.format(uri=uri)
        raise VirtUnavailable(f"cannot connect to {uri}: {message}", code, hint) from error


def start_event_loop() -> None:
    """Run libvirt's events in a thread, for the rest of this process: only connections made later have any."""
    try:
        import libvirt
    except ImportError:
        return  # `connect` says so
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while libvirt.virEventRunDefaultImpl() == 0:
            pass

    threading.Thread(target=run, name="libvirt-events", daemon=True).start()


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


def free_domain(conn: Any, uuid: str) -> Any:
    """The domain, to be changed now; `VirtError` while a long job of it is under way: a migration, a save, a dump.

    libvirt holds other changes back until then, for up to 30 s, and those of a guest that migrates may not arrive.
    """
    with translated():
        domain = conn.lookupByUUIDString(uuid)
    try:
        with translated():
            job = domain.jobInfo()[0]
    except VirtError as error:
        if error.code != _ERR_NO_SUPPORT:
            raise
        job = _JOB_NONE
    if job != _JOB_NONE:
        raise VirtError("libvirt is migrating, saving or dumping it", hint="it is left alone until that has ended")
    return domain


def read_domains(conn: Any) -> tuple[Domain, ...]:
    """All active domains, in one bulk call and one for the XML of each. `VirtError` if libvirt fails.

    The bulk call costs two QEMU monitor commands a domain. It does not wait for a domain that is busy with
    another job, and leaves out what it would have had to ask: those fields are None.
    """
    with translated():
        reports = conn.getAllDomainStats(_STATS_STATE | _STATS_BALLOON, _ACTIVE | _NOWAIT)
    xmls = ((domain.ID(), stats, read_xml(domain)) for domain, stats in reports)
    return tuple(domain_from(stats, xml, domain_id) for domain_id, stats, xml in xmls if xml is not None)


def domain_from(stats: Mapping[str, object], xml: str, domain_id: int = -1) -> Domain:
    """The domain that one dict of getAllDomainStats and its live XML describe (pure); `domain_id` -1 is unknown."""
    return Domain(
        id=domain_id,
        state=_state(stats),
        config=domainxml.parse(xml),
        balloon=_balloon(stats),
    )


def list_states(conn: Any) -> list[tuple[Any, str]]:
    """All active domains and their states. No QEMU is asked, so none can delay it."""
    with translated():
        reports = conn.getAllDomainStats(_STATS_STATE, _ACTIVE | _NOWAIT)
    return [(domain, _state(stats)) for domain, stats in reports]


def read_balloon(conn: Any, domain: Any, now: float) -> Balloon | None:
    """The balloon of one domain, at unix time `now`; None if libvirt is busy with another job for it, or it ended.

    Costs two QEMU monitor commands. It does not wait for another job, but without limit for a QEMU that hangs.
    """
    with translated():
        reports = conn.domainListGetStats([domain], _STATS_BALLOON, _NOWAIT)
    stats = reports[0][1] if reports else None
    # Without the job, libvirt tells only the sizes that it knows itself; with it, at least the rss of QEMU as well.
    # A driver that has no such statistics tells nothing (qemuDomainGetStatsBalloon in qemu_driver.c).
    if stats is None or ("balloon.current" in stats and "balloon.rss" not in stats):
        return None
    return _balloon(stats, now)


def read_xml(domain: Any) -> str | None:
    """The live XML, or None if the domain has ended since it was listed.

    No QEMU is asked, but since libvirt 11.0 it waits for another job of that domain, up to 30 s.
    """
    try:
        with translated():
            return str(domain.XMLDesc())
    except VirtError as error:
        if error.code == ERR_NO_DOMAIN:
            return None
        raise


def read_persistent_xml(domain: Any) -> str | None:
    """The XML that the domain will be started from next; None if there is none, or the domain has ended."""
    try:
        with translated():
            # libvirt would give the live XML of a domain that is not persistent.
            return str(domain.XMLDesc(_XML_INACTIVE)) if domain.isPersistent() else None
    except VirtError as error:
        if error.code == ERR_NO_DOMAIN:
            return None
        raise


def _state(stats: Mapping[str, object]) -> str:
    return _named(STATES, stats.get("state.state")) or STATES[0]


def _balloon(stats: Mapping[str, object], read_seconds: float | None = None) -> Balloon:
    def count(key: str) -> int | None:
        value = stats.get(f"balloon.{key}")
        return value if isinstance(value, int) else None

    def size_bytes(key: str) -> int | None:
        kib = count(key)
        return None if kib is None else kib * 1024

    return Balloon(
        read_seconds=read_seconds,
        actual_bytes=size_bytes("current"),
        maximum_bytes=size_bytes("maximum"),
        unused_bytes=size_bytes("unused"),
        available_bytes=size_bytes("available"),
        usable_bytes=size_bytes("usable"),
        disk_caches_bytes=size_bytes("disk_caches"),
        swap_in_bytes=size_bytes("swap_in"),
        swap_out_bytes=size_bytes("swap_out"),
        major_faults=count("major_fault"),
        minor_faults=count("minor_fault"),
        hugetlb_pgalloc=count("hugetlb_pgalloc"),
        hugetlb_pgfail=count("hugetlb_pgfail"),
        last_update_seconds=count("last-update"),
    )


def _named(names: tuple[str, ...], number: object) -> str | None:
    """The name of an enumeration's value; its digits if `names` is older than libvirt, None without."""
    if not isinstance(number, int):
        return None
    return names[number] if number < len(names) else str(number)
