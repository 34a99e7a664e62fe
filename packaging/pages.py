"""Man pages and shell completions of both programs, made of their command lines: `python packaging/pages.py DIR`.

DIR gets what belongs below /usr/share: man/man1, and the directories where bash, zsh and fish look for completions.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from actuator import commands
from exporter import arguments

COMPLETIONS = {
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}

# What stands in NAME, by which apropos finds a page.
PROGRAMS = {
    "Prometheus exporter of KVM memory and CPU placement": arguments.command_line,
    "tunes a KVM host by PromQL rules": commands.parser,
}

_FILES = r"""
.TP
.I /etc/kvmtune/exporter.env, /etc/kvmtune/actuator.env
flags of the services
.TP
.I /etc/kvmtune/rules, /etc/kvmtune/policy.yml
the actuator's rules, and the limits that no rule can exceed
.TP
.I /var/lib/kvmtune
what the actuator has changed, and what it has learned of its rules
"""
_SEE_ALSO = r"""
.BR kvmtune\-exporter (1),
.BR kvmtune\-actuator (1),
.I /usr/share/doc/kvmtune
"""


def files() -> Iterator[tuple[str, str]]:
    """Path below share/ and content of each file."""
    for purpose, make in PROGRAMS.items():
        parser = make()
        yield f"man/man1/{parser.prog}.1", man_page(parser, purpose)
        parser = make()
        _complete_paths(parser)
        for shell, path in COMPLETIONS.items():
            yield path.format(parser.prog), shtab.complete(parser, shell)


def man_page(parser: argparse.ArgumentParser, purpose: str) -> str:
    """In man(7)'s format, the commands included."""
    page = Manpage(parser, format="single-commands-section")
    page.description = purpose
    page.source, page.manual = f"kvmtune {arguments.VERSION}", "kvmtune"
    page.add_section("files", "=", _FILES.strip())
    page.add_section("see also", "=", _SEE_ALSO.strip())
    # The library leaves a dot at the start of a wrapped line, as of `.gz`, to be taken for a macro.
    return re.sub(r"^\.(?!(nf|fi|sp|br)\b)(?=[a-z])", r"\&.", str(page), flags=re.M)


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Have shells offer files and directories where an option or argument is one."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_paths(command)
        elif action.metavar in ("DIR", "FILE", "PATH") and not action.choices:
            action.complete = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE


if __name__ == "__main__":
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}  # by which argparse would go
    for name, text in files():
        target = Path(sys.argv[1]) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
