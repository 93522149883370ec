"""YAML with positions: an error that names the line is worth more than one that names the key."""

from pathlib import Path
from typing import Any

import yaml

from tasks.foundations.errors import InputError

Where = tuple[str | int, ...]
MOST_BYTES = 1_000_000
MOST_ENTRIES = 20_000
MOST_LEVELS = 100
TOO_MANY = f"more than {MOST_ENTRIES:,} entries; a config has dozens."
TOO_DEEP = "nested too deeply, or an anchor that contains itself."


class _Loader(yaml.SafeLoader):
    """Stops early where the file cannot be a config: its pure Python takes seconds for every 100,000 entries."""

    nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.nodes += 1
        if self.nodes > MOST_ENTRIES:
            raise _NoConfig(self.line + 1, TOO_MANY)
        return super().compose_node(parent, index)

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level >= MOST_LEVELS:
            raise _NoConfig(self.line + 1, TOO_DEEP)
        super().fetch_flow_collection_start(token)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError) as error:  # a date that is none, for example
            raise _NoConfig(
                node.start_mark.line + 1, f"{str(node.value)[:40]!r} cannot be read: {error}. Quote it."
            ) from error


class _NoConfig(Exception):
    """(line, what is wrong with it)."""


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
        InputError: missing, empty, too large, not UTF-8, not valid YAML, a key twice, or not a mapping.
    """
    text = _text(path)
    lines: dict[Where, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        _walk(loader, node, (), lines, path)
        content = loader.construct_document(node) if node else None
    except yaml.YAMLError as error:
        raise InputError(f"{path}:{_line(error, text)}: not valid YAML: {_problem(error)}.") from error
    except _NoConfig as error:
        raise InputError("{}:{}: {}".format(path, *error.args)) from error
    except RecursionError as error:
        raise InputError(f"{path}:1: {TOO_DEEP}") from error
    if not isinstance(content, dict):
        kind = {type(None): "empty", list: "a list", str: "plain text"}.get(type(content), repr(content))
        raise InputError(f"{path}:1: the file is {kind}; expected a mapping with name, task, model, data, targets ...")
    return Source(path, content, lines)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"There is no config {path}. `python -m flows init NAME` writes one.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > MOST_BYTES:
        raise InputError(f"{path} is larger than 1 MB; a config has a few kB. Is it another file, data for example?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: the byte {content[error.start]:#x} is not UTF-8; save it as such.") from error


def _walk(loader: yaml.SafeLoader, node: Any, where: Where, lines: dict[Where, int], path: Path) -> None:
    if len(lines) > MOST_ENTRIES:  # anchors that multiply each other
        raise InputError(f"{path}:1: {TOO_MANY}")
    if isinstance(node, yaml.MappingNode):
        for key, value in sorted(node.value, key=_is_merge):
            line = key.start_mark.line + 1
            inner = (*where, _key(loader, key, path))
            if inner in lines:
                raise InputError(f"{path}:{line}: the key {key.value!r} stands twice (first on line {lines[inner]}).")
            lines[inner] = line
            _walk(loader, value, inner, lines, path)
            if _is_merge((key, value)):
                _walk_merged(loader, value, where, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*where, index)] = item.start_mark.line + 1
            _walk(loader, item, (*where, index), lines, path)


def _walk_merged(loader: yaml.SafeLoader, node: Any, where: Where, lines: dict[Where, int], path: Path) -> None:
    """A key taken over with `<<` stands where it is written, unless the mapping has its own."""
    mappings = node.value if isinstance(node, yaml.SequenceNode) else [node]
    pairs = [pair for mapping in mappings if isinstance(mapping, yaml.MappingNode) for pair in mapping.value]
    for key, value in sorted(pairs, key=_is_merge):
        inner = (*where, _key(loader, key, path))
        if _is_merge((key, value)):
            _walk_merged(loader, value, where, lines, path)
        elif inner not in lines:
            lines[inner] = key.start_mark.line + 1
            _walk(loader, value, inner, lines, path)


def _is_merge(pair: Any) -> bool:
    return bool(pair[0].tag.endswith(":merge"))


def _key(loader: yaml.SafeLoader, key: Any, path: Path) -> Any:
    if not isinstance(key, yaml.ScalarNode):
        raise InputError(f"{path}:{key.start_mark.line + 1}: a key must be one word, not a list or mapping.")
    return key.value if _is_merge((key, None)) else loader.construct_object(key)  # 8 and "8" are two keys


def _line(error: yaml.YAMLError, text: str) -> int:
    mark = getattr(error, "problem_mark", None)
    return int(mark.line) + 1 if mark else text.count("\n", 0, getattr(error, "position", 0)) + 1


def _problem(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    if "'\\t'" in problem:
        return "a tab; indent with spaces"
    return str(problem).removeprefix("but ")
