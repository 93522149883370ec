"""MLflow runs written in batches: a call a run instead of one a figure, because each call is a transaction."""

import re
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from tasks.registry.connection import persist
from tasks.registry.records import RELEASE_TAG, ReleaseLog, RunRecord, RunStatus

PARENT_TAG = "mlflow.parentRunId"
NAME_TAG = "mlflow.runName"
MOST_ENTRIES = 100  # params or tags of one batch
MOST_METRICS = 500
PARAM_LENGTH = 6000
TAG_LENGTH = 8000
NAME_LENGTH = 250


def log_tree(client: Any, experiment: str, log: ReleaseLog) -> str:
    """A run with its children, children closed. Returns the id of the run, which stays open."""
    tags = {RELEASE_TAG: log.release}
    run_id = _log_run(client, experiment, log.run, tags)
    for child in log.children:
        finish(client, _log_run(client, experiment, child, {**tags, PARENT_TAG: run_id}), "FINISHED")
    return run_id


def log_figures(client: Any, run_id: str, metrics: Mapping[str, float]) -> None:
    """Figures of one moment, in as few calls as MLflow allows."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    entries = [Metric(_name(key), value, now, 0) for key, value in metrics.items()]
    for start in range(0, len(entries), MOST_METRICS):
        persist(partial(client.log_batch, run_id, metrics=entries[start : start + MOST_METRICS]))


def finish(client: Any, run_id: str, status: RunStatus) -> None:
    """Close a run."""
    persist(partial(client.set_terminated, run_id, status=status))


def _log_run(client: Any, experiment: str, record: RunRecord, tags: dict[str, str]) -> str:
    from mlflow.entities import Param, RunTag

    run = persist(partial(client.create_run, experiment, tags={**tags, NAME_TAG: record.name}))
    run_id = str(run.info.run_id)
    params = [Param(_name(key), value[:PARAM_LENGTH]) for key, value in record.params.items()]
    marks = [RunTag(_name(key), value[:TAG_LENGTH]) for key, value in record.tags.items()]
    for start in range(0, max(len(params), len(marks)), MOST_ENTRIES):
        part = slice(start, start + MOST_ENTRIES)
        persist(partial(client.log_batch, run_id, params=params[part], tags=marks[part]))
    log_figures(client, run_id, record.metrics)
    return run_id


def _name(key: str) -> str:
    """MLflow allows letters, digits, `_`, `-`, `.`, space, `:` and `/` in names, and `a/../b` in none."""
    return re.sub(r"[^\w\-. :/]|\.\.", "_", key)[:NAME_LENGTH].strip("/")
