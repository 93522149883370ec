"""What one run may change of a config, the same on the command line and in the UI's form: few values, and flat."""

from typing import Annotated, Any

from pydantic import Field, ValidationError

from flows.config import Config, Plan
from flows.config_checks import problems
from tasks.execution.settings import Execution
from tasks.foundations.errors import InputError
from tasks.training.config import TrainingConfig

PLACES = {
    "seed": ("seed",),
    "epochs": ("training", "epochs"),
    "workers": ("execution", "workers"),
    "step_timeout_s": ("execution", "step_timeout_s"),
}
"""Name -> where it stands in a config."""


def _says(section: type[Config | TrainingConfig | Execution], name: str) -> str:
    return f"{section.model_fields[name].description} Empty: as the config says."


Seed = Annotated[int | None, Field(title="Seed", ge=0, lt=2**32, description=_says(Config, "seed"))]
Epochs = Annotated[int | None, Field(title="Epochs", ge=1, description=_says(TrainingConfig, "epochs"))]
Workers = Annotated[int | None, Field(title="Workers", ge=1, description=_says(Execution, "workers"))]
StepTimeout = Annotated[
    float | None, Field(title="Step timeout (s)", gt=0, description=_says(Execution, "step_timeout_s"))
]


def overridden(plan: Plan, overrides: dict[str, Any]) -> tuple[Plan, list[str]]:
    """A plan with some values changed for one run.

    Args:
        plan: as its file says.
        overrides: name -> value, see `PLACES`; None leaves what the file says.

    Returns:
        The plan, and a sentence for every value that is another than in the file.

    Raises:
        InputError: a value is impossible, or the config has no place for it.
    """
    content = plan.config.model_dump(mode="json", exclude_unset=True)
    notes = []
    for name, value in overrides.items():
        if value is None:
            continue
        *sections, key = PLACES[name]
        before = _now(plan.config, sections, key, name)
        inner = content
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = value
        if value != before:
            notes.append(f"{name} is {value} for this run; the config says {_shown(before)}")
    try:
        changed = plan.model_copy(update={"config": Config.model_validate(content)})
    except ValidationError as error:
        raise InputError("; ".join(_sentence(detail["loc"], detail["msg"]) for detail in error.errors())) from error
    found = problems(changed)
    if found:
        raise InputError("\n".join(_sentence(where, message) for where, message in found))
    return changed, notes


def _now(config: Config, sections: list[str], key: str, name: str) -> Any:
    place: Any = config
    for section in sections:
        place = getattr(place, section)
        if place is None:
            raise InputError(f"{name} cannot be given: {config.name} has no section `{section}`. Leave it out.")
    return getattr(place, key)


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)


def _sentence(where: tuple[Any, ...], message: str) -> str:
    return f"{'.'.join(map(str, where))}: {message}"
