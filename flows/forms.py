"""The forms of Prefect's UI: a flow's own signature, with the titles and descriptions that stand in it.

Prefect takes bounds and defaults from a signature, but its titles are the parameters' bare names, and what may be None
becomes a choice between two types instead of a field that may stay empty.
"""

from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from prefect import Flow

AnyFlow = TypeVar("AnyFlow", bound="Flow[..., Any]")

Model = Annotated[str, Field(title="Model", description="Registered name.")]
Version = Annotated[int, Field(title="Version", ge=1, description="A version that passed its gates.")]
Reason = Annotated[str, Field(title="Reason", max_length=500, description="Why, for the journal.")]
DryRun = Annotated[bool, Field(title="Dry run", description="Only say what would be done; change nothing.")]


def readable(flow: AnyFlow) -> AnyFlow:
    """Give the parameters of a flow's form the titles and descriptions of their annotations, and let them be empty."""
    for name, parameter in signature(flow.fn).parameters.items():
        field = _may_be_empty(flow.parameters.properties[name])
        for said in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(said, FieldInfo):
                words = {"title": said.title, "description": said.description}
                field |= {key: word for key, word in words.items() if word}
        flow.parameters.properties[name] = field
    return flow


def _may_be_empty(field: dict[str, Any]) -> dict[str, Any]:
    """`one type or null, default null` as `one type, no default`."""
    types = [option for option in field.get("anyOf", []) if option != {"type": "null"}]
    if len(types) != 1 or field.get("default", "") is not None:
        return field
    return {**{key: value for key, value in field.items() if key not in ("anyOf", "default")}, **types[0]}


def form(flow: "Flow[..., Any]", lists: Mapping[str, list[str]]) -> dict[str, Any]:
    """JSON schema of a deployment's form.

    Args:
        flow: whose parameters they are.
        lists: parameter -> the values that it can take.
    """
    schema: dict[str, Any] = flow.parameters.model_dump_for_openapi()
    for name, values in lists.items():
        schema["properties"][name] = {**schema["properties"][name], "enum": values}
    return schema
