"""From pydantic's error records to sentences a person can act on: where in the file, what, what was expected."""

import functools
from typing import TYPE_CHECKING, Any

from flows.yaml_source import Source, Where
from tasks.foundations.words import suggest
from tasks.runtimes.accelerators import refuse_runtime
from tasks.runtimes.providers import BUILDS

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

# pydantic's error kinds -> what the field takes; kinds of wrong type only, not of wrong value.
EXPECTED = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list, [...]"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "a mapping, {key: value}"),
    "string_type": "text (in quotes, where YAML would read a number, a date or true)",
}
LIMITS = {
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be greater than {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be less than {lt:g}",
    "finite_number": "must be a finite number",
    "too_short": "needs at least {min_length} entry",
    "string_pattern_mismatch": "must be 1 to 63 lower-case letters, digits, - and _, and start with a letter or digit",
}


def sentences(error: "ValidationError", source: Source, schema: dict[str, Any]) -> list[str]:
    """Every mistake of a config, one sentence each, in the order of pydantic.

    Args:
        error: from validating the whole config.
        source: the file that it was read from.
        schema: JSON schema of the whole config, for the words that are possible.
    """
    found: dict[Where, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        found.setdefault(source.locate(detail["loc"], detail["type"] == "missing"), []).append(detail)
    lines = []
    for where, details in found.items():
        if _is_misspelt(where, found):
            continue
        inner = any(len(other) > len(where) and other[: len(where)] == where for other in found)
        lines += [sentence(source, where, text) for text in _texts(details, where, schema, inner)]
    return lines


def sentence(source: Source, where: Where, message: str) -> str:
    """One line for people: `digits.yaml:12: targets.cpu.threads: must be at least 1. Got 0` and a full stop."""
    place = ".".join(str(part) for part in where)
    end = "" if message.endswith(("?", ".")) else "."
    return f"{source.path}:{source.line(where)}: {place}: {message}{end}"


def nearest(word: str, known: list[str]) -> str:
    """` Did you mean X? Known: ...`, for the end of a sentence about an unknown word."""
    return f"{suggest(word, known)} Known: {', '.join(known)}."


def _is_misspelt(where: Where, found: "dict[Where, list[ErrorDetails]]") -> bool:
    """Whether a missing key stands beside itself, misspelt, which is said there."""
    if found[where][0]["type"] != "missing":
        return False
    unknown = [other for other, details in found.items() if details[0]["type"] == "extra_forbidden"]
    return any(other[:-1] == where[:-1] and suggest(str(other[-1]), [str(where[-1])]) for other in unknown)


def _texts(details: "list[ErrorDetails]", where: Where, schema: dict[str, Any], inner: bool) -> list[str]:
    """Where a value may be of several types, each of them complains; only what was meant by the value counts."""
    types = [detail for detail in details if _expected(detail)]
    values = [detail for detail in details if not _expected(detail)]
    texts = [_text(detail, where, schema) for detail in values]
    if types and not texts and not inner:
        got = types[0]["input"]
        words = [word for detail in types if detail["type"] == "literal_error" for word in _words(detail)]
        hint = nearest(got, words) if words and isinstance(got, str) and len(types) == 1 else ""
        expected = " or ".join(dict.fromkeys(_expected(detail) or "" for detail in types))
        texts = [f"{got!r} is not possible here.{hint}" if hint else f"expected {expected}. Got {shown(got)}."]
    return list(dict.fromkeys(texts))


def _expected(detail: "ErrorDetails") -> str | None:
    if detail["type"] == "literal_error":
        return " or ".join(_words(detail))
    return EXPECTED.get(detail["type"])


def _text(detail: "ErrorDetails", where: Where, schema: dict[str, Any]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys(_node(detail["loc"][:-1], schema), schema)
        return f"unknown key.{nearest(str(detail['loc'][-1]), known) if known else ''}"
    if kind == "missing":
        description = _node(detail["loc"], schema).get("description", "")
        return f"is missing. Expected: {description}" if description else "is missing"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _tag_text(detail, schema)
    if kind in LIMITS:
        return f"{LIMITS[kind].format(**context)}. Got {shown(detail['input'])}"
    return str(detail["msg"]).removeprefix("Value error, ")


def _tag_text(detail: "ErrorDetails", schema: dict[str, Any]) -> str:
    context = detail["ctx"]
    field = context["discriminator"].strip("'")
    if "tag" in context:
        tag, tags = context["tag"], _split(context["expected_tags"])
        elsewhere = refuse_runtime(tag, tags, list(BUILDS)) if field == "runtime" else None
        return elsewhere or f"{tag!r} is not a {field}.{nearest(tag, tags)}"
    known = _members(_node(detail["loc"], schema), schema)
    return f"says no {field}. Known: {', '.join(known)}"


def _words(detail: "ErrorDetails") -> list[str]:
    return _split(detail["ctx"]["expected"].replace(" or ", ", "))


def _split(words: str) -> list[str]:
    return [word.strip("' ") for word in words.split(",")]


def shown(value: object) -> str:
    """A value of the file in a sentence, as the file has it."""
    if value is None:
        return "nothing: give it a value or remove the key"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return ("a mapping" if isinstance(value, dict) else "a list") if value else "an empty one"
    return repr(value)


def _node(location: tuple[str | int, ...], schema: dict[str, Any]) -> dict[str, Any]:
    """The part of the JSON schema at a pydantic location."""
    return functools.reduce(lambda node, part: _step(node, part, schema), location, schema)


def _step(node: dict[str, Any], part: str | int, schema: dict[str, Any]) -> dict[str, Any]:
    for option in [node, *node.get("anyOf", [])]:
        member = _resolve(option, schema)
        mapping = member.get("discriminator", {}).get("mapping", {})
        values = [member.get("additionalProperties"), *member.get("patternProperties", {}).values()]
        if part in mapping:
            return _resolve({"$ref": mapping[part]}, schema)
        if part in member.get("properties", {}):
            return _resolve(dict(member["properties"][part]), schema)
        if isinstance(part, int) and "items" in member:
            return _resolve(dict(member["items"]), schema)
        if isinstance(part, str) and isinstance(values[-1], dict):
            return _resolve(values[-1], schema)
    return node  # the part names a union member that the schema does not spell out


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        beside = {key: value for key, value in node.items() if key != "$ref"}
        node = {**schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], **beside}
    return node


def _keys(node: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    options = [_resolve(option, schema) for option in (node, *node.get("anyOf", []))]
    return sorted({key for option in options for key in option.get("properties", {})})


def _members(node: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    options = [_resolve(option, schema) for option in (node, *node.get("anyOf", []))]
    return sorted({word for option in options for word in option.get("discriminator", {}).get("mapping", {})})
