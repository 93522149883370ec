"""A model that the user's own Python builds and Slipway trains: every architecture that Keras can express."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from tasks.foundations import entrypoints
from tasks.foundations.errors import InputError
from tasks.foundations.record import Record


class KerasBuilder(Record):
    """`build() -> keras.Model`, a function in a file beside the config; the model is trained by Slipway."""

    needs_training: ClassVar[bool] = True
    inference_only: ClassVar[bool] = False
    kind: Literal["keras_builder"]
    entrypoint: str = Field(description="file.py:function beside the config, called without arguments.")

    def problems(self, folder: Path) -> Iterator[tuple[str, str]]:
        """See the contract."""
        try:
            entrypoints.check(self.entrypoint, folder)
        except InputError as error:
            yield "entrypoint", str(error)

    def open(self, folder: Path, seed: int) -> Any:
        """Build the model; the same seed gives the same initial weights.

        Args:
            folder: the config's folder.
            seed: of Python, numpy and Keras.

        Returns:
            A built keras.Model (Keras 3), untrained.

        Raises:
            InputError: no such function, it raised, or it returned no built Keras 3 model.
        """
        import keras

        keras.utils.clear_session()  # counters in made-up names start anew, so that the same code gives the same names
        keras.utils.set_random_seed(seed)
        model = entrypoints.call(self.entrypoint, folder)
        _require_model(self.entrypoint, model)
        return model

    def source_digest(self, folder: Path) -> str:
        """sha256 over the entrypoint's file and what it imports from the config's folder."""
        return entrypoints.closure_digest(self.entrypoint, folder)


def _require_model(entrypoint: str, model: Any) -> None:
    import keras

    if model is None:
        raise InputError(f"{entrypoint} returned None. Expected a keras.Model; is a return missing?")
    if any(base.__module__.partition(".")[0] == "tf_keras" for base in type(model).__mro__):
        raise InputError(
            f"{entrypoint} returned a tf_keras (Keras 2) model. Expected Keras 3: build it with `import keras`."
        )
    if not isinstance(model, keras.Model):
        raise InputError(f"{entrypoint} returned {type(model).__name__}. Expected a keras.Model.")
    if not model.built or (isinstance(model, keras.Sequential) and not model.inputs):
        hint = (
            "Begin the Sequential with keras.Input(shape=...)."
            if isinstance(model, keras.Sequential)
            else "Call it once on an example batch before returning it."
        )
        raise InputError(f"{entrypoint} returned a model that is not built, so its inputs are not known. {hint}")
    if not model.weights:
        raise InputError(f"{entrypoint} returned a model without weights: there is nothing to train.")
