"""The field type of a target in requests: travels as JSON between processes and comes back as the menu's own class."""

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from tasks.foundations.menu import choices
from tasks.foundations.record import Record
from tasks.foundations.worker_process import Kind

MENU = "tasks.runtimes"
NOT_COMPUTING = ("work_pool", "cost_per_hour")


def parse_target(value: Any) -> Any:
    """A mapping with `runtime` -> the record of that choice; anything else is left to the field's own validation.

    Raises:
        ValueError: no such runtime.
    """
    if not isinstance(value, dict):
        return value
    menu = choices(MENU, "runtime")
    word = value.get("runtime")
    if word not in menu:
        raise ValueError(f"runtime {word!r} is not one of {', '.join(menu)}")
    return menu[word].model_validate(value)


def computing(target: Record) -> dict[str, Any]:
    """What of a target decides results, as JSON: not where its machine is, nor what it costs."""
    return target.model_dump(mode="json", exclude=set(NOT_COMPUTING))


def worker_of(target: Record) -> Kind:
    """The kind of worker that may open a target: those with TensorFlow loaded see no accelerator."""
    return "keras3" if on_processor(target) else "plain"


def on_processor(target: Record) -> bool:
    """Whether the processor computes it, which other machines may have as well; else an accelerator of this one."""
    return bool(getattr(target, "provider", "cpu") == "cpu")


Target = Annotated[Record, BeforeValidator(parse_target), SerializeAsAny()]
