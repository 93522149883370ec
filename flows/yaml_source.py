"""YAML with positions: an error that names the line is worth more than one that names the key."""

from pathlib import Path
from typing import Any

import yaml

from tasks.foundations.errors import InputError

Where = tuple[str | int, ...]


class Source:
    """A parsed YAML file that knows on which line each key and item stands.

    Attributes:
        path: the file.
        content: plain dicts, lists, strings, numbers, booleans and None.
    """

    def __init__(self, path: Path, content: dict[str, Any], lines: dict[Where, int]) -> None:
        self.path = path
        self.content = content
        self._lines = lines

    def line(self, where: Where) -> int:
        """Line (from 1) of the innermost part of `where` that stands in the file."""
        while where and where not in self._lines:
            where = where[:-1]
        return self._lines.get(where, 1)

    def locate(self, location: tuple[str | int, ...]) -> Where:
        """A pydantic error location as keys that stand in the file: names of union members are left out."""
        where: Where = ()
        for index, part in enumerate(location):
            if (*where, part) in self._lines or index == len(location) - 1:
                where = (*where, part)
        return where


def read(path: Path) -> Source:
    """Parse a YAML file of one mapping.

    Raises:
        InputError: missing, empty, not UTF-8, not valid YAML, a key twice, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"There is no config {path}. `python -m flows init NAME` writes one.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Where, int] = {}
        _walk(node, (), lines, path)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{_place(error, path)}: not valid YAML: {getattr(error, 'problem', error)}.") from error
    if not isinstance(content, dict):
        kind = "empty" if content is None else f"a {type(content).__name__}"
        raise InputError(f"{path}:1: the file is {kind}; expected a mapping with name, task, model, data, targets ...")
    return Source(path, content, lines)


def _walk(node: Any, where: Where, lines: dict[Where, int], path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*where, key.value)
            line = key.start_mark.line + 1
            if inner in lines:
                raise InputError(f"{path}:{line}: the key {key.value!r} stands twice (first on line {lines[inner]}).")
            lines[inner] = line
            _walk(value, inner, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*where, index)] = item.start_mark.line + 1
            _walk(item, (*where, index), lines, path)


def _place(error: yaml.YAMLError, path: Path) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{path}:{mark.line + 1}" if mark else str(path)
