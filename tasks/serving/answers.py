"""What serving targets tell a move: what they tried before traffic, and who answers with the new version."""

from tasks.foundations.record import Record


class Validation(Record):
    """A version that was tried in a real server before traffic.

    Attributes:
        kind: the serving kind.
        requests: how many it answered, golden ones among them.
        load_ms: from the start of loading until ready.
        p50_ms, p99_ms: of a request, as a client saw it.
        memory_bytes: largest resident memory of the server.
        note: what was not tried and why; empty if everything was.
    """

    kind: str
    requests: int = 0
    load_ms: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    memory_bytes: int = 0
    note: str = ""


class Observation(Record):
    """One server that answered with the version that was asked for.

    Attributes:
        kind: the serving kind.
        server: its address.
        version: what it serves.
        digest: of what it serves; empty where the server cannot tell.
        ms: from the first question until that answer.
    """

    kind: str
    server: str
    version: int
    digest: str
    ms: float
