"""How a node treats the requests of one model: from the config, by way of `pointer.json`, to every node."""

from pydantic import Field

from tasks.foundations.record import Record


class Batching(Record):
    """Requests that wait are run together."""

    max_size: int = Field(32, ge=2, le=65536, description="Rows of one call at most.")
    max_delay_ms: float = Field(
        0.0, ge=0, le=1000, description="How long a request waits for others; 0 takes those that are there."
    )


class Served(Record):
    """Limits of one model on a node.

    Attributes:
        deadline_ms: from the last byte of a request to its answer; what cannot be answered in time is refused.
        queue: requests that wait at most; the next one gets 503.
        batching: None runs every request by itself.
    """

    deadline_ms: float = Field(1000.0, gt=0, le=3_600_000)
    queue: int = Field(64, ge=1, le=100_000)
    batching: Batching | None = None
