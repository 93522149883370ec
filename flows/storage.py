"""The store of this installation: a local folder, or the one that several machines share.

`SLIPWAY_STORE_URL` is any fsspec URL (`s3://bucket/prefix`, `gs://...`, a path on a shared disk), or
`mlflow-artifacts:/prefix`: the artifacts that the MLflow server of `MLFLOW_TRACKING_URI` passes on.
"""

import base64
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from flows.home import Home
from tasks.foundations.errors import InputError
from tasks.registry.connection import without_password
from tasks.store.store import Store

URL = "SLIPWAY_STORE_URL"
PROXIED = "mlflow-artifacts:/"
PROXY = "/api/2.0/mlflow-artifacts/artifacts/"
EXTRAS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


def open_store(home: Home) -> Store:
    """The store of an installation.

    Raises:
        InputError: the URL bears credentials, is of a kind that cannot be opened here, is a file, or needs an MLflow
            server.
    """
    url = os.environ.get(URL)
    if not url:
        return Store(str(home.store), home.store)
    if urlsplit(url).password or "@" in urlsplit(url).netloc:
        raise InputError(f"{URL} bears credentials, which logs would show. Give them as the store's own variables do.")
    if url.startswith(PROXIED):
        server = os.environ.get("MLFLOW_TRACKING_URI", "")
        return Store(_proxy(url, server), home.store, _credentials(server), shared=True)
    _check_protocol(url)
    return Store(url if "://" in url else _folder(url), home.store, shared=True)


def _folder(url: str) -> str:
    path = Path(url).expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise InputError(f"{URL} is {url}, and that is a file. Name a folder.")
    return str(path)


def _proxy(url: str, server: str) -> str:
    """The address without user and password, since it stands in every artifact."""
    if not server.startswith(("http://", "https://")):
        raise InputError(
            f"{URL} is {url}, so MLFLOW_TRACKING_URI must be the address of an MLflow server. "
            f"It is {without_password(server) or 'not set'}."
        )
    return without_password(server).rstrip("/") + PROXY + url.removeprefix(PROXIED).strip("/")


def _credentials(server: str) -> dict[str, Any]:
    """MLflow's own variables, or what its address bears, as the client of its server sends them."""
    parts = urlsplit(server)
    user = os.environ.get("MLFLOW_TRACKING_USERNAME") or unquote(parts.username or "")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD", unquote(parts.password or ""))
    if not user:
        return {}
    words = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"client_kwargs": {"headers": {"Authorization": f"Basic {words}"}}}


def _check_protocol(url: str) -> None:
    if "://" not in url:
        return
    import fsspec

    protocol = url.partition("://")[0]
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        known = ", ".join(["a path", "mlflow-artifacts:/", *(f"{each}://" for each in ("http", "s3", "gs"))])
        raise InputError(f"{URL} is {url}: {protocol} is no kind of store. Expected {known}.") from None
    except ImportError:
        raise InputError(
            f"{URL} is {url}: stores of {protocol} need {EXTRAS.get(protocol, 'another package')}. Install it beside "
            "Slipway, on every machine that uses the store."
        ) from None
