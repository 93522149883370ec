"""Which store an installation uses, and what is refused before anything is tried."""

import http.server
import threading
from pathlib import Path

import pytest

from flows.home import Home
from flows.storage import open_store
from tasks.foundations.errors import InputError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_store_lies_in_the_home_unless_a_url_names_another(home, monkeypatch):
    monkeypatch.delenv("SLIPWAY_STORE_URL", raising=False)
    assert open_store(home).local == home.store

    monkeypatch.setenv("SLIPWAY_STORE_URL", str(home.root / "shared"))
    assert open_store(home).local == home.root / "shared"

    monkeypatch.setenv("SLIPWAY_STORE_URL", "memory://somewhere")
    store = open_store(home)
    assert (store.local, store.cache) == (None, home.store)


@pytest.mark.parametrize(
    ("url", "tracking", "says"),
    [
        ("s3://key:secret@bucket/x", None, "bears credentials"),
        ("warp://x", None, "warp is no kind of store"),
        ("gs://bucket/x", None, "need gcsfs"),
        (__file__, None, "and that is a file. Name a folder"),
        (
            "mlflow-artifacts:/slipway",
            "sqlite:///x.db",
            "must be the address of an MLflow server. It is sqlite:///x.db",
        ),
        ("mlflow-artifacts:/slipway", "postgresql://ann:secret@db/x", r"It is postgresql://db/x\.$"),
    ],
)
def test_what_cannot_be_a_store_is_refused(home, monkeypatch, url, tracking, says):
    monkeypatch.setenv("SLIPWAY_STORE_URL", url)
    if tracking:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)

    with pytest.raises(InputError, match=says):
        open_store(home)


def test_mlflows_proxied_artifacts_are_asked_with_its_own_credentials(home, monkeypatch):
    heard: list[tuple[str, str, str | None]] = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        files: dict[str, bytes] = {}

        def do_PUT(self):
            heard.append(("PUT", self.path, self.headers["Authorization"]))
            Proxy.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def do_GET(self):
            content = Proxy.files.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("SLIPWAY_STORE_URL", "mlflow-artifacts:/slipway")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
        store = open_store(home)
        store.write("actions/x.json", "{}")

        assert store.read("actions/x.json") == b"{}" and store.read("actions/y.json") is None
        server.shutdown()
    path = "/api/2.0/mlflow-artifacts/artifacts/slipway/actions/x.json"
    assert heard == [("PUT", path, "Basic YW5uOnNlY3JldA==")]


def test_a_password_in_the_address_of_mlflow_stands_nowhere_in_the_store(home, monkeypatch):
    monkeypatch.setenv("SLIPWAY_STORE_URL", "mlflow-artifacts:/slipway")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:p%40ss@mlflow.example.com:5000")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)

    store = open_store(home)

    assert store.url == "https://mlflow.example.com:5000/api/2.0/mlflow-artifacts/artifacts/slipway"
    assert store._options == {"client_kwargs": {"headers": {"Authorization": "Basic YW5uOnBAc3M="}}}


def test_a_store_that_a_url_names_is_shared(home, monkeypatch):
    monkeypatch.delenv("SLIPWAY_STORE_URL", raising=False)
    assert not open_store(home).shared
    for url in (str(home.root / "shared"), "memory://somewhere"):
        monkeypatch.setenv("SLIPWAY_STORE_URL", url)
        assert open_store(home).shared
