"""docs/flags.md, made of the command lines of both programs. `make golden` writes it anew."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from actuator import commands
from exporter import arguments

PAGE = Path(__file__).parents[1] / "docs/flags.md"

_HEAD = """\
# Commands and flags

<!-- Written by `make golden` from the command lines of both programs: change these. -->

Every command of both programs, with its flags. `--help` after any of them says more and has examples; the same stands
in the man pages kvmtune-exporter(1) and kvmtune-actuator(1). A DURATION is written as in Prometheus: `15s`, `1m30s`, `2h`.
"""


def written() -> str:
    """The whole page."""
    sections = [_section(parser, parser.description or "") for parser in (arguments.command_line(), commands.parser())]
    return _HEAD + "".join(text for section in sections for text in section)


def _section(parser: argparse.ArgumentParser, purpose: str) -> Iterator[str]:
    yield f"\n## {parser.prog}\n\n{_sentence(purpose)}\n"
    rows = [row for action in parser._actions if (row := _row(parser, action))]
    if rows:
        yield "\n| argument | meaning |\n|---|---|\n" + "".join(rows)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield from _section(action.choices[choice.dest], choice.help or "")


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Empty for what every command has, or what has a section of its own."""
    if isinstance(action, argparse._HelpAction | argparse._VersionAction | argparse._SubParsersAction):
        return ""
    formatter = parser._get_formatter()
    value = formatter._format_args(action, action.dest.upper())
    names = [f"`{name} {value}`" if action.nargs != 0 else f"`{name}`" for name in action.option_strings]
    meaning = formatter._expand_help(action) if action.help else ""
    cells = [cell.replace("|", r"\|") for cell in (", ".join(names) or f"`{value}`", meaning)]
    return f"| {' | '.join(cells)} |\n"


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
