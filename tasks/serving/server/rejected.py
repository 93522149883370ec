"""A request that gets no answer from a model: one status, one sentence, one word for the metrics."""

from typing import Literal

Reason = Literal[
    "malformed",  # 400: not JSON, wrong names, dtypes, shapes
    "too_large",  # 413: body or tensors beyond the limits
    "unknown",  # 404: no such model, version or label here
    "not_ready",  # 503: the model is not loaded (yet)
    "overload",  # 503: the queue is full, or the answer would come after the deadline
    "deadline",  # 504: the answer came too late, or the body did
    "model",  # 500: the model failed, or answered NaN
]
STATUS: dict[Reason, int] = {
    "malformed": 400,
    "too_large": 413,
    "unknown": 404,
    "not_ready": 503,
    "overload": 503,
    "deadline": 504,
    "model": 500,
}


class Rejected(Exception):
    """Why a request is not answered.

    Attributes:
        reason: one word, a label of the metrics.
        message: one sentence for the client; never holds more of its input than a name or a number.
        retry_after_s: whole seconds after which trying again makes sense, None if it does not.
    """

    def __init__(self, reason: Reason, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.reason]
