"""The README's list of every key, made of the schema, so that it cannot tell of keys that are not there."""

from collections.abc import Iterator
from typing import Any

from flows.config import Config

START, END = "<!-- keys: generated from the schema -->\n", "<!-- end of keys -->\n"


def render() -> str:
    """A table a section, folded; a table a choice where the section is a menu."""
    schema = Config.model_json_schema()
    parts: list[str] = []
    seen: set[str] = set()
    for name, field in schema["properties"].items():
        tables = [(title, node) for title, node in _tables(schema, field) if node["title"] not in seen]
        tables = list({node["title"]: (title, node) for title, node in tables}.values())
        seen |= {node["title"] for _, node in tables}
        parts.append(f"<details><summary><code>{name}</code>: {_plain(_described(schema, field))}</summary>\n")
        parts += [_table(schema, title, node) for title, node in tables] or [
            f"{_type(schema, field)}{_default(field)}\n"
        ]
        parts.append("</details>\n")
    return "\n".join(parts)


def _tables(schema: dict[str, Any], field: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(title, object) of everything that can stand under a key, menus within menus too."""
    for node in _objects(schema, field):
        yield _title(node), node
        for inner in node["properties"].values():
            yield from _tables(schema, inner)


def _objects(schema: dict[str, Any], field: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in field:
        return [schema["$defs"][field["$ref"].rpartition("/")[2]]]
    inner = [*field.get("oneOf", ()), *field.get("anyOf", ()), *field.get("patternProperties", {}).values()]
    inner += [field[key] for key in ("items", "additionalProperties") if isinstance(field.get(key), dict)]
    return [node for each in inner for node in _objects(schema, each)]


def _title(node: dict[str, Any]) -> str:
    for key in ("kind", "runtime"):
        if "const" in node["properties"].get(key, {}):
            return f"`{key}: {node['properties'][key]['const']}`. "
    return ""


def _table(schema: dict[str, Any], title: str, node: dict[str, Any]) -> str:
    about = _plain(node.get("description", ""))
    rows = [
        f"| `{name}` | {_type(schema, field)}{_default(field, name in node.get('required', ()))} | "
        f"{_plain(field.get('description', ''))} |"
        for name, field in node["properties"].items()
        if "const" not in field
    ]
    head = ["| key | value | |", "|---|---|---|"] if rows else []
    return "\n".join([f"{title}{about}", "", *head, *rows, ""])


def _described(schema: dict[str, Any], field: dict[str, Any]) -> str:
    own = field.get("description")
    return own or next((node.get("description", "") for node in _objects(schema, field)), "")


def _type(schema: dict[str, Any], field: dict[str, Any]) -> str:
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kinds = [*field.get("anyOf", ()), *field.get("oneOf", ())]
    if kinds:
        return " or ".join(dict.fromkeys(_type(schema, each) for each in kinds if each.get("type") != "null"))
    if "$ref" in field:
        return _title(schema["$defs"][field["$ref"].rpartition("/")[2]]).strip(". ") or "section"
    words = {"integer": "whole number", "object": "section by name", "array": "list", "boolean": "true or false"}
    return words.get(field.get("type", ""), field.get("type", "any")) + _bounds(field)


def _bounds(field: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {field[key]}" for key, sign in signs.items() if key in field]
    return f" {', '.join(found)}" if found else ""


def _default(field: dict[str, Any], required: bool = False) -> str:
    if required:
        return ", required"
    value = field.get("default")
    if value in (None, [], {}) or isinstance(value, dict):
        return ""
    return f", default `{str(value).lower() if isinstance(value, bool) else value}`"


def _plain(text: str) -> str:
    """One line, fit for a table."""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")
