"""What a flow run has to say to people: in its log in Prefect's UI, as an artifact of the model, as a notification."""

from collections.abc import Iterator
from contextlib import contextmanager

from flows.messages import refused_message
from flows.notify import send
from flows.observer import write
from tasks.foundations.errors import Refused
from tasks.promotion.control import Order
from tasks.report import artifact_key


def say(model: str, what: str, lines: list[str]) -> str:
    """Write sentences to the log of the run, and as the artifact `<model>-<what>`.

    Returns:
        The sentences as one text.
    """
    from prefect.artifacts import create_markdown_artifact

    text = "\n".join(lines)
    for line in lines:
        write("info", line)
    create_markdown_artifact("\n".join(f"- {line}" for line in lines), key=f"{artifact_key(model)}-{what}")
    return text


@contextmanager
def refusals_told(model: str, order: Order) -> Iterator[None]:
    """Notify people of a move that is refused inside the block; the refusal goes on."""
    try:
        yield
    except Refused as refusal:
        for unsent in send(refused_message(model, order, refusal)):
            write("warning", unsent)
        raise
