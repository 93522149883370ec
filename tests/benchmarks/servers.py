"""Servers as processes of their own: ours, and those that it is compared with on the same ONNX files."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks.runtimes.onnxruntime import SILENT
from tests.benchmarks.process import ROOT

MLSERVER = "mlserver==1.7.1"
START_S = 120.0
END_S = 40.0


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Attributes:
        process: its own.
        port: where it answers clients.
        admin: URL of our server's admin port, empty for others.
    """

    process: subprocess.Popen[str]
    port: int
    admin: str = ""

    @property
    def url(self) -> str:
        """Where clients are answered."""
        return f"http://127.0.0.1:{self.port}"

    def status(self) -> dict[str, Any]:
        """What our server says about its models, by name."""
        with urllib.request.urlopen(f"{self.admin}/status", timeout=10) as answer:
            return dict(json.load(answer)["models"])


@contextmanager
def ours(root: Path, log: Path, **settings: Any) -> Iterator[Server]:
    """Slipway's server on a serving folder."""
    given = json.dumps({"root": str(root), "port": 0, **settings})
    with _started([sys.executable, "-m", "tasks.serving.server", given], log, told=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if '"url"' not in line:
            raise RuntimeError(f"Slipway's server did not start: {line or log.read_text()[-4000:]}")
        told = json.loads(line)
        yield Server(process, int(told["url"].rpartition(":")[2]), told["admin"])


@contextmanager
def mlserver(folder: Path, models: Mapping[str, Path]) -> Iterator[Server]:
    """MLServer without worker processes, logs of requests and compression: what is fastest for small models.

    Args:
        folder: for its environment, settings and log.
        models: name -> ONNX file.
    """
    python = _environment(folder / "environment")
    served = folder / "models"
    shutil.rmtree(served, ignore_errors=True)
    for name, path in models.items():
        (served / name).mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("mlserver_model.py"), served / name)
        implementation = "mlserver_model.OnnxModel"
        settings = {"name": name, "implementation": implementation, "parameters": {"uri": str(path), "version": "1"}}
        (served / name / "model-settings.json").write_text(json.dumps(settings))
    port, others = _free_port(), {f"{kind}_port": _free_port() for kind in ("grpc", "metrics")}
    settings = {"host": "127.0.0.1", "http_port": port, **others, "parallel_workers": 0, "debug": False}
    (served / "settings.json").write_text(json.dumps({**settings, "gzip_enabled": False}))
    words = [str(python.with_name("mlserver")), "start", str(served)]
    with _started(words, folder / "mlserver.log") as process:
        _wait(process, [f"http://127.0.0.1:{port}/v2/models/{name}/ready" for name in models], folder / "mlserver.log")
        yield Server(process, port)


def _environment(folder: Path) -> Path:
    """The interpreter of MLServer's own environment, made if it is not there: its pins do not fit ours."""
    python = folder / "bin" / "python"
    if not (folder / "ready").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        packages = [MLSERVER, *(f"{name}=={version(name)}" for name in ("onnxruntime", "numpy", "orjson", "uvloop"))]
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True, stderr=subprocess.PIPE)
        (folder / "ready").touch()
    return python


@contextmanager
def mlflow(folder: Path, onnx: Path) -> Iterator[Server]:
    """`mlflow models serve` with one worker, on an MLflow model of the same file and session options."""
    saved, log = folder / "model", folder / "mlflow.log"
    if not saved.is_dir():
        code = (
            "import sys, mlflow, onnx\n"
            "options = {'intra_op_num_threads': 1, 'inter_op_num_threads': 1, 'execution_mode': 'sequential'}\n"
            "mlflow.onnx.save_model(onnx.load(sys.argv[1]), sys.argv[2], onnx_session_options=options,"
            " onnx_execution_providers=['CPUExecutionProvider'], save_as_external_data=False,"
            " pip_requirements=['onnxruntime'])\n"
        )
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-c", code, str(onnx), str(saved)], check=True, env=_settings())
    port = _free_port()
    words = ["models", "serve", "--model-uri", str(saved), "--port", str(port), "--host", "127.0.0.1"]
    words = [sys.executable, "-m", "mlflow", *words, "--env-manager", "local", "--workers", "1"]
    with _started(words, log) as process:
        _wait(process, [f"http://127.0.0.1:{port}/ping"], log)
        yield Server(process, port)


@contextmanager
def _started(words: list[str], log: Path, told: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, ended with all that it started; `told`: its stdout can be read."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        out = subprocess.PIPE if told else file
        process = subprocess.Popen(
            words, cwd=ROOT, env=_settings(), stdout=out, stderr=file, text=True, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=END_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _settings() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"  # MLflow looks for uvicorn there
    settings = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **SILENT}
    settings.pop("PYTHONDONTWRITEBYTECODE", None)
    return settings


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[str], urls: list[str], log: Path) -> None:
    """Until all URLs answer with 200."""
    end = time.monotonic() + START_S
    while urls:
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{urls[0]} does not answer:\n{log.read_text()[-4000:]}")
        try:
            urllib.request.urlopen(urls[0], timeout=5).close()
            urls = urls[1:]
        except OSError:
            time.sleep(0.1)
