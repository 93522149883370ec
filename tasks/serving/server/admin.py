"""The admin port: what this process serves, and the verb by which a move has its pointer followed at once.

It is a port of its own so that a firewall, or a proxy that serves clients, never reaches it by accident.
"""

import asyncio
import math
import time

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tasks.serving.server import metrics
from tasks.serving.server.host import Host
from tasks.serving.server.pages import as_json, handlers

LONGEST_WAIT_S = 60.0


def admin(host: Host, node_id: str, pid: int) -> Starlette:
    """The application for one process.

    Args:
        host: its models.
        node_id: id of its node.
        pid: of the process.
    """

    async def status(_: Request) -> Response:
        models = {name: model.status() for name, model in host.models.items()}
        return as_json({"node": node_id, "pid": pid, "ready": host.ready, "models": models})

    async def follow(request: Request) -> Response:
        """See README; answers once the model follows the move, has failed to, or after `wait_s`."""
        name = request.path_params["model"]
        serial, wait_s = _number(request, "serial", 0.0), min(_number(request, "wait_s", 0.0), LONGEST_WAIT_S)
        until = time.monotonic() + wait_s
        host.find()
        model = host.hosted(name)
        await asyncio.wait([model.nudge()], timeout=wait_s)
        while not model.has_followed(serial) and time.monotonic() < until:
            await asyncio.sleep(0.005)
        return as_json(model.status())

    async def show_metrics(_: Request) -> Response:
        host.count()
        return Response(host.metrics.text(), media_type=metrics.CONTENT_TYPE)

    routes = [
        Route("/status", status, methods=["GET"]),
        Route("/follow/{model}", follow, methods=["POST"]),
        Route("/metrics", show_metrics, methods=["GET"]),
    ]
    return Starlette(routes=routes, exception_handlers=handlers())


def _number(request: Request, name: str, default: float) -> float:
    try:
        number = float(request.query_params.get(name, default))
    except ValueError:
        return default
    return number if math.isfinite(number) else default
