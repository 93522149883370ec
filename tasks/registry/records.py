"""What the registry is asked and what it answers: plain records, so that no caller needs to import MLflow."""

from typing import Literal

from pydantic import Field

from tasks.foundations.record import Record

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
RELEASE_TAG = "slipway.release"
DIGEST_TAG = "slipway.digest"
DECISION_TAG = "slipway.decision"


class Place(Record):
    """Where MLflow is.

    Attributes:
        tracking_uri: `sqlite:////absolute/path/mlflow.db`, or `http(s)://` of a tracking server.
        artifact_location: absolute folder or URL of a new experiment's artifacts; None lets a server choose.
        experiment: the experiment that takes the runs.
    """

    tracking_uri: str
    artifact_location: str | None = None
    experiment: str


class RunRecord(Record):
    """What one MLflow run shows. Parameters and tags are cut by MLflow after 6,000 and 8,000 characters.

    Attributes:
        name: of the run.
        params: settings by name; characters that MLflow forbids in names become `_`.
        metrics: figures by name, the same.
        tags: searchable marks.
    """

    name: str
    params: dict[str, str] = {}
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}


class ReleaseLog(Record):
    """One release as MLflow shows it: a run, with a child run a candidate.

    Attributes:
        release: id of the release; a repeated log of one id replaces what a killed one left.
        run: the release's own run.
        children: a run a candidate.
        status: how the release ended.
    """

    release: str
    run: RunRecord
    children: tuple[RunRecord, ...] = ()
    status: RunStatus = "FINISHED"


class VersionInfo(Record):
    """One registered version.

    Attributes:
        version: its number.
        run_id: MLflow run of the release that made it.
        tags: as registered.
        aliases: names that point to it.
    """

    version: int = Field(ge=1)
    run_id: str | None = None
    tags: dict[str, str] = {}
    aliases: tuple[str, ...] = ()
