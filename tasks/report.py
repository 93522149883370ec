"""Report: what a release did, for people: release.json, report.html and Prefect artifacts. Also after a failure."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import cast
from uuid import UUID

from prefect import task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE

from tasks.reports import html, markdown
from tasks.reports.summary import ReleaseSummary


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def report(summary: ReleaseSummary, folder: Path, artifacts: Collection[str]) -> ReleaseSummary:
    """Write `release.json` and `report.html` into `folder` and show the same in Prefect.

    Args:
        summary: the release.
        folder: where its report goes.
        artifacts: digests of what it made or used, so that `clean` keeps them as long as the report.

    Returns:
        The summary with the report's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "artifacts.json").write_text(json.dumps(sorted(artifacts)))
    finished = summary.model_copy(update={"report_path": str(folder / "report.html")})
    finished.write(folder)
    html.write(finished, folder)
    key = artifact_key(summary.model)
    create_table_artifact(markdown.table_rows(finished), key=f"{key}-candidates", description=finished.decision)
    create_markdown_artifact(markdown.gate_report(finished), key=f"{key}-gates", description=finished.decision)
    if finished.mlflow_link:
        create_link_artifact(
            finished.mlflow_link,
            link_text="MLflow run",
            key=f"{key}-mlflow",
            description=f"Answers while `{finished.mlflow_ui}` runs." if finished.mlflow_ui else None,
        )
    return finished


def artifact_key(model: str) -> str:
    """The model's name as Prefect allows it in an artifact's key."""
    return re.sub(r"[^a-z0-9-]", "-", model)


class Progress:
    """A progress bar in Prefect's UI over the main stages of a release."""

    def __init__(self, model: str) -> None:
        key = f"{artifact_key(model)}-progress"
        artifact = create_progress_artifact(progress=0.0, key=key, description=f"release of {model}")
        self._artifact = cast("UUID", artifact)  # a coroutine only where an event loop runs

    def reach(self, percent: float) -> None:
        """Move the bar."""
        update_progress_artifact(self._artifact, progress=percent)
