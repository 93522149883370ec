"""A menu is a folder, a choice is a file, and the file's name is the word in the YAML.

One scan replaces registries and decorators: adding a technique, a runtime, a source or a serving target is adding
one file. Each file holds exactly one class whose discriminating field is a `Literal` of the file's name.
"""

import importlib
import inspect
import pkgutil
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field

from tasks.foundations.record import Record


@cache
def choices(package: str, field: str = "kind") -> dict[str, type[Record]]:
    """Scan a menu folder.

    Args:
        package: dotted name of the folder, `tasks.techniques` for example. Names that start with `_` are skipped,
            and so are files without a class of the menu (the menu's own grammar, protocols).
        field: the discriminating field, `kind` or `runtime`.

    Returns:
        Choice name -> class, sorted by name.

    Raises:
        TypeError: a file holds a choice under another name than its own.
    """
    folder = importlib.import_module(package)
    found: dict[str, type[Record]] = {}
    for module_info in sorted(pkgutil.iter_modules(folder.__path__), key=lambda info: info.name):
        if module_info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package}.{module_info.name}")
        for choice in _choices_in(module, field):
            (word,) = get_args(choice.model_fields[field].annotation)
            if word != module_info.name:
                raise TypeError(f"{module.__name__}.{choice.__name__} is called {word!r}: name the file {word}.py")
            found[word] = choice
    return found


def union(package: str, field: str = "kind") -> Any:
    """The discriminated union of a menu's choices, to annotate a config field with."""
    members = tuple(choices(package, field).values())
    if len(members) == 1:
        return members[0]
    return Annotated[Union[members], Field(discriminator=field)]  # noqa: UP007 - built at run time


def _choices_in(module: Any, field: str) -> list[type[Record]]:
    return [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__
        and issubclass(member, Record)
        and field in member.model_fields
        and get_origin(member.model_fields[field].annotation) is Literal
    ]
