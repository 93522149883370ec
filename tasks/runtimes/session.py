"""What every runtime of this menu promises, so that predictions, measurements and servers open models in one way.

A runtime is a target of the config: which library runs the model, with how many threads, on batches of which size.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, cast, runtime_checkable

import numpy as np
from pydantic import Field

from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.models.signature import Signature

Array = np.ndarray[Any, Any]
WORK_POOL = "Prefect work pool whose workers predict and measure, on a machine of the target's own. Left out: this one."
CostPerHour = Annotated[
    float | None,
    Field(
        gt=0,
        allow_inf_nan=False,
        description="What an hour of this hardware costs, in any currency: see cost_per_million.",
    ),
]


class Session(Protocol):
    """One opened model.

    Attributes:
        signature: names, dtypes and shapes as written beside the model.
        fixed_batch: the only batch size that the file accepts, or None where any will do.
    """

    signature: Signature
    fixed_batch: int | None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once.

        Args:
            inputs: signature name -> (batch, ...) of exactly the signature's dtype; see `tasks.models.rows.take`.

        Returns:
            Signature name -> (batch, ...), in the signature's order.
        """
        ...


@runtime_checkable
class Runtime(Protocol):
    """One choice of the menu: a `Record` with `runtime`, `threads`, `batch_size` and `cost_per_hour`.

    Attributes:
        form: what it opens in a model folder: `onnx` (`model.onnx`), `savedmodel` (`saved_model/`) or `litert`
            (`model.tflite`).
        library: the package that it imports.
        needless: packages that the library imports at its start though running a model needs none of them. A
            measuring process, which starts afresh for every round, leaves them out.
    """

    form: ClassVar[str]
    library: ClassVar[str]
    needless: ClassVar[tuple[str, ...]]

    @property
    def threads(self) -> int:
        """Threads inside one call."""
        ...

    @property
    def batch_size(self) -> int:
        """Rows of one call."""
        ...

    @property
    def work_pool(self) -> str | None:
        """Whose workers predict and measure; None for this machine."""
        ...

    @property
    def cost_per_hour(self) -> float | None:
        """What an hour of the hardware costs, None where nobody has said."""
        ...

    def options(self) -> dict[str, Any]:
        """The options that sessions are opened with, as JSON: stored in the bundle, used again by servers."""
        ...

    def environment(self) -> dict[str, str]:
        """Variables that a process of its own must have before the library is imported."""
        ...

    def prepare(self) -> None:
        """Import the library and set what holds for the whole process; a process of its own calls it before `open`.

        Raises:
            StepFailed: too late, the library is already at work in this process.
        """
        ...

    def open(self, folder: Path) -> Session:
        """Open the model in `folder`.

        Raises:
            InputError: the folder lacks the form, or the file has other inputs or outputs than `signature.json`.
            StepFailed: the library refuses the model.
        """
        ...


def as_runtime(target: Record) -> Runtime:
    """A target of the config seen through the contract.

    Raises:
        InputError: the record is no choice of this menu.
    """
    if not isinstance(target, Runtime):
        raise InputError(f"{type(target).__name__} is no runtime: a target is a choice of tasks/runtimes.")
    return cast("Runtime", target)


def read_signature(folder: Path, model: str) -> Signature:
    """The signature beside `folder/model`, once both are known to exist.

    Raises:
        InputError: one of the two is missing.
    """
    for part in (model, "signature.json"):
        if not (folder / part).exists():
            raise InputError(f"There is no {part} in {folder}: the folder does not hold a model of this form.")
    return Signature.read(folder)


def check_names(folder: Path, signature: Signature, inputs: set[str], outputs: set[str]) -> None:
    """Make sure that the file speaks of the same tensors as its signature.

    Raises:
        InputError: it does not.
    """
    for what, promised, found in (("inputs", signature.inputs, inputs), ("outputs", signature.outputs, outputs)):
        if set(promised) != found:
            raise InputError(
                f"The model in {folder} has the {what} {sorted(found)}, its signature says {sorted(promised)}. "
                "Export it again with the names of the signature."
            )


def one_line(error: Exception) -> str:
    """The message of a library's exception as one sentence of bearable length."""
    return " ".join(str(error).split())[:500]
