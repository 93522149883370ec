"""YAML with positions: an error that names the line is worth more than one that names the key."""

from pathlib import Path
from typing import Any

import yaml

from tasks.foundations.errors import InputError

Where = tuple[str | int, ...]
MOST_ENTRIES = 20_000


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

    def locate(self, location: tuple[str | int, ...], missing: bool = False) -> Where:
        """A pydantic error location as keys that stand in the file: names of union members are left out.

        Args:
            location: of the error.
            missing: the last part is a key that should stand in the file and does not.
        """
        where: Where = ()
        for index, part in enumerate(location):
            if (*where, part) in self._lines or (missing and index == len(location) - 1):
                where = (*where, part)
        return where


def read(path: Path) -> Source:
    """Parse a YAML file of one mapping.

    Raises:
        InputError: missing, empty, not UTF-8, not valid YAML, a key twice, or not a mapping.
    """
    text = _text(path)
    lines: dict[Where, int] = {}
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _walk(loader, node, (), lines, path)
        content = loader.construct_document(node) if node else None
    except yaml.YAMLError as error:
        raise InputError(f"{path}:{_line(error, text)}: not valid YAML: {_problem(error)}.") from error
    except RecursionError as error:
        raise InputError(f"{path}:1: nested too deeply, or an anchor that contains itself.") from error
    if not isinstance(content, dict):
        kind = {type(None): "empty", list: "a list", str: "plain text"}.get(type(content), repr(content))
        raise InputError(f"{path}:1: the file is {kind}; expected a mapping with name, task, model, data, targets ...")
    return Source(path, content, lines)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"There is no config {path}. `python -m flows init NAME` writes one.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: the byte {content[error.start]:#x} is not UTF-8; save it as such.") from error


def _walk(loader: yaml.SafeLoader, node: Any, where: Where, lines: dict[Where, int], path: Path) -> None:
    if len(lines) > MOST_ENTRIES:  # anchors that multiply each other
        raise InputError(f"{path}:1: more than {MOST_ENTRIES:,} entries; a config has dozens.")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            inner = (*where, _key(loader, key, path))
            if inner in lines:
                raise InputError(f"{path}:{line}: the key {key.value!r} stands twice (first on line {lines[inner]}).")
            lines[inner] = line
            _walk(loader, value, inner, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*where, index)] = item.start_mark.line + 1
            _walk(loader, item, (*where, index), lines, path)


def _key(loader: yaml.SafeLoader, key: Any, path: Path) -> Any:
    if not isinstance(key, yaml.ScalarNode):
        raise InputError(f"{path}:{key.start_mark.line + 1}: a key must be one word, not a list or mapping.")
    return key.value if key.tag.endswith(":merge") else loader.construct_object(key)  # 8 and "8" are two keys


def _line(error: yaml.YAMLError, text: str) -> int:
    mark = getattr(error, "problem_mark", None)
    return int(mark.line) + 1 if mark else text.count("\n", 0, getattr(error, "position", 0)) + 1


def _problem(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if "'\\t'" in problem:
        return "a tab; indent with spaces"
    return str(problem).removeprefix("but ")
