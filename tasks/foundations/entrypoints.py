"""User code named in the YAML as `file.py:function`.

`check` must find it without running it, so presence is established by parsing; only workers import it. The digest of
every module that it imports from the config's folder is part of the keys of what follows from it.
"""

import ast
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.foundations.errors import InputError, SlipwayError
from tasks.foundations.words import suggest

# A user's `sys.exit(3)` must not end a release as if a gate had refused it.
SLIPWAY = Path(__file__).resolve().parents[1]
RAISED = (Exception, SystemExit, KeyboardInterrupt)


def split(entrypoint: str) -> tuple[str, str]:
    """`digits.py:build` -> (`digits.py`, `build`).

    Raises:
        InputError: not of the form `file.py:function`.
    """
    file, colon, function = entrypoint.partition(":")
    if not colon or not file.endswith(".py") or not function.isidentifier():
        raise InputError(f"{entrypoint!r} is not an entrypoint. Expected file.py:function, e.g. digits.py:build.")
    return file, function


def check(entrypoint: str, folder: Path) -> None:
    """Find the function by parsing the file, never by running it.

    Raises:
        InputError: no such file, its name hides a module, it does not parse, or it defines no such name at its top
            level.
    """
    file, function = split(entrypoint)
    path, tree = _parsed(file, folder, entrypoint)
    names = sorted(set(_top_level_names(tree)))
    if function not in names:
        found = ", ".join(sorted(set(_top_level_names(tree, imported=False)))) or "nothing"
        raise InputError(
            f"{entrypoint}: {path} defines no {function!r} at its top level.{suggest(function, names)} "
            f"It defines: {found}."
        )


def check_module(file: str, folder: Path) -> None:
    """Whether a file of the user's, `layers.py`, could be imported; found by parsing, never by running it.

    Raises:
        InputError: not a `.py` file, no such file, its name hides a module, or it does not parse.
    """
    if not file.endswith(".py"):
        raise InputError(f"{file!r} is not a Python file. Expected one beside the config, e.g. layers.py.")
    _parsed(file, folder, file)


def _parsed(file: str, folder: Path, named: str) -> tuple[Path, ast.Module]:
    path = folder / file
    if not path.is_file():
        meant = suggest(path.name, (each.name for each in path.parent.glob("*.py")))
        raise InputError(f"{named}: there is no file {path}.{meant} Paths are relative to the config's folder.")
    if is_taken(path.stem):
        raise InputError(f"{named}: {file} would hide the installed module {path.stem!r}. Rename the file.")
    try:
        return path, ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{named}: {path} is not valid Python: {error}.") from error


def is_taken(name: str) -> bool:
    """Whether a file `name.py` on the module path would hide a module of Python or of an installed library."""
    if name in sys.stdlib_module_names or name in sys.builtin_module_names:
        return True
    spec = importlib.util.find_spec(name) if name.isidentifier() and not name.startswith("__") else None
    return spec is not None and spec.origin is not None and "site-packages" in Path(spec.origin).parts


def load(entrypoint: str, folder: Path) -> Callable[..., Any]:
    """Import the file and return the function. The folder is put on `sys.path` so that the file's siblings import.

    Raises:
        InputError: the file raises while it is imported, or has no such callable.
    """
    check(entrypoint, folder)
    file, function = split(entrypoint)
    module = _imported(file, folder, entrypoint)
    target = getattr(module, function, None)
    if not callable(target):
        raise InputError(f"{entrypoint}: {function!r} is not callable but {type(target).__name__}.")
    return target  # type: ignore[no-any-return]


def load_module(file: str, folder: Path) -> Any:
    """Import a file of the user's for what its import does (registering layers), and return the module.

    Raises:
        InputError: it cannot be imported, or raises while it is.
    """
    check_module(file, folder)
    return _imported(file, folder, file)


def _imported(file: str, folder: Path, named: str) -> Any:
    path = (folder / file).resolve()
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    name = ".".join(Path(file).with_suffix("").parts)
    module = sys.modules.get(name)
    if module is None or Path(getattr(module, "__file__", None) or "").resolve() != path:
        module = _import(name, path, named)
    return module


def call(entrypoint: str, folder: Path, *args: Any) -> Any:
    """Load and call; an exception of the user's code becomes one sentence with its own place in the user's file.

    Raises:
        InputError: the user's code raised.
    """
    function = load(entrypoint, folder)
    try:
        return function(*args)
    except (InputError, MemoryError):
        raise
    except RAISED as error:
        raise InputError(f"{entrypoint} raised {type(error).__name__}: {error}{place_of(error, folder)}.") from error


@contextmanager
def blaming(what: str, folder: Path) -> Iterator[None]:
    """Turn an exception that began in the user's own code, called by a library, into one sentence with its place.

    Args:
        what: during which the code ran, `training`.
        folder: the config's folder.

    Raises:
        InputError: the user's code raised; what a library raised passes unchanged.
    """
    try:
        yield
    except RAISED as error:
        place = "" if isinstance(error, SlipwayError | MemoryError) else place_of(error, folder)
        if not place:
            raise
        raise InputError(f"{what}: your code raised {type(error).__name__}: {error}{place}.") from error


def closure_digest(entrypoint: str, folder: Path) -> str:
    """sha256 over an entrypoint's file and every file of `folder` that it imports, found by parsing.

    It does not depend on what else this process has imported, so it is the same in every worker. Imports by computed
    names are not seen.

    Raises:
        InputError: the entrypoint's file is missing or does not parse.
    """
    check(entrypoint, folder)
    return module_digest(split(entrypoint)[0], folder)


def module_digest(file: str, folder: Path) -> str:
    """sha256 over a file of the user's and every file of `folder` that it imports; see `closure_digest`."""
    root = folder.resolve()
    found: set[Path] = set()
    waiting = [(root / file).resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imported_files(path, (root, path.parent)))
    digest = hashlib.sha256()
    for name, content in sorted((os.path.relpath(path, root), path.read_bytes()) for path in found):
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def _imported_files(file: Path, roots: tuple[Path, ...]) -> list[Path]:
    names: list[str] = []
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # importing it says so better
        return []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names.extend([module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)])
    candidates = [root.joinpath(*name.split(".")) for root in roots for name in names if name]
    files = [place for path in candidates for place in (path.with_suffix(".py"), path / "__init__.py")]
    return [place.resolve() for place in files if place.is_file()]


def _import(name: str, path: Path, entrypoint: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # noqa: S101 - a .py path always has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except RAISED as error:
        del sys.modules[name]
        raise InputError(
            f"{entrypoint}: importing {path.name} raised {type(error).__name__}: {error}{place_of(error, path.parent)}."
        ) from error
    return module


def place_of(error: BaseException, folder: Path) -> str:
    """The innermost line of the user's own code below a folder, ` (digits.py, line 12)`, or nothing."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        own = file.is_absolute() and file.resolve().is_relative_to(folder.resolve())
        if own and "site-packages" not in file.parts and not file.resolve().is_relative_to(SLIPWAY):
            place = f" ({file.name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place


def _top_level_names(tree: ast.Module, imported: bool = True) -> list[str]:
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names.extend(target.id for target in node.targets if isinstance(target, ast.Name))
        elif imported and isinstance(node, ast.ImportFrom | ast.Import):
            names.extend(alias.asname or alias.name for alias in node.names)
    return names
