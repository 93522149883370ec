"""What a Keras file needs beyond Keras itself, read off the file.

A worker does not import the user's classes, so opening such a model fails at the first of them, as if the file were
damaged. The file says which there are, and no technique that trains could take them.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.models.bridge.refusal import Unsupported, refuse

ADVICE = "Replace it by what keras has"


def refuse_foreign(path: Path) -> None:
    """Stop at a `.keras` file that holds classes or functions of the user, or Lambda layers.

    Raises:
        NotApplicable: naming every one of them.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    found = {}
    for each in _objects(config):
        reason = _reason(each)
        if reason:
            found[each["class_name"], _name(each)] = Unsupported(reason, ADVICE)
    refuse(found)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Everything that Keras wrote down as an object of some class, at any depth."""
    if isinstance(value, dict):
        if "class_name" in value and isinstance(value.get("module"), str):
            yield value
        for each in value.values():
            yield from _objects(each)
    elif isinstance(value, list):
        for each in value:
            yield from _objects(each)


def _reason(written: dict[str, Any]) -> str:
    home, kind = written["module"].split(".")[0], written["class_name"]
    if home == "keras":
        return "its function is Python code that cannot be reopened safely" if kind == "Lambda" else ""
    if kind.startswith("__"):
        return ""
    return f"{written.get('registered_name') or kind} is not of Keras itself but of the module {written['module']}"


def _name(written: dict[str, Any]) -> str:
    config = written.get("config")
    return str(config.get("name", "")) if isinstance(config, dict) else str(config)
