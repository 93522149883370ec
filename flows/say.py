"""What a flow run has to say to people in Prefect's UI: in its log, and as an artifact of the model."""

from flows.observer import write
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
