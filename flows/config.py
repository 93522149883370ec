"""The config of one model: assembles the rooms' schemas; `load` is the only reader of YAML.

Each section's schema lives with the code that reads it. No room sees the whole config.
"""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, StringConstraints, ValidationError

from flows.yaml_source import Source, Where, read
from tasks.evaluation.choice import Choose
from tasks.evaluation.gates import Gate
from tasks.evaluation.task import Task
from tasks.execution.settings import Execution
from tasks.foundations.errors import InputError
from tasks.foundations.menu import union
from tasks.foundations.record import Record
from tasks.training.config import TrainingConfig

if TYPE_CHECKING:
    ModelSource = Any
    DataSource = Any
    Technique = Any
    Target = Any
    ServingTarget = Any
else:
    ModelSource = union("tasks.models.sources")
    DataSource = union("tasks.data.sources")
    Technique = union("tasks.techniques")
    Target = union("tasks.runtimes", "runtime")
    ServingTarget = union("tasks.serving")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class Keep(Record):
    """How much `clean` leaves."""

    versions: int = Field(5, ge=2, description="Newest versions whose files stay, beside those in the stack.")
    releases: int = Field(20, ge=1, description="Newest releases whose reports stay.")


class Config(Record):
    """One model's way to production."""

    name: Name = Field(description="Model name in the registry, the journal and the serving folders.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of everything random.")
    task: Task = Field(description="What the outputs mean.")
    model: ModelSource = Field(description="Where the model comes from.")
    data: DataSource = Field(description="Where the data come from.")
    training: TrainingConfig | None = Field(None, description="How a built model is trained.")
    candidates: dict[Name, list[Technique]] = Field(
        default_factory=dict, description="Chains of techniques by name; float32, the empty chain, is always there."
    )
    targets: dict[Name, Target] = Field(min_length=1, description="Where the model will run, by name.")
    gates: list[Gate] = Field(default_factory=list, description="Limits that every candidate must keep.")
    choose: Choose = Field(default_factory=Choose, description="Objective among those that pass every gate.")
    serving: list[ServingTarget] = Field(default_factory=list, description="Serving targets that follow the champion.")
    execution: Execution = Field(default_factory=Execution, description="Processes, time limits, memory.")
    keep: Keep = Field(default_factory=Keep, description="What `clean` leaves.")
    allow_signature_change: bool = Field(
        False, description="Promote a version whose inputs or outputs differ from the champion's."
    )

    def chains(self) -> dict[str, list[Technique]]:
        """Every candidate's chain, `float32` first."""
        return {"float32": [], **self.candidates}


class Plan(Record):
    """A config with the place it came from.

    Attributes:
        path: absolute path of the YAML file.
        config: its content, with all defaults.
    """

    path: str
    config: Config

    @property
    def folder(self) -> Path:
        """The config's folder, where entrypoints are looked up."""
        return Path(self.path).parent


def load(path: Path | str) -> Plan:
    """Read and check a config wholly.

    Raises:
        InputError: every problem found, one a line: `file:line: where: what, and what was expected`.
    """
    from flows.config_checks import problems

    source = read(Path(path))
    try:
        config = Config.model_validate(source.content)
    except ValidationError as error:
        raise InputError("\n".join(_sentences(error, source))) from error
    plan = Plan(path=str(Path(path).resolve()), config=config)
    found = problems(plan)
    if found:
        raise InputError("\n".join(_sentence(source, where, message) for where, message in found))
    return plan


def _sentence(source: Source, where: Where, message: str) -> str:
    place = ".".join(str(part) for part in where)
    return f"{source.path}:{source.line(where)}: {place}: {message}"


def _sentences(error: ValidationError, source: Source) -> list[str]:
    lines = []
    for detail in error.errors(include_url=False):
        where = source.locate(detail["loc"])
        lines.append(_sentence(source, where, _message(dict(detail), source, where)))
    return sorted(set(lines), key=lines.index)


def _message(detail: dict[str, Any], source: Source, where: Where) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(str(where[-1]), detail["loc"])
    if kind == "missing":
        return "is missing."
    if kind == "union_tag_invalid":
        words = [word.strip("' ") for word in context["expected_tags"].split(",")]
        return f"{context['tag']!r} is not a {context['discriminator'].strip(chr(39))}.{nearest(context['tag'], words)}"
    if kind == "union_tag_not_found":
        return f"says no {context['discriminator'].strip(chr(39))}."
    if kind == "literal_error":
        words = [word.strip("' ") for word in context["expected"].replace(" or ", ", ").split(",")]
        return f"{detail['input']!r} is not possible here.{nearest(str(detail['input']), words)}"
    text = str(detail["msg"]).removeprefix("Value error, ")
    if isinstance(detail["input"], dict | list) or kind == "value_error":
        return f"{text}."
    return f"{text}. Got {detail['input']!r}."


def _unknown_key(key: str, location: tuple[str | int, ...]) -> str:
    known = _known_keys(location[:-1])
    return f"unknown key.{nearest(key, known)}" if known else "unknown key."


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """The keys that are possible at a pydantic location, found by walking the schema."""
    schema = Config.model_json_schema()
    node = schema
    for part in location:
        node = _step(_resolve(node, schema), part, schema)
    return sorted(_resolve(node, schema).get("properties", {}))


def _step(node: dict[str, Any], part: str | int, schema: dict[str, Any]) -> dict[str, Any]:
    for member in [node, *(_resolve(option, schema) for option in node.get("anyOf", []))]:
        if part in member.get("discriminator", {}).get("mapping", {}):
            return {"$ref": member["discriminator"]["mapping"][part]}
        if part in member.get("properties", {}):
            return dict(member["properties"][part])
        if isinstance(part, int) and "items" in member:
            return dict(member["items"])
        if isinstance(member.get("additionalProperties"), dict) and isinstance(part, str):
            return dict(member["additionalProperties"])
    return node  # the part names a union member that the schema does not spell out


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node


def nearest(word: str, known: list[str]) -> str:
    """` Did you mean X? Known: ...`, for the end of a sentence about an unknown word."""
    match = difflib.get_close_matches(word, known, n=1)
    hint = f" Did you mean {match[0]}?" if match else ""
    return f"{hint} Known: {', '.join(known)}."
