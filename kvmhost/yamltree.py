"""YAML as nodes that know their place, so that every problem in a file is named with line and column (pure).

Scalars stay text: YAML's own guesses (`no` is false, `12:30:00` is 45000, the last duplicate key wins) never
reach a reader. Aliases and deep nesting are refused: no file needs them, and they can explode.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import yaml

Node = yaml.Node
T = TypeVar("T")

_MAX_DEPTH = 20
_MAX_CHARACTERS = 2**20


class _Mark(Protocol):
    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file; `line` and `column` count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a file; `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class InvalidConfig(Exception):  # noqa: N818 (it names the state of the files, and carries many errors)
    """All problems of all files at once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


def suggestion(word: str, known: Collection[str]) -> str:
    """` (did you mean 'x'?)`, or the known words when none is close."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(sorted(known))})"


class Tree:
    """One file being read. Its methods return what they can and note what they cannot in `problems`.

    `root` is None if there is nothing to read, which is a problem unless the file may be empty.
    """

    def __init__(self, file: str, text: str, *, may_be_empty: bool = False) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._may_be_empty = may_be_empty
        self.root = self._compose(text)

    def _compose(self, text: str) -> Node | None:
        if len(text) > _MAX_CHARACTERS:
            self._note(1, 1, f"the file is longer than {_MAX_CHARACTERS} characters")
            return None
        try:
            if not self._is_plain(text):
                return None
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self._note(line, column, f"not valid YAML: {error.problem or error.context}")
            return None
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            column = error.position - before.rfind("\n")
            self._note(before.count("\n") + 1, column, "not valid YAML: a character that YAML does not allow")
            return None
        except (ValueError, OverflowError):  # PyYAML's own slips, as on "\UFFFFFFFF"
            self._note(1, 1, "not valid YAML: an escape or a version number that YAML does not allow")
            return None
        if root is None and not self._may_be_empty:
            self._note(1, 1, "the file is empty")
        return root

    def _is_plain(self, text: str) -> bool:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                self._note_mark(event.start_mark, "YAML aliases are not supported: write the value out")
                return False
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                self._note_mark(event.start_mark, f"nested deeper than {_MAX_DEPTH} levels")
                return False
        return True

    def _note(self, line: int, column: int, message: str) -> None:
        self.problems.append(Problem(self.file, line, column, message))

    def _note_mark(self, mark: _Mark | None, message: str) -> None:
        self.problems.append(self._problem(mark, message))

    def _problem(self, mark: _Mark | None, message: str) -> Problem:
        assert mark is not None  # only nodes and events made without a text have none
        return Problem(self.file, mark.line + 1, mark.column + 1, message)

    def error(self, node: Node, message: str) -> None:
        """Note a problem at `node`."""
        self._note_mark(node.start_mark, message)

    def warn(self, node: Node, message: str) -> None:
        """Note in `warnings` what is not wrong at `node`, and may not be meant."""
        self.warnings.append(self._problem(node.start_mark, message))

    def where(self, node: Node) -> str:
        """`file:line` of a node."""
        return str(self._position(node))

    def positions(self, node: Node) -> dict[str, Position]:
        """Where a mapping stands (``""``) and each of its values, by key; those of a mapping in it by `key.key`."""
        found = {"": self._position(node)}
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            for inner, position in self.positions(value).items():
                found[f"{key.value}.{inner}" if inner else str(key.value)] = position
        return found

    def _position(self, node: Node) -> Position:
        return Position(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def keys(self, node: Node) -> set[str]:
        """The keys of a mapping, nothing noted; none if it is not one."""
        if not isinstance(node, yaml.MappingNode):
            return set()
        return {key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)}

    def entries(self, node: Node, what: str) -> dict[str, tuple[Node, Node]]:
        """Key -> (key node, value node) of a mapping; duplicates and keys that are not text are problems."""
        if not isinstance(node, yaml.MappingNode):
            self.error(node, f"{what} must be a mapping of keys to values")
            return {}
        found: dict[str, tuple[Node, Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.error(key, f"a key of {what} must be a word")
            elif key.value in found:
                first = found[key.value][0].start_mark.line + 1
                self.error(key, f"{key.value!r} stands twice in {what} (first on line {first})")
            else:
                found[key.value] = (key, value)
        return found

    def fields(
        self, node: Node, what: str, required: Collection[str], optional: Collection[str] = ()
    ) -> dict[str, Node]:
        """The values of a mapping whose keys are given; unknown and missing keys are problems."""
        entries = self.entries(node, what)
        known = {*required, *optional}
        for name, (key, _) in entries.items():
            if name not in known:
                self.error(key, f"unknown key {name!r} in {what}{suggestion(name, known)}")
        if isinstance(node, yaml.MappingNode):
            for name in required:
                if name not in entries:
                    self.error(node, f"{what} has no {name!r}")
        return {name: value for name, (_, value) in entries.items() if name in known}

    def items(self, node: Node | None, what: str) -> list[Node]:
        """The items of a sequence; none, and a problem, if it is not one."""
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.error(node, f"{what} must be a list (lines that start with '- ')")
            return []
        return list(node.value)

    def scalar(self, node: Node | None, what: str, parse: Callable[[str], T]) -> T | None:
        """`parse(text)` of a scalar; its `ValueError` is a problem at the node. None when there is none."""
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode):
            self.error(node, f"{what} must be a single value")
            return None
        if not node.value.strip():
            self.error(node, f"{what} is empty")
            return None
        try:
            return parse(node.value)
        except ValueError as error:
            self.error(node, f"{what}: {error}")
            return None
