import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.foundations.errors import InputError, StepFailed
from tasks.models.signature import Signature, TensorSpec
from tasks.runtimes.tensorflow import TensorFlow

ONE = TensorFlow(runtime="tensorflow")


def test_threads_asked_for_too_late_are_refused(tiny_saved_model: Path) -> None:
    ONE.open(tiny_saved_model).run({"x": np.zeros((1, 4), np.float32)})

    with pytest.raises(StepFailed, match=r"already at work in this process, so 3 thread\(s\) cannot be set"):
        TensorFlow(runtime="tensorflow", threads=3).prepare()


def test_a_saved_model_without_the_signature_is_refused_with_those_it_has(tmp_path: Path) -> None:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path / "saved_model"))
    spec = TensorSpec(dtype="float32", shape=(None, 4))
    Signature(inputs={"x": spec}, outputs={"y": spec}).write(tmp_path)

    with pytest.raises(InputError, match=r"has the signatures \[\], not 'serving_default'"):
        ONE.open(tmp_path)


def test_a_damaged_saved_model_fails_with_one_sentence(tiny_saved_model: Path, tmp_path: Path) -> None:
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").write_bytes(b"nothing")
    (tmp_path / "signature.json").write_bytes((tiny_saved_model / "signature.json").read_bytes())

    with pytest.raises(StepFailed, match="TensorFlow .* cannot load"):
        ONE.open(tmp_path)


@pytest.mark.parametrize("how", ["export", "save"])
def test_a_model_exported_by_keras_opens_in_a_process_that_imported_tensorflow_without_keras(
    how: str, tmp_path: Path, weights: Any, lean: Callable[[str], str]
) -> None:
    import keras
    import tensorflow as tf

    feed = keras.Input((4,), name="x")
    model = keras.Model(feed, keras.layers.Dense(3, use_bias=False)(keras.layers.LayerNormalization()(feed)))
    if how == "export":
        model.export(tmp_path / "saved_model", verbose=False)
    else:
        tf.saved_model.save(model, str(tmp_path / "saved_model"))
    function = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    spec = TensorSpec(dtype="float32", shape=(None, 4))
    Signature(
        inputs=dict.fromkeys(function.structured_input_signature[1], spec),
        outputs=dict.fromkeys(function.structured_outputs, spec),
    ).write(tmp_path)
    rows = np.arange(8, dtype=np.float32).reshape(2, 4) ** 2

    found = lean(
        "import numpy as np, pathlib;"
        f"session = runtime.open(pathlib.Path({str(tmp_path)!r}));"
        "rows = np.arange(8, dtype=np.float32).reshape(2, 4) ** 2;"
        "(output,) = session.run(dict.fromkeys(session.signature.inputs, rows)).values();"
        "print(output.tolist())"
    )

    np.testing.assert_allclose(np.array(json.loads(found)), model(rows), rtol=1e-5)


@pytest.fixture
def lean() -> Callable[[str], str]:
    """Runs code in a process that has imported TensorFlow as a measuring process does; `runtime` is the target."""

    def run(code: str) -> str:
        start = (
            "import sys; from tasks.runtimes._child import import_lean;"
            "from tasks.runtimes.tensorflow import TensorFlow; runtime = TensorFlow(runtime='tensorflow');"
            "import_lean(runtime); assert 'keras' not in sys.modules;"
        )
        done = subprocess.run([sys.executable, "-c", start + code], stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip().splitlines()[-1]

    return run
