"""What the config asks of a version before it takes traffic."""

from pydantic import Field

from tasks.foundations.record import Record


class Trial(Record):
    """What a version must show in a server of its own before it takes traffic."""

    requests: int = Field(200, ge=1, le=100_000, description="Requests of one row that are measured.")
    p99_ms: float | None = Field(
        None, gt=0, description="What 99 of 100 of them must be faster than; left out, `deadline_ms`."
    )
    memory_mb: float | None = Field(
        None,
        gt=0,
        description="Memory that the whole process may take at most, of which an empty server takes about 90; left "
        "out, what this machine has free.",
    )
    start_s: float = Field(
        60.0, gt=0, le=3600, description="How long it may take until it is ready, and for one answer."
    )
