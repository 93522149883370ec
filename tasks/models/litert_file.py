"""`model.tflite`, opened by LiteRT's interpreter and called by name, with as many rows as come."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.foundations.errors import StepFailed
from tasks.models.saved_model import ENDPOINT

MODEL_FILE = "model.tflite"

Array = np.ndarray[Any, Any]


class Interpreted:
    """An opened file, for one caller at a time.

    Args:
        path: the file.
        threads: of one call; XNNPACK, which LiteRT uses by itself, has its own.

    Attributes:
        inputs, outputs: signature name -> number of its tensor.
        fixed_batch: the only batch size that the file accepts, or None where any will do.

    Raises:
        StepFailed: LiteRT cannot open it, or it has no signature `serving_default`.
    """

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            runner = self._interpreter.get_signature_runner(ENDPOINT)
            details = runner.get_input_details()
            outputs = runner.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise StepFailed(f"LiteRT cannot open {path}: {_one_line(error)}") from error
        del runner  # the interpreter refuses to resize anything while it lives
        self.inputs: dict[str, int] = {name: each["index"] for name, each in details.items()}
        self.outputs: dict[str, int] = {name: each["index"] for name, each in outputs.items()}
        batches = {int(each["shape_signature"][0]) for each in details.values() if len(each["shape_signature"])} - {-1}
        self.fixed_batch = batches.pop() if batches else None
        self._shapes: dict[str, tuple[int, ...]] = {}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once.

        Args:
            inputs: signature name -> (batch, ...) of exactly the signature's dtype.

        Returns:
            Signature name -> (batch, ...).

        Raises:
            StepFailed: LiteRT cannot run it.
        """
        try:
            self._fit({name: array.shape for name, array in inputs.items()})
            for name, array in inputs.items():
                self._interpreter.set_tensor(self.inputs[name], array)
            self._interpreter.invoke()
            return {name: self._interpreter.get_tensor(index) for name, index in self.outputs.items()}
        except (ValueError, RuntimeError) as error:
            self._shapes = {}
            raise StepFailed(f"LiteRT failed while running the model: {_one_line(error)}") from error

    def _fit(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Make room for other shapes than those before."""
        if shapes == self._shapes:
            return
        for name, shape in shapes.items():
            self._interpreter.resize_tensor_input(self.inputs[name], shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
