"""Everything that a server process is told when it starts; the rest it reads from its serving folder."""

from pydantic import Field

from tasks.foundations.record import Record
from tasks.serving.pointer import Pointer


class ServeSettings(Record):
    """One node.

    Attributes:
        root: absolute path of the serving folder (`.../serving`); models lie in `<root>/onnx_server/<model>/`.
        models: those to serve; empty for every model that has a pointer, also later ones.
        host, port: where clients are answered; port 0 takes a free one.
        admin_host, admin_port: where moves, status and metrics are answered; port 0 takes a free one.
        grpc_port: where the Open Inference Protocol is answered over gRPC; None for nowhere, 0 takes a free one.
        workers: processes on the one port.
        poll_s: how often the pointers are looked at without being asked to.
        max_body_bytes: of one request.
        max_elements: of all tensors of one request.
        drain_s: how long requests in flight may take after SIGTERM.
        pinned: model -> what to serve instead of what its pointer says; such a process is no node of any move.
        load_first: clients are answered only when models were loaded: for a process that joins others on their port.
        parent: id of the process that this one must not outlive; None for one that stands by itself.
        json_log: the log is lines of JSON.
        traces: a span is sent for every request.
    """

    root: str
    models: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(0, ge=0, le=65535)
    grpc_port: int | None = Field(None, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=256)
    poll_s: float = Field(1.0, gt=0)
    max_body_bytes: int = Field(64 * 2**20, ge=1)
    max_elements: int = Field(16 * 2**20, ge=1)
    drain_s: float = Field(30.0, ge=0)
    pinned: dict[str, Pointer] = {}
    load_first: bool = False
    parent: int | None = None
    json_log: bool = False
    traces: bool = False
