"""Opening MLflow: quiet, without telemetry or pickles, and with every path absolute.

MLflow's own default is a database in the current folder, so a scheduler, a worker and a person would each see another
registry. Its settings are environment variables that it reads when imported, hence `prepare` before every import.
"""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tasks.foundations.errors import InputError, SlipwayError
from tasks.registry.database import make_database
from tasks.registry.records import Place

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_PRINT_MODEL_URLS_ON_CREATION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
}
DEFAULTS = {  # MLflow alone would try for minutes to reach a server that is down
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
ATTEMPTS = 6
SILENT = re.compile(r"API request to (\w+://[^/]+)\S* failed with exception")
CREDENTIALS = re.compile(r"//[^?#\s]*@")
DATABASE = re.compile(r"\(\w+(?:\.\w+)*Error\) ([^\n]+)")  # how SQLAlchemy cites: (sqlite3.OperationalError) text
FIRST_WAIT_S = 0.1

T = TypeVar("T")


def prepare() -> None:
    """Make MLflow's settings, before its first import in this process."""
    os.environ.update(SETTINGS)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def connect(place: Place) -> Any:
    """A client of the tracking server or database. The first call on a new SQLite file creates its tables (1 to 3 s).

    Returns:
        An `mlflow.MlflowClient`.

    Raises:
        InputError: a relative path, or a URI that is neither SQLite nor HTTP.
        SlipwayError: MLflow cannot open it.
    """
    _check(place)
    prepare()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        make_database(place.tracking_uri)
        return MlflowClient(tracking_uri=place.tracking_uri, registry_uri=place.tracking_uri)
    except MlflowException as error:
        raise SlipwayError(without_password(f"MLflow cannot open {place.tracking_uri}: {error}.")) from error
    except PermissionError as error:
        raise SlipwayError(
            f"MLflow's database cannot be made: {error.filename} may not be written by this user. Give that right, or "
            "let SLIPWAY_HOME name another folder."
        ) from error


def without_password(uri: str) -> str:
    """The address as it may be shown: user and password are left out."""
    return CREDENTIALS.sub("//", uri)


def open_experiment(client: Any, place: Place) -> str:
    """Id of the experiment; creates it with its absolute artifact location, brings it back if it was deleted."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(place.experiment)
    if experiment is None:
        try:
            return str(client.create_experiment(place.experiment, artifact_location=place.artifact_location))
        except MlflowException:
            experiment = client.get_experiment_by_name(place.experiment)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def persist(action: Callable[[], T]) -> T:
    """Repeat an action that lost a race: SQLite is locked, or two processes made the same first row.

    Raises:
        SlipwayError: MLflow refuses for another reason, or does so every time.
    """
    from mlflow.exceptions import MlflowException

    for attempt in range(ATTEMPTS):
        try:
            return action()
        except MlflowException as error:
            if attempt == ATTEMPTS - 1 or not _is_race(error):
                raise SlipwayError(_sentence(error)) from error
            time.sleep(FIRST_WAIT_S * 2**attempt)
    raise AssertionError("unreachable")


def _sentence(error: Exception) -> str:
    """The database's own words, if it was the database: MLflow wraps them in statements and their parameters."""
    found = DATABASE.search(str(error))
    if found:
        return (
            f"MLflow's database refused: {found[1]}. Check that it is there, has room and may be written by this user."
        )
    if found := SILENT.search(str(error)):
        server = without_password(found[1])
        return f"MLflow at {server} does not answer. Check MLFLOW_TRACKING_URI and that its server runs."
    return f"MLflow refused: {error}"


def _is_race(error: Exception) -> bool:
    text = str(error)
    return any(sign in text for sign in ("UNIQUE constraint", "database is locked", "Giving up after", "duplicate key"))


def _check(place: Place) -> None:
    uri, location = place.tracking_uri, place.artifact_location
    if uri.startswith("sqlite:///"):
        if not Path(uri.removeprefix("sqlite:///")).is_absolute():
            raise InputError(f"{uri} is relative to the current folder. Write sqlite:////absolute/path/mlflow.db.")
        if location is None or ("://" not in location and not Path(location).is_absolute()):
            raise InputError(f"The artifact location of {uri} is {location!r}; an absolute path is needed.")
    elif not uri.startswith(("http://", "https://")):
        raise InputError(
            f"{without_password(uri)} is no MLflow place for Slipway. Use sqlite:////absolute/path or http(s)://."
        )
