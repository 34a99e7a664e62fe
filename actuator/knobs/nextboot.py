"""What a domain will be started with: changes of its persistent XML only, while the running guest stays as it is."""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from xml.dom import Node, minidom
from xml.dom.minidom import Document, Element

from actuator.knobs.knob import Knob, KnobError, Live, Target, Unit, Value
from actuator.knobs.libvirt import Libvirt
from actuator.knobs.privilege import NEXT_BOOT
from kvmhost import domainxml, hugepages
from kvmhost.domains import MemoryBacking
from kvmhost.domainxml import DomainXMLError
from kvmhost.fs import HostError, HostFS
from kvmhost.units import format_bytes, size_bytes
from kvmhost.virt import VirtError

_CALL_SECONDS = 5.0
_PERSISTENT = 4  # VIR_CONNECT_LIST_DOMAINS_PERSISTENT
_XML_SECURE, _XML_INACTIVE = 1, 2  # without the first, defining it again would lose passwords

Edit = Callable[[str, Value], str]
"""XML of a domain and a value to the XML with that value (pure)."""


@dataclass(frozen=True, slots=True)
class Persistent:
    """A domain as it will be started next."""

    name: str
    uuid: str
    xml: str


def read_persistent(conn: Any) -> tuple[Persistent, ...]:
    """All persistent domains, active or not. No QEMU is asked."""
    return tuple(
        Persistent(name=domain.name(), uuid=domain.UUIDString(), xml=domain.XMLDesc(_XML_INACTIVE))
        for domain in conn.listAllDomains(_PERSISTENT)
    )


def _define(conn: Any, uuid: str, edit: Edit, value: Value) -> str:
    """Define the domain anew with one change; returns the change as a diff, without secrets."""
    domain = conn.lookupByUUIDString(uuid)
    before = domain.XMLDesc(_XML_INACTIVE)
    conn.defineXML(edit(domain.XMLDesc(_XML_INACTIVE | _XML_SECURE), value))
    return diff(before, domain.XMLDesc(_XML_INACTIVE))


def diff(before: str, after: str) -> str:
    """What changed, line by line, as `diff -u` shows it without context (pure)."""
    _from, _to, *lines = [*difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)] or ["", ""]
    return "\n".join(lines)


def hugepages_of(backing: MemoryBacking) -> str:
    """The word for what a domain has: `none`, `default`, a size, or `mixed`, which is not ours to change (pure)."""
    if not backing.hugepages:
        return "none"
    if len(backing.hugepages) > 1 or backing.hugepages[0].cells is not None:
        return "mixed"
    bytes_ = backing.hugepages[0].size_bytes
    return _size(bytes_) if bytes_ else "default"


def _edited(xml: str, name: str, content: list[tuple[str, dict[str, str]]] | None) -> str:
    """`xml` with one element of memoryBacking replaced, or removed for None; everything else stays as it is written.

    minidom, not ElementTree, since that renames the prefixes of others' metadata.
    """
    document: Document = minidom.parseString(xml)  # noqa: S318 - written by libvirtd, which we trust with far more
    root = document.documentElement
    assert root is not None
    backing = _child(root, "memoryBacking")
    if backing is None:
        backing = document.createElement("memoryBacking")
        root.insertBefore(backing, _child(root, "vcpu"))
    old = _child(backing, name)
    if old is not None:
        backing.removeChild(old)
    if content is not None:
        new = backing.appendChild(document.createElement(name))
        for tag, attributes in content:
            child = new.appendChild(document.createElement(tag))
            for key, value in attributes.items():
                child.setAttribute(key, value)
    if not any(child.nodeType == Node.ELEMENT_NODE for child in backing.childNodes):
        root.removeChild(backing)
    return root.toxml()


def _child(parent: Element, name: str) -> Element | None:
    found = (child for child in parent.childNodes if isinstance(child, Element) and child.tagName == name)
    return next(found, None)


def _size(size: int) -> str:
    return format_bytes(size).replace(" ", "")


class NextBoot(Knob):
    """Takes effect when the guest is started next; the running one is not touched. Domains that are off count, too.

    The ledger keeps the change of the XML as a diff.
    """

    keys = ("domain",)
    privilege = NEXT_BOOT

    def __init__(self, fs: HostFS, libvirt: Libvirt) -> None:
        self._fs = fs
        self._libvirt = libvirt
        self._uuids: dict[Target, str] = {}
        self._diffs: dict[Target, str] = {}

    @staticmethod
    @abstractmethod
    def edit(xml: str, value: Value) -> str:
        """The XML of a domain with `value` in it (pure)."""

    @abstractmethod
    def of(self, backing: MemoryBacking) -> Live:
        """What a domain with this memory has, and could have on this host; `HostError`."""

    def live(self) -> Mapping[Target, Live]:
        """Every persistent domain."""
        try:
            domains = self._libvirt.call(read_persistent, timeout_s=_CALL_SECONDS)
            found = {_target(domain): self._live(domain) for domain in domains}
        except (VirtError, HostError, DomainXMLError) as error:
            raise KnobError(f"cannot read the domains' configurations: {error}") from error
        self._uuids = {_target(domain): domain.uuid for domain in domains}
        return found

    def _live(self, domain: Persistent) -> Live:
        config = domainxml.parse(domain.xml)
        return replace(self.of(config.memory_backing), identity=domain.uuid, declared=config.policy)

    def write(self, target: Target, value: Value) -> None:
        """Define the domain anew, from what is defined at that moment."""
        try:
            change = self._libvirt.call(_define, self._uuids[target], self.edit, value, timeout_s=_CALL_SECONDS)
        except KeyError:
            raise KnobError(f"the domain {target[0][1]} is not defined any more") from None
        except VirtError as error:
            why = self.privilege.refused(error)
            raise KnobError(f"cannot change the configuration of {target[0][1]}: {why}") from error
        self._diffs[target] = change

    def remark(self, target: Target) -> str:
        """The diff of the last change."""
        return self._diffs.get(target, "")


def _target(domain: Persistent) -> Target:
    return (("domain", domain.name),)


class SharePages(NextBoot):
    __doc__ = NextBoot.__doc__
    name = "domain.share_pages"
    unit = Unit.SWITCH
    summary = "Whether KSM may merge the guest's memory from its next start on (0: `<nosharepages/>`)."
    lowest, highest = 0, 1

    @staticmethod
    def edit(xml: str, value: Value) -> str:
        """With or without `<nosharepages/>`."""
        return _edited(xml, "nosharepages", None if value else [])

    def of(self, backing: MemoryBacking) -> Live:
        """0 or 1."""
        return Live(value=int(not backing.nosharepages), low=self.lowest, high=self.highest)


class DomainHugepages(NextBoot):
    """Takes effect when the guest is started next; the running one is not touched. Domains that are off count, too.

    A size needs its pool on this host, and a start needs free pages in it: see `hugepages.pool`. A domain whose NUMA
    cells have sizes of their own is left alone. The ledger keeps the change of the XML as a diff.
    """

    name = "domain.hugepages"
    unit = Unit.WORD
    summary = "Hugepages for the guest's memory from its next start on: `none`, `default` or a size as `2MiB`."

    @staticmethod
    def edit(xml: str, value: Value) -> str:
        """With `<hugepages/>`, of the default size or of that which `value` says, or without."""
        if value == "none":
            return _edited(xml, "hugepages", None)
        if value == "default":
            return _edited(xml, "hugepages", [])
        size = {"size": str(size_bytes(str(value)) // 1024), "unit": "KiB"}
        return _edited(xml, "hugepages", [("page", size)])

    def of(self, backing: MemoryBacking) -> Live:
        """`none`, `default`, and the sizes of this host's pools."""
        state = hugepages.read(self._fs)
        sizes = [_size(pool.size_bytes) for pool in state.pools] if state else []
        value = hugepages_of(backing)
        refusal = "its NUMA cells have hugepages of their own: change them by hand" if value == "mixed" else None
        return Live(value=value, words=("none", *(["default", *sizes] if sizes else [])), refusal=refusal)
