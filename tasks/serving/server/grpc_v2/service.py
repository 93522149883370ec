"""Answer the Open Inference Protocol over gRPC, beside REST, for clients that speak nothing else.

gRPC is an extra: without it nothing here is imported but this file. From Python REST is the faster of the two.
"""

from typing import TYPE_CHECKING, Any

from tasks.foundations.errors import InputError

if TYPE_CHECKING:
    from tasks.serving.server.host import Host


async def start(host: "Host", address_host: str, port: int) -> tuple[Any, int]:
    """Listen, in the running event loop.

    Args:
        host: the models.
        address_host: name or address to listen on.
        port: 0 takes a free one.

    Returns:
        The server, for `stop`, and the port it listens on.

    Raises:
        InputError: gRPC is not installed or too old, or the address cannot be listened on.
    """
    try:
        from tasks.serving.server.grpc_v2.calls import serve
    except (ImportError, RuntimeError) as error:  # RuntimeError: the generated code wants a newer grpcio
        raise InputError(
            f"gRPC was asked for and cannot be loaded: {error} Install it with `pip install slipway[grpc]`, or start "
            "without a port for gRPC."
        ) from error
    return await serve(host, address_host, port)


async def stop(server: Any, drain_s: float) -> None:
    """Take no new calls; let those in flight end for so many seconds, then cancel them."""
    await server.stop(drain_s)
