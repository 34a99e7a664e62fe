"""The configuration that ships with the program, and that of the operator, which replaces it file by file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from actuator.rules import policy

CONFIG = Path("/etc/kvmtune")
RULES, POLICY = "rules", "policy.yml"

_SHIPPED = {RULES: Path(__file__).with_name("shipped"), POLICY: policy.DEFAULT_PATH}


def in_force(name: str, config: Path = CONFIG) -> Path:
    """`RULES` or `POLICY`: the operator's, if `config` has it, else what ships."""
    try:
        (config / name).stat()
    except (FileNotFoundError, NotADirectoryError):
        return _SHIPPED[name]
    except OSError:
        pass  # it is there: who reads it says why that cannot be
    return config / name


def copy(config: Path) -> Iterator[Path]:
    """Put what ships into `config`, but for what is there already; gives each file once it is written. `OSError`."""
    copies = {_SHIPPED[POLICY]: config / POLICY}
    copies |= {rule: config / RULES / rule.name for rule in sorted(_SHIPPED[RULES].glob("*.yml"))}
    there = {path for path in (config / POLICY, config / RULES) if path.exists()}
    for source, target in copies.items():
        if there.isdisjoint((target, target.parent)):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            yield target
