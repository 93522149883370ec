import numpy as np
import pytest
from parts import request, rows, weights

from tasks.bundle.warmup import FILE, write_warmup
from tasks.bundle.write import layout
from tasks.foundations.errors import StepFailed

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    from saved_model_parts import saved_model_winner

    root = tmp_path_factory.mktemp("savedmodel")
    return layout(request(root / "r", {"tfs": saved_model_winner(root / "w")})) / "targets/tfs"


def test_the_warm_up_file_replays_against_the_saved_model(target):
    from tensorflow_serving.apis import prediction_log_pb2

    served = tf.saved_model.load(str(target))
    records = list(tf.data.TFRecordDataset(str(target / FILE)).as_numpy_iterator())
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    fed = []
    for asked in requests:
        feeds = {name: tf.make_ndarray(tensor) for name, tensor in asked.inputs.items()}
        answers = served.signatures[asked.model_spec.signature_name](**{k: tf.constant(v) for k, v in feeds.items()})
        np.testing.assert_allclose(answers["scores"], feeds["image"] @ weights(0), rtol=1e-5)
        fed.append(feeds["image"])

    assert {asked.model_spec.name for asked in requests} == {"digits"}
    assert [len(image) for image in fed] == [1] * 16 + [8]  # every golden row alone, then a batch as the target's
    np.testing.assert_array_equal(np.concatenate(fed[:16]), rows())


def test_the_targets_folder_is_a_version_folder_of_tensorflow_serving(target):
    names = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())

    assert {"saved_model.pb", "variables/variables.index", FILE, "signature.json", "golden/golden.json"} <= set(names)


def test_more_records_than_the_server_accepts_are_refused(tmp_path):
    with pytest.raises(StepFailed, match="1001"):
        write_warmup(tmp_path, "digits", {"x": np.zeros((1001, 1), np.float32)})


def test_string_inputs_are_written(tmp_path):
    path = write_warmup(tmp_path, "digits", {"text": np.array(["yes", "nö"])})

    assert len(list(tf.data.TFRecordDataset(str(path)))) == 2
