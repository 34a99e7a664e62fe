"""docs/metrics.md, made of what the collectors give of the fixture hosts: no metric without its place in the docs.

The actuator knows by the same what rules can ask for (actuator/lint/exported.txt).

`make golden` writes it anew.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from exporter import collector, collectors, exporter
from exporter.collectors import all_collectors
from exporter.table import Family, Row
from tests.golden import HOSTS, NOW, exporter_of

PAGE = Path(__file__).parents[1] / "docs/metrics.md"
LIST = Path(__file__).parents[1] / "actuator/lint/exported.txt"

MODULES = {name: getattr(collectors, name) for name in all_collectors()} | {
    "about each collector": collector,
    "about the exporter": exporter,
}

_HEAD = """\
# Metrics of kvmtune-exporter

<!-- Written by `make golden` from the code and the fixture hosts in tests/hosts: change those. -->

Every metric, by collector. `--no-collector.NAME` switches one off. Sizes are bytes, times seconds, shares ratios
from 0 to 1; what ends in `_total` only grows. Beside these there are `process_*` about the exporter's own main process. **Absent is not zero:** what the kernel, libvirt or the guest does not
say, or what this user may not read, is not published, and the log says once what is missing and what would grant it.

Series of a guest have the labels `domain` (its name) and `uuid`; all words about it are on `kvm_domain_info`:

```promql
kvm_domain_memory_rss_bytes * on (domain, uuid) group_left (title, os) kvm_domain_info
```

"""


def written() -> str:
    """The whole page."""
    found = shown()
    return _HEAD + "\n".join(_section(name, module, found) for name, module in MODULES.items())


def shown() -> dict[str, tuple[Family, str]]:
    """Each family that some fixture host has, with the names of its labels."""
    found: dict[str, tuple[Family, str]] = {}
    for host in HOSTS:
        for family in exporter_of(host).families(NOW, within_seconds=60):
            found.setdefault(family.name, (family, ", ".join(re.findall(r'[{,](\w+)="', family.text.split("\n")[0]))))
    return found


def listed() -> str:
    """A line for each metric, with all labels that it has on some fixture host."""
    found: dict[str, set[str]] = {}
    for host in HOSTS:
        for family in exporter_of(host).families(NOW, within_seconds=60):
            # A label's value may hold anything, but in it a quote has a backslash before it.
            words = re.sub(r'"(?:[^"\\]|\\.)*"', '""', family.text)
            found.setdefault(family.name, set()).update(re.findall(r'(\w+)=""', words))
    return "".join(f"{' '.join([name, *sorted(labels)])}\n" for name, labels in sorted(found.items()))


def rows(module: ModuleType) -> Iterator[str]:
    """The names in all tables of a module."""
    for value in vars(module).values():
        if isinstance(value, tuple):
            yield from (one.name for one in value if isinstance(one, Row))


def _section(name: str, module: ModuleType, found: dict[str, tuple[Family, str]]) -> str:
    lines = [
        f"## {name}",
        "",
        inspect.getdoc(module) or "",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for row in rows(module):
        family, labels = found[row]
        meaning = family.meaning.replace("|", r"\|")
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {meaning} |")
    return "\n".join(lines) + "\n"
