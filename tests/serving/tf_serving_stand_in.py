"""A stand-in for `tensorflow_model_server`, which is no Python package: same flags, same protocol, same rules.

It was written from TensorFlow Serving's sources and follows them where a move can notice: which versions are aspired
to under `specific` and `latest`, the availability-preserving order of loads and unloads, labels that are checked before
anything of a new config is done, a reload that waits for models that are new, retries of a failed load, warm-up
records that fail a load, errors that stay in `GetModelStatus`. SavedModels and requests are real.

    python -m tests.serving.tf_serving_stand_in --model_config_file FILE --model_config_file_poll_wait_seconds 1 \
        --allow_version_labels_for_unavailable_models --port 0

prints one line, {"grpc": "127.0.0.1:PORT", "pid": N}, once it has loaded what it was started with.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import grpc
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from tasks.store.digest import digest_folder

WARMUP = "assets.extra/tf_serving_warmup_requests"
TICK_SECONDS = 0.01


class Failed(Exception):
    """An answer with an error code of TensorFlow's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass
class Options:
    """Flags of `tensorflow_model_server`, with its defaults."""

    model_config_file: str = ""
    model_config_file_poll_wait_seconds: float = 0
    model_name: str = "default"
    model_base_path: str = ""
    file_system_poll_wait_seconds: float = 1
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    allow_version_labels_for_unavailable_models: bool = False
    port: int = 0


@dataclass
class Harness:
    """One version of one servable while the manager knows it."""

    path: str
    state: str = "NEW"  # NEW, LOADING, READY, ERROR
    aspired: bool = True
    model: Any = None


@dataclass
class StandIn:
    """One server. `start` returns when it listens, as the real one does: after its first models are there."""

    options: Options
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    harnesses: dict[tuple[str, int], Harness] = field(default_factory=dict)
    states: dict[tuple[str, int], tuple[str, str, str]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    requests: list[tuple[str, int]] = field(default_factory=list)
    changed: dict[tuple[str, int], int] = field(default_factory=dict)
    serial: int = 0
    turns: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.source: Any = None
        self.reloading, self.lock, self.stopped = threading.Lock(), threading.RLock(), threading.Event()
        self.threads: list[threading.Thread] = []
        self.address = ""

    def start(self) -> "StandIn":
        """Raises Failed where the real server exits."""
        self._every(TICK_SECONDS, self._manage)
        self._every(self.options.file_system_poll_wait_seconds, self._poll_folders)
        if self.options.model_config_file:
            self.reload(self._read_config())
            if self.options.model_config_file_poll_wait_seconds:
                self._every(self.options.model_config_file_poll_wait_seconds, self._poll_config)
        else:
            config = model_server_config_pb2.ModelServerConfig()
            config.model_config_list.config.add(
                name=self.options.model_name, base_path=self.options.model_base_path, model_platform="tensorflow"
            )
            self.reload(config)
        self.grpc = grpc.server(ThreadPoolExecutor(8))
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(self), self.grpc)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(self), self.grpc)
        self.address = f"127.0.0.1:{self.grpc.add_insecure_port(f'127.0.0.1:{self.options.port}')}"
        self.grpc.start()
        return self

    def stop(self) -> None:
        self.stopped.set()
        if self.address:
            self.grpc.stop(None).wait()
        for thread in self.threads:
            thread.join()

    # --- config -----------------------------------------------------------------------------------------------------

    def reload(self, config: Any) -> None:
        """`ServerCore::ReloadConfig`: labels first, then versions, then waiting for models that are new."""
        with self.reloading:
            if config.WhichOneof("config") is None:
                return
            names = [each.name for each in config.model_config_list.config]
            if len(set(names)) < len(names):
                raise Failed("INVALID_ARGUMENT", f"Illegal to list the same model name twice: {names}")
            self.labels = self._checked_labels(config)
            with self.lock:
                known = {each.name for each in self.source.config} if self.source is not None else set()
                self.source, since = config.model_config_list, self.serial
                for (name, _), harness in self.harnesses.items():
                    harness.aspired = harness.aspired and name in names
            self._wait_for({name for name in names if name not in known}, since)

    def _checked_labels(self, config: Any) -> dict[str, dict[str, int]]:
        labels: dict[str, dict[str, int]] = {}
        for each in config.model_config_list.config:
            for label, version in each.version_labels.items():
                moves = self.labels.get(each.name, {}).get(label, version) != version
                may = self.options.allow_version_labels_for_unavailable_models and not moves
                if not may and self.states.get((each.name, version), ("", "", ""))[0] != "AVAILABLE":
                    raise Failed(
                        "FAILED_PRECONDITION",
                        f"Request to assign label to version {version} of model {each.name}, which is not currently "
                        "available for inference",
                    )
                labels.setdefault(each.name, {})[label] = version
        return labels

    def _wait_for(self, names: set[str], since: int) -> None:
        """The highest version of every name must become available; one without any version is waited for, too."""
        while names and not self.stopped.wait(TICK_SECONDS):
            for name in sorted(names):
                with self.lock:
                    fresh = [key for key, serial in self.changed.items() if key[0] == name and serial > since]
                    state, _, message = self.states[max(fresh)] if fresh else ("", "", "")
                if state == "AVAILABLE":
                    names.discard(name)
                elif state == "END":
                    said = f"1 model(s) did not become available: {{{max(fresh)} due to error: {message}}}"
                    raise Failed("UNKNOWN", said)

    def _read_config(self) -> Any:
        try:
            text = Path(self.options.model_config_file).read_text()
            return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
        except (OSError, text_format.ParseError) as error:
            raise Failed("NOT_FOUND", f"Failed to read ModelServerConfig file: {error}") from error

    def _poll_config(self) -> None:
        try:
            self.reload(self._read_config())
        except Failed as error:
            self.log.append(f"PollFilesystemAndReloadConfig failed to ReloadConfig: {error.message}")

    # --- folders ----------------------------------------------------------------------------------------------------

    def _poll_folders(self) -> None:
        with self.lock:
            configs = list(self.source.config) if self.source is not None else []
            found = {}
            for each in configs:
                base = Path(each.base_path)
                if not base.exists():  # no model at all is polled then
                    self.log.append(f"Could not find base path {base} for servable {each.name}")
                    return
                found[each.name] = _aspired(each, {int(p.name): str(p) for p in base.iterdir() if _is_int64(p.name)})
            for name, versions in found.items():
                self._aspire(name, versions)

    def _aspire(self, name: str, versions: dict[int, str]) -> None:
        for key, harness in self.harnesses.items():
            if key[0] == name:
                harness.aspired = key[1] in versions
        for version, path in versions.items():
            if (name, version) not in self.harnesses:
                self.harnesses[name, version] = Harness(path)
                self._say((name, version), "START")

    # --- the manager ------------------------------------------------------------------------------------------------

    def _manage(self) -> None:
        with self.lock:
            for key in [k for k, h in self.harnesses.items() if not h.aspired and h.state in ("NEW", "ERROR")]:
                _, code, message = self.states[key]
                self._say(key, "END", code, message)
                del self.harnesses[key]
            for name in {name for name, _ in self.harnesses}:
                self._act({v: h for (n, v), h in self.harnesses.items() if n == name}, name)

    def _act(self, versions: dict[int, Harness], name: str) -> None:
        """`AvailabilityPreservingPolicy::GetNextAction`."""
        aspired = [h for h in versions.values() if h.aspired]
        useless = sorted(v for v, h in versions.items() if not h.aspired and h.state == "READY")
        if useless and (not aspired or any(h.state == "READY" for h in aspired) or len(useless) > 1):
            del self.harnesses[name, useless[0]]
            self._say((name, useless[0]), "END")
            self.log.append(f"unloaded {name} {useless[0]}")
            if useless[0] in self.labels.get(name, {}).values():
                self.log.append(f"a label that leads nowhere: {name} {useless[0]}")
            return
        new = [v for v, h in versions.items() if h.aspired and h.state == "NEW"]
        if new:
            harness = versions[max(new)]
            harness.state = "LOADING"
            self._say((name, max(new)), "LOADING")
            self._thread(lambda: self._load((name, max(new)), harness))

    def _load(self, key: tuple[str, int], harness: Harness) -> None:
        error: Failed | None = None
        for attempt in range(self.options.max_num_load_retries + 1):
            if attempt and (not harness.aspired or self.stopped.wait(self.options.load_retry_interval_micros / 1e6)):
                break
            try:
                harness.model, error = load(harness.path), None
                break
            except Failed as failed:
                error = failed
        with self.lock:
            harness.state = "READY" if error is None else "ERROR"
            if error is None:
                self._say(key, "AVAILABLE")
            else:
                self._say(key, "END", error.code, error.message)
            self.log.append(f"{'loaded' if error is None else 'failed'} {key[0]} {key[1]}")

    def _say(self, key: tuple[str, int], state: str, code: str = "OK", message: str = "") -> None:
        self.states[key] = (state, code, message)
        self.serial += 1
        self.changed[key] = self.serial

    def handle(self, spec: Any) -> tuple[int, Any]:
        """The version that a request gets, and its model."""
        with self.lock:
            ready = {v: h.model for (n, v), h in self.harnesses.items() if n == spec.name and h.state == "READY"}
            choice = spec.WhichOneof("version_choice")
            if choice == "version_label":
                version = self.labels.get(spec.name, {}).get(spec.version_label)
                if version is None:
                    raise Failed("INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label}")
            else:
                version = spec.version.value if choice == "version" else max(ready, default=None)
            if version not in ready:
                raise Failed("NOT_FOUND", f"Servable not found for request: {spec.name} {version}")
            return version, ready[version]

    def has_polled(self) -> None:
        """Return when config and folders were read, and acted on, after this call."""
        before = dict(self.turns)
        while any(self.turns[name] < before[name] + 2 for name in before) and not self.stopped.wait(TICK_SECONDS):
            pass

    def _every(self, seconds: float, act: Any) -> None:
        def loop() -> None:
            while not self.stopped.wait(seconds):
                act()
                self.turns[act.__name__] += 1

        self.turns[act.__name__] = 0
        self._thread(loop)

    def _thread(self, act: Any) -> None:
        self.threads.append(threading.Thread(target=act, daemon=True))
        self.threads[-1].start()


def _is_int64(name: str) -> bool:
    try:
        return -(2**63) <= int(name) < 2**63
    except ValueError:
        return False


def _aspired(config: Any, children: dict[int, str]) -> dict[int, str]:
    policy = config.model_version_policy
    if policy.WhichOneof("policy_choice") == "specific":
        return {version: path for version, path in children.items() if version in policy.specific.versions}
    newest = sorted(children)[-max(1, policy.latest.num_versions) :]
    return {version: children[version] for version in newest}


_loaded: dict[str, Any] = {}


def load(path: str) -> Any:
    """A SavedModel whose warm-up records have run; the same files are loaded once in a process."""
    try:
        digest = digest_folder(Path(path).resolve())
    except OSError as error:
        raise Failed("NOT_FOUND", f"{path} cannot be loaded: {error}") from error
    if digest not in _loaded:
        _loaded[digest] = _load(path)
    return _loaded[digest]


def _load(path: str) -> Any:
    """An error in a warm-up record fails the load."""
    try:
        model = tf.saved_model.load(path)
        file = Path(path) / WARMUP
        records = list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator()) if file.exists() else []
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise Failed("NOT_FOUND", f"{path} cannot be loaded: {error}") from error
    if len(records) > 1000:
        raise Failed("INVALID_ARGUMENT", "Number of warmup records exceeds the maximum (1000)")
    for record in records:
        predict(model, prediction_log_pb2.PredictionLog.FromString(record).predict_log.request)
    return model


def predict(model: Any, request: Any) -> dict[str, Any]:
    """`RunPredict`: by the names of the signature, whatever model the request names."""
    name = request.model_spec.signature_name or "serving_default"
    if name not in model.signatures:
        raise Failed("FAILED_PRECONDITION", f"Serving signature name: {name} not found in signature def")
    signature = model.signatures[name]
    wanted = signature.structured_input_signature[1]
    if set(request.inputs) != set(wanted):
        raise Failed("INVALID_ARGUMENT", f"input keys {sorted(request.inputs)}; expected {sorted(wanted)}")
    try:
        feeds = {key: tf.constant(tf.make_ndarray(tensor)) for key, tensor in request.inputs.items()}
        return dict(signature(**feeds))
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise Failed("INVALID_ARGUMENT", str(error)) from error


def _abort(context: Any, error: Failed) -> Any:
    context.abort(grpc.StatusCode[error.code], error.message)


class Models(model_service_pb2_grpc.ModelServiceServicer):
    """States and reloads; labels mean nothing to `GetModelStatus`."""

    def __init__(self, server: StandIn) -> None:
        self.server = server

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        spec = request.model_spec
        with self.server.lock:
            said = {v: state for (name, v), state in self.server.states.items() if name == spec.name}
        if spec.HasField("version"):
            said = {v: state for v, state in said.items() if v == spec.version.value}
        if not said:
            _abort(context, Failed("NOT_FOUND", f"Could not find any versions of model {spec.name}"))
        answer = get_model_status_pb2.GetModelStatusResponse()
        for version in sorted(said, reverse=True):
            state, code, message = said[version]
            each = answer.model_version_status.add(version=version, state=state)
            each.status.error_code = error_codes_pb2.Code.Value(code)
            each.status.error_message = message
        return answer

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = model_management_pb2.ReloadConfigResponse()
        try:
            self.server.reload(request.config)
        except Failed as error:
            answer.status.error_code = error_codes_pb2.Code.Value(error.code)
            answer.status.error_message = error.message
        return answer


class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, and the metadata that say which version answers."""

    def __init__(self, server: StandIn) -> None:
        self.server = server

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        try:
            version, model = self.server.handle(request.model_spec)
            outputs = predict(model, request)
        except Failed as error:
            _abort(context, error)
        self.server.requests.append((request.model_spec.name, version))
        answer = predict_pb2.PredictResponse()
        _name(answer.model_spec, request, version)
        for name, values in outputs.items():
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(values.numpy()))
        return answer

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        if list(request.metadata_field) != ["signature_def"]:
            _abort(context, Failed("INVALID_ARGUMENT", "must specify the metadata_field signature_def"))
        try:
            version, _ = self.server.handle(request.model_spec)
        except Failed as error:
            _abort(context, error)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        _name(answer.model_spec, request, version)
        return answer


def _name(spec: Any, request: Any, version: int) -> None:
    spec.name = request.model_spec.name
    spec.version.value = version


def parse(argv: list[str]) -> Options:
    """Flags in the real server's spelling."""
    parser = argparse.ArgumentParser()
    for name, default in vars(Options()).items():
        if isinstance(default, bool):
            parser.add_argument(f"--{name}", nargs="?", const=True, default=default, type=lambda word: word == "true")
        else:
            parser.add_argument(f"--{name}", default=default, type=type(default) if default != 0 else float)
    flags = vars(parser.parse_args(argv))
    return Options(**{**flags, "port": int(flags["port"])})


def main() -> None:
    """Serve until SIGTERM."""
    server = StandIn(parse(sys.argv[1:]))
    try:
        server.start()
    except Failed as error:
        sys.exit(f"Failed to start server. Error: {error.code}: {error.message}")
    print(json.dumps({"grpc": server.address, "pid": os.getpid()}), flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
