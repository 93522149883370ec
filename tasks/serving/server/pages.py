"""Everything on the public port that is no prediction: health, metadata, metrics, the OpenAPI description."""

from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tasks.serving.server import metrics, oip, openapi, paths, tfserving_rest
from tasks.serving.server.host import Host
from tasks.serving.server.rejected import Rejected
from tasks.serving.server.resident import Resident


def pages(host: Host) -> Starlette:
    """The application for one node."""
    book = _Book(host)
    model, version, label = "/{model}", "/versions/{version}", "/labels/{label}"
    v2, v1 = f"/v2/models{model}", f"/v1/models{model}"
    get = {
        "/v2": book.server,
        "/v2/health/live": book.live,
        "/v2/health/ready": book.ready,
        v2: book.model,
        f"{v2}/ready": book.model_ready,
        f"{v2}{version}": book.model,
        f"{v2}{version}/ready": book.model_ready,
        v1: book.status,
        f"{v1}/metadata": book.metadata,
        f"{v1}{version}": book.status,
        f"{v1}{version}/metadata": book.metadata,
        f"{v1}{label}": book.status,
        f"{v1}{label}/metadata": book.metadata,
        "/metrics": book.metrics,
        "/openapi.json": book.openapi,
    }
    post = (f"{v2}/infer", f"{v2}{version}/infer", f"{v1}:predict", f"{v1}{version}:predict", f"{v1}{label}:predict")
    routes = [Route(path, page, methods=["GET"]) for path, page in get.items()]
    routes += [Route(path, book.nowhere, methods=["POST"]) for path in post]
    return Starlette(routes=routes, exception_handlers=handlers())


def handlers() -> dict[Any, Any]:
    """Every error as `{"error": sentence}`."""
    return {Rejected: _rejected, HTTPException: _http, Exception: _unexpected}


def as_json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


class _Book:
    """The pages of one node."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def server(self, _: Request) -> Response:
        return as_json(oip.server_metadata())

    async def live(self, _: Request) -> Response:
        return as_json({"live": True})

    async def ready(self, _: Request) -> Response:
        return as_json({"ready": self._host.ready}, 200 if self._host.ready else 503)

    async def model(self, request: Request) -> Response:
        resident = self._pick(request)
        name = request.path_params["model"]
        return as_json(oip.model_metadata(name, sorted(self._host.hosted(name).residents), resident.signature))

    async def model_ready(self, request: Request) -> Response:
        name = request.path_params["model"]
        try:
            self._pick(request)
        except Rejected as no:
            if no.reason != "not_ready":
                raise
            return as_json({"name": name, "ready": False}, 503)
        return as_json({"name": name, "ready": True})

    async def status(self, request: Request) -> Response:
        model = self._host.hosted(request.path_params["model"])
        if "version" in request.path_params or "label" in request.path_params:
            return as_json(tfserving_rest.model_status([self._pick(request).version]))
        return as_json(tfserving_rest.model_status(sorted(model.residents, reverse=True)))

    async def metadata(self, request: Request) -> Response:
        resident = self._pick(request)
        return as_json(tfserving_rest.metadata(request.path_params["model"], resident.version, resident.signature))

    async def metrics(self, _: Request) -> Response:
        self._host.count()
        return Response(self._host.metrics.text(), media_type=metrics.CONTENT_TYPE)

    async def openapi(self, _: Request) -> Response:
        served = {name: model for name, model in self._host.models.items() if model.current is not None}
        signatures = {name: model.pick().signature for name, model in served.items()}
        return as_json(openapi.document(signatures, {name: sorted(model.residents) for name, model in served.items()}))

    async def nowhere(self, request: Request) -> Response:
        """A prediction whose path only looks like one."""
        self._pick(request)
        raise HTTPException(404)

    def _pick(self, request: Request) -> Resident:
        model, word = self._host.hosted(request.path_params["model"]), request.path_params.get("version")
        version = None if word is None else paths.number(word)
        if word is not None and version is None:
            raise Rejected("unknown", f"{word[:40]!r} is no version: a version is a whole number.")
        return model.pick(version, request.path_params.get("label"))


async def _rejected(_: Request, error: Exception) -> Response:
    if not isinstance(error, Rejected):
        raise error
    after = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s is not None else None
    return as_json({"error": error.message}, error.status, after)


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    what = {404: "There is nothing at this path", 405: f"{request.method} is not allowed here"}
    sentence = f"{what.get(error.status_code, error.detail)}. /openapi.json says what there is."
    return as_json({"error": sentence}, error.status_code, dict(error.headers or {}))


async def _unexpected(_: Request, error: Exception) -> Response:
    return as_json({"error": f"The server failed: {type(error).__name__}."}, 500)
