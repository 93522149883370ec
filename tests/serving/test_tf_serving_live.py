"""Moves as a running server and its clients see them, under both ways to choose a version.

The server is the stand-in (see there what it takes over from the real one) and, where there is a
`tensorflow_model_server` on the PATH, that one too. SavedModels, warm-up records, files and gRPC are real.
"""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tf_serving_stand_in import Failed, Options, StandIn

from tasks.bundle.golden import Origin, make_golden
from tasks.bundle.manifest import FileEntry
from tasks.bundle.warmup import FILE as WARMUP
from tasks.bundle.warmup import write_warmup
from tasks.foundations.errors import NotServing, Refused, SlipwayError
from tasks.models.signature import Signature, TensorSpec
from tasks.serving import tf_serving_trial
from tasks.serving.pointer import Pointer
from tasks.serving.staging import Payload
from tasks.serving.tf_serving import TfServing
from tasks.serving.tf_serving_status import CallFailed, connected
from tasks.store.digest import digest_file, digest_folder, list_files

HOME = Path(__file__).parents[2]
BINARY = shutil.which("tensorflow_model_server")
SIGNATURE = Signature(
    inputs={"image": TensorSpec(dtype="float32", shape=(None, 4))},
    outputs={"scores": TensorSpec(dtype="float32", shape=(None, 3))},
)
ROWS = np.random.default_rng(7).normal(size=(16, 4)).astype(np.float32)
LABELLED = {"max_num_load_retries": 0, "allow_version_labels_for_unavailable_models": True}


class Tiny(tf.Module):
    """Answers with its version in every score."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = tf.Variable(float(version))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "image")])
    def score(self, image: Any) -> Any:
        return {"scores": image[:, :3] * 0.0 + self.version}


def payload_of(folder: Path) -> Payload:
    files = {n: FileEntry(sha256=digest_file(p), size=p.stat().st_size) for n, p in list_files(folder).items()}
    return Payload(folder=str(folder), digest=digest_folder(folder), files=files)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundled SavedModels: versions 1 to 3, one that is wrong (`liar`) and one whose warm-up fails (`cold`)."""
    root, found = tmp_path_factory.mktemp("sources"), {}
    for version in (1, 2, 3):
        folder = found[str(version)] = root / str(version)
        model = Tiny(version)
        tf.saved_model.save(model, str(folder), signatures={"serving_default": model.score})
        SIGNATURE.write(folder)
        make_golden(
            folder / "golden", {"image": ROWS}, lambda feeds, model=model: model.score(feeds["image"]), Origin()
        )
        write_warmup(folder, "digits", {"image": ROWS}, batch_size=8)
    for name, damage in (("liar", "golden/outputs/0.npy"), ("cold", WARMUP)):
        found[name] = shutil.copytree(root / "2", root / name)
        (found[name] / damage).unlink()
    np.save(found["liar"] / "golden/outputs/0.npy", np.full((16, 3), 9.0, np.float32))
    write_warmup(found["cold"], "digits", {"picture": ROWS})
    return found


@pytest.fixture(autouse=True)
def few_shots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf_serving_trial, "SHOTS", 20)


@pytest.fixture
def root(tmp_path: Path, sources: dict[str, Path]) -> Path:
    """A serving folder with versions 1 to 3 staged and version 1 served."""
    target = TfServing(kind="tf_serving", target="tfs")
    for version in (1, 2, 3):
        target.stage(tmp_path, "digits", version, payload_of(sources[str(version)]))
    target.point(tmp_path, "digits", at(3, 1))
    return tmp_path


def at(serial: int, version: int, previous: int | None = None) -> Pointer:
    return Pointer(serial=serial, version=version, digest=f"d{version}", previous=previous)


class Real:
    """`tensorflow_model_server` itself."""

    def __init__(self, options: Options) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        flags = {**vars(options), "port": port, "file_system_poll_wait_seconds": 1}
        flags["model_config_file_poll_wait_seconds"] = 1 if options.model_config_file else 0
        words = [
            f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in flags.items()
        ]
        self.address, self.process = f"127.0.0.1:{port}", subprocess.Popen([str(BINARY), *words])

    def start(self) -> "Real":
        with connected((self.address,)) as (client,):
            eventually(lambda: client.answering("digits") is not None)
        return self

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def real_or_skip(options: Options) -> Real:
    if BINARY is None:
        pytest.skip("no tensorflow_model_server on the PATH: only the stand-in was asked")
    return Real(options)


@pytest.fixture(params=["stand-in", "tensorflow_model_server"])
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Starts a server with flags; stopped at the end."""
    running: list[Any] = []

    def start(**flags: Any) -> Any:
        options = Options(**polls(), **flags)
        make = StandIn if request.param == "stand-in" else real_or_skip
        running.append(make(options))
        return running[-1].start()

    yield start
    for server in running:
        server.stop()


def polls() -> dict[str, float]:
    """Folders are read before a change of the config: what a move must not rely on."""
    return {"model_config_file_poll_wait_seconds": 0.15, "file_system_poll_wait_seconds": 0.02}


def by_config(root: Path) -> dict[str, Any]:
    return {"model_config_file": str(root / "tf_serving/models.config"), **LABELLED}


def by_folder(root: Path) -> dict[str, Any]:
    return {"model_name": "digits", "model_base_path": str(root / "tf_serving/digits"), "max_num_load_retries": 0}


WAYS = {"config": (by_config, ("", "stable")), "highest folder": (by_folder, ("",))}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[Callable[[Path], dict[str, Any]], tuple[str, ...]]:
    return WAYS[request.param]


def listing(*servers: Any, **fields: Any) -> TfServing:
    settle = 0.4 if all(isinstance(server, StandIn) for server in servers) else 2.5
    addresses = tuple(server if isinstance(server, str) else server.address for server in servers)
    return TfServing(
        kind="tf_serving", target="tfs", servers=addresses, **{"settle_s": settle, "limit_s": 20, **fields}
    )


def eventually(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(CallFailed):
            if is_so():
                return
        time.sleep(0.02)
    raise AssertionError("not within 30 s")


@contextmanager
def traffic(address: str, labels: tuple[str, ...]) -> Iterator[list[float]]:
    """A client for every label that never stops asking; what it was answered. Fails if one request failed."""
    answers: list[float] = []
    failures: list[str] = []
    stop = threading.Event()

    def ask(label: str) -> None:
        with connected((address,)) as (client,):
            while not stop.is_set():
                try:
                    answers.append(float(client.predict("digits", label, {"image": ROWS[:1]})["scores"][0, 0]))
                except CallFailed as error:
                    failures.append(f"{label!r}: {error}")
                stop.wait(0.02)

    threads = [threading.Thread(target=ask, args=(label,)) for label in labels]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert answers and failures == []


def test_no_request_fails_while_versions_go_up_and_back(root: Path, serve: Any, way: Any) -> None:
    flags, labels = way
    server = serve(**flags(root))
    target = listing(server)

    with traffic(server.address, labels) as answers:
        target.validate(root, "digits", 2, payload_of(root / "tf_serving/digits/held-2"))
        for pointer in (at(7, 2, previous=1), at(11, 3, previous=2), at(15, 2, previous=1), at(19, 1)):
            target.point(root, "digits", pointer)
            (seen,) = target.observe(root, "digits", pointer)
            assert (seen.server, seen.version, seen.digest) == (server.address, pointer.version, "")
            asked = len(answers) + len(labels)
            eventually(lambda asked=asked: len(answers) > asked)
            assert set(answers[asked:]) == {float(pointer.version)}

    assert set(answers) == {1.0, 2.0, 3.0}
    if isinstance(server, StandIn):  # no config on the way was refused, nor luck needed
        assert [line for line in server.log if "failed" in line or "leads nowhere: digits " in line] == []


def test_no_request_fails_where_the_server_is_not_listed(
    root: Path, serve: Any, way: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags, labels = way
    server = serve(**flags(root))
    target = listing(settle_s=3)
    if isinstance(server, StandIn):  # it need not be given seconds: it can be asked
        monkeypatch.setattr(TfServing, "_settle", lambda self, root: server.has_polled())

    with traffic(server.address, labels) as answers:
        for pointer in (at(7, 2, previous=1), at(11, 1), at(15, 3, previous=1)):
            target.point(root, "digits", pointer)
            eventually(lambda wanted=pointer.version: set(answers[-4:]) == {float(wanted)})
            assert target.observe(root, "digits", pointer) == []


def test_what_is_only_staged_is_not_loaded(root: Path, serve: Any, way: Any) -> None:
    server = serve(**way[0](root))
    time.sleep(0.3)

    with connected((server.address,)) as (client,):
        assert client.answering("digits") == 1
        assert [client.state("digits", version) for version in (2, 3)] == [None, None]


def test_a_version_that_cannot_be_loaded_is_no_success_and_the_old_one_goes_on(
    root: Path, serve: Any, way: Any, sources: dict[str, Path]
) -> None:
    flags, labels = way
    server = serve(**flags(root))
    target = listing(server)
    target.stage(root, "digits", 4, payload_of(sources["cold"]))

    with traffic(server.address, labels) as answers:
        target.point(root, "digits", at(7, 4, previous=1))
        with pytest.raises(
            NotServing, match=rf"version 4 of digits: {server.address}: it says END, INVALID_ARG"
        ) as told:
            target.observe(root, "digits", at(7, 4, previous=1))
        target.point(root, "digits", at(11, 1))
        target.observe(root, "digits", at(11, 1))

    assert "asked for" in str(told.value)
    assert set(answers) == {1.0}


def test_a_server_that_does_not_answer_is_no_success() -> None:
    with pytest.raises(NotServing, match=r"127\.0\.0\.1:9: it does not answer \(UNAVAILABLE") as told:
        listing("127.0.0.1:9", limit_s=0.3).observe(Path("/nowhere"), "digits", at(7, 2))
    assert "--model_config_file_poll_wait_seconds=1" in str(told.value)


def test_a_server_that_does_not_follow_is_named_with_what_it_serves(root: Path, tmp_path: Path, serve: Any) -> None:
    server = serve(**by_config(root))
    lagging = listing(server, limit_s=0.5)

    with pytest.raises(NotServing, match="it does not know version 2 of digits"):
        lagging.observe(root, "digits", at(7, 2, previous=1))


def test_a_version_is_tried_beside_the_champion_before_traffic(
    root: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf_serving_trial, "SHOTS", 100)
    server = serve(**by_config(root))
    target = listing(server)
    before = (root / "tf_serving/models.config").read_text()

    with traffic(server.address, ("", "stable")) as answers:
        tried = target.validate(root, "digits", 2, payload_of(root / "tf_serving/digits/held-2"))

    assert set(answers) == {1.0}  # not even a request without a label got it
    assert tried.requests >= 100 and 0 < tried.p50_ms <= tried.p99_ms and tried.load_ms > 0 and tried.note == ""
    assert (root / "tf_serving/models.config").read_text() == before
    with connected((server.address,)) as (client,):
        eventually(lambda: str(client.state("digits.canary", 2)) == "END")
        assert client.state("digits", 2) is None


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("liar", r"Output 'scores' differs from its golden answer by 7"),
        ("cold", r"it says END, INVALID_ARGUMENT"),
    ],
)
def test_a_version_that_fails_its_trial_is_refused_and_everything_put_back(
    root: Path, serve: Any, sources: dict[str, Path], source: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:

    server = serve(**by_config(root))
    target = listing(server)
    target.stage(root, "digits", 4, payload_of(sources[source]))
    before = (root / "tf_serving/models.config").read_text()

    with (
        traffic(server.address, ("", "stable")) as answers,
        pytest.raises(Refused, match=rf"Version 4 of digits was tried.*{server.address}: {why}"),
    ):
        target.validate(root, "digits", 4, payload_of(sources[source]))

    assert set(answers) == {1.0}
    assert (root / "tf_serving/models.config").read_text() == before
    assert list((root / "tf_serving/digits/canary").iterdir()) == []
    if source == "cold":  # that the server remembers it is no excuse
        target.stage(root, "digits", 4, payload_of(sources["3"]))
        assert target.validate(root, "digits", 4, payload_of(sources["3"])).requests


def test_what_could_not_be_tried_is_said(root: Path, serve: Any) -> None:
    payload = payload_of(root / "tf_serving/digits/held-2")
    folder = serve(**by_folder(root))

    assert "not tried: no TensorFlow Serving is listed; only its digests were checked" in (
        listing().validate(root, "digits", 2, payload).note
    )
    note = listing(folder, "127.0.0.1:9").validate(root, "digits", 2, payload).note
    assert f"not tried on {folder.address}: it takes the highest folder" in note
    assert "not tried on 127.0.0.1:9: it does not answer" in note
    with connected((folder.address,)) as (client,):
        assert client.state("digits", 2) is None


def test_a_trial_without_servers_checks_the_copy(root: Path) -> None:
    copy = root / "tf_serving/digits/held-2"
    payload = payload_of(copy)
    with pytest.raises(SlipwayError, match="Version 9 of digits is not staged"):
        listing().validate(root, "digits", 9, payload)
    (copy / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(SlipwayError, match=r"saved_model\.pb has other bytes"):
        listing().validate(root, "digits", 2, payload)


TEXT = TensorSpec(dtype="str", shape=(None,))


@pytest.mark.parametrize(
    ("signature", "inputs", "records"),
    [
        (SIGNATURE, {"image": ROWS}, 17),
        (Signature(inputs={"text": TEXT}, outputs={"text": TEXT}), {"text": np.array(["yes", "nö"])}, 3),
    ],
)
def test_warm_up_records_as_the_bundle_makes_them_fit_the_signature(
    tmp_path: Path, signature: Signature, inputs: dict[str, Any], records: int
) -> None:
    """One that did not would fail every load, and no move reads them again."""
    file = write_warmup(tmp_path, "digits", inputs, batch_size=8)

    logs = [PredictionLog.FromString(record) for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]

    assert file == tmp_path / WARMUP and len(logs) == records <= 1000
    for log in logs:
        assert log.WhichOneof("log_type") == "predict_log"
        assert log.predict_log.request.model_spec.signature_name == "serving_default"
        assert set(log.predict_log.request.inputs) == set(signature.inputs)
        for name, tensor in log.predict_log.request.inputs.items():
            values, wanted = tf.make_ndarray(tensor), signature.inputs[name]
            assert ("str" if values.dtype == object else values.dtype.name) == wanted.dtype
            assert len(values) in (1, 8) and values.shape[1:] == wanted.shape[1:]


MOVER = """
import json, sys
seen = set()

class Watch:
    def find_spec(self, name, *_):
        seen.add(name)

sys.meta_path.insert(0, Watch())
from pathlib import Path
from tasks.serving.pointer import Pointer
from tasks.serving.staging import Payload
from tasks.serving.tf_serving import TfServing

def move(target):
    target.stage(root, "digits", pointer.version, payload)
    tried = target.validate(root, "digits", pointer.version, payload)
    target.point(root, "digits", pointer)
    return tried.requests, [each.version for each in target.observe(root, "digits", pointer)]

asked = json.loads(sys.stdin.read())
root, payload = Path(asked["root"]), Payload.model_validate(asked["payload"])
pointer = Pointer.model_validate(asked["pointer"])
done = move(TfServing.model_validate(asked["target"])), move(TfServing(kind="tf_serving", target="tfs"))
assert "tensorflow.core.framework.tensor_pb2" in seen
print(json.dumps([done, sorted(n for n in sys.modules if n.startswith("tensorflow.") or n == "tensorflow"),
                  sorted(n for n in seen if n.startswith(("tensorflow.python", "tensorflow._api", "keras")))]))
"""


def test_whoever_moves_never_imports_tensorflow(root: Path, sources: dict[str, Path]) -> None:
    server = StandIn(Options(**polls(), **by_config(root))).start()
    try:
        asked = {
            "root": str(root),
            "payload": payload_of(sources["2"]).model_dump(mode="json"),
            "pointer": at(7, 2, previous=1).model_dump(mode="json"),
            "target": listing(server).model_dump(mode="json"),
        }
        moved = subprocess.run(
            [sys.executable, "-c", MOVER],
            input=json.dumps(asked),
            cwd=HOME,
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        server.stop()

    assert moved.returncode == 0, moved.stderr
    (listed, unlisted), there, imported = json.loads(moved.stdout)
    assert (listed, unlisted) == ([100, [2]], [0, []])
    assert there == imported == []


def test_the_first_version_is_tried_on_a_server_that_serves_nothing_yet(
    tmp_path: Path, sources: dict[str, Path], serve: Any
) -> None:
    target = TfServing(kind="tf_serving", target="tfs")
    target.stage(tmp_path, "cats", 1, payload_of(sources["1"]))
    target.point(tmp_path, "cats", at(3, 1))
    server = serve(**by_config(tmp_path))
    target = listing(server, settle_s=5)
    target.stage(tmp_path, "digits", 2, payload_of(sources["2"]))

    assert target.validate(tmp_path, "digits", 2, payload_of(sources["2"])).note == ""
    target.point(tmp_path, "digits", at(3, 2))
    target.observe(tmp_path, "digits", at(3, 2))

    with connected((server.address,)) as (client,):
        assert client.predict("digits", "stable", {"image": ROWS})["scores"].tolist() == [[2.0] * 3] * 16


# --- the stand-in keeps the rules that make moves hard -------------------------------------------------------------


def test_labels_at_the_start_need_the_flag(root: Path) -> None:
    flags = {**by_config(root), "allow_version_labels_for_unavailable_models": False}
    server = StandIn(Options(**flags))

    with pytest.raises(Failed, match="Request to assign label to version 1 of model digits"):
        server.start()
    server.stop()


def test_a_config_with_a_label_on_a_version_that_is_not_loaded_changes_nothing(root: Path) -> None:
    server = StandIn(Options(**polls(), **by_config(root))).start()
    try:
        (root / "tf_serving/digits/held-2").rename(root / "tf_serving/digits/2")
        config = root / "tf_serving/models.config"
        config.write_text(config.read_text().replace("versions: 1", "versions: 2").replace("value: 1", "value: 2"))
        eventually(lambda: any("failed to ReloadConfig" in line for line in server.log))
        time.sleep(0.2)
        with connected((server.address,)) as (client,):
            assert client.state("digits", 2) is None
            assert client.answering("digits", "stable") == 1
    finally:
        server.stop()


MESSAGES_FIRST = """
import runpy, sys
from tasks.serving._tf_serving_protos import protos
from tasks.serving.tf_serving_tensors import to_array, to_proto
request = protos().predict_pb2.PredictRequest()
assert "tensorflow" not in sys.modules
import tensorflow as tf
request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
assert tf.make_ndarray(request.inputs["x"]).tolist() == to_array(request.inputs["x"]).tolist() == [1.0, 2.0]
assert type(request.inputs["x"]) is type(tf.make_tensor_proto([1.0]))
runpy.run_module("tests.serving.tf_serving_stand_in", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_tensorflow_comes_whole_after_its_messages_and_the_stand_in_runs_as_a_process(root: Path) -> None:
    flags = [f"--{name}={str(value).lower()}" for name, value in by_config(root).items() if name != "model_config_file"]
    command = [sys.executable, "-c", MESSAGES_FIRST, *flags, "--port", "0"]
    command += ["--model_config_file", str(root / "tf_serving/models.config")]
    process = subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        with connected((told["grpc"],)) as (client,):
            assert client.predict("digits", "stable", {"image": ROWS[:1]})["scores"].tolist() == [[1.0] * 3]
        assert told["pid"] == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
